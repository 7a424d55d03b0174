"""Driver of the linear engine: one class for a layer's register writes and packets, over any back end.

A back end moves words and bytes: the simulation (``flexnm_tb.cosim``) or a device (``flexnm_model.device``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from flexnm_rtl.config import Config, ConfigError, Metadata, ScoreFactor, ceil_div
from flexnm_rtl.registers import BY_NAME, IDENTIFICATION, RegisterMap

from flexnm_model import packing
from flexnm_model.compress import compress_for, pattern_config
from flexnm_model.method_tables import ChannelTable, Methods
from flexnm_model.packing import Bytes
from flexnm_model.requantize import Requantization, parameter_bits


class DeviceError(RuntimeError):
    """The engine did not do what it was asked; one line that says what it reported."""


class RegisterBus(Protocol):
    """Register accesses of an engine."""

    def read(self, offset: int) -> int:
        """The word of the register at byte ``offset``. Raises DeviceError on an error response."""

    def write(self, offset: int, value: int) -> None:
        """Write the register at byte ``offset``. Raises DeviceError on an error response."""


class Backend(RegisterBus, Protocol):
    """What ``LinearDriver`` needs of an engine."""

    def transfer(self, acts: Bytes, weights: Bytes, result_bytes: int) -> Bytes:
        """Send both packets, each ended by TLAST, and return the result packet of up to ``result_bytes``."""


@dataclass(frozen=True)
class Weights:
    """Weights ready for the engine. outputs, channels: O, K. requantization: with it, bias and scaling apply."""

    packet: Bytes
    outputs: int
    channels: int
    requantization: Requantization | None


@dataclass(frozen=True)
class JobResult:
    """results: int64 (T, O), exact sums, or requantised. counters: the engine's, added up over the jobs it took."""

    results: torch.Tensor
    counters: Mapping[str, int]


class RegisterDriver:
    """What the drivers of both engines do with registers. registers: the engine's map."""

    def __init__(self, bus: RegisterBus, registers: RegisterMap) -> None:
        self.bus = bus
        self.registers = registers

    def counters(self) -> dict[str, int]:
        """The counters of the last job."""
        first = self.registers["cycles"].offset
        return {name: self._read(name) for name, register in self.registers.items() if register.offset >= first}

    def _confirm(self, identification: int, expected: Mapping[str, Mapping[str, int]]) -> None:
        found = self._read("id")
        if found != identification:
            raise DeviceError(f"no such flexnm engine here: identification {found:#010x}, not {identification:#010x}")
        for register, fields in expected.items():
            read = self._fields(register)
            wrong = {name: read[name] for name in fields if read[name] != fields[name]}
            if wrong:
                raise DeviceError(f"the engine has another configuration: {register} {wrong}, not {dict(fields)}")

    def _start(self, **job: int) -> None:
        """Write the job registers, clear the error flags, start. Raises DeviceError when the engine refuses."""
        for name, value in job.items():
            self._write(name, value)
        self._write("errors", 0xFFFFFFFF)
        self._write("control", self.registers["control"].encode(start=1))
        self._check_errors()

    def _check_errors(self) -> None:
        flags = [name for name, value in self._fields("errors").items() if value]
        if flags:
            raise DeviceError(f"the engine reports {', '.join(flags)}")

    def _read(self, name: str) -> int:
        return self.bus.read(self.registers[name].offset)

    def _fields(self, name: str) -> dict[str, int]:
        return self.registers[name].decode(self._read(name))

    def _write(self, name: str, value: int) -> None:
        self.bus.write(self.registers[name].offset, value)


class LinearDriver(RegisterDriver):
    """Computes layers on an engine. ``cfg``: the configuration it was built with; the engine is asked to confirm.

    The driver must be the only one who writes the engine's tables: it does not write a table again that is there.
    """

    def __init__(self, backend: Backend, cfg: Config) -> None:
        """Raises DeviceError when the engine is no linear engine or has another configuration."""
        super().__init__(backend, BY_NAME)
        self.backend = backend
        self.cfg = cfg
        self._table: ChannelTable | None = None
        self._confirm(IDENTIFICATION, self._expected())

    def _expected(self) -> dict[str, dict[str, int]]:
        cfg = self.cfg
        metadata = list(Metadata).index(cfg.metadata)
        return {
            "pattern": {"n": cfg.n_keep, "m": cfg.m_group, "metadata": metadata, "lanes": cfg.lanes},
            "array": {"rows": cfg.rows, "cols": cfg.cols},
            "widths": {"act": cfg.act_width, "weight": cfg.weight_width, "result": cfg.result_width},
            "streams": {"acts": cfg.act_ports, "weights": cfg.weight_ports, "results": cfg.result_ports},
            "t_max": {"t_max": cfg.tokens_max},
            "k_max": {"k_max": cfg.k_max},
            "methods": {
                "score_factor": list(ScoreFactor).index(cfg.score_factor),
                "factor_width": cfg.factor_width,
                "static_shift": int(cfg.static_shift),
                "token_shift": int(cfg.token_shift),
                "variance": int(cfg.variance),
                "fraction_bits": cfg.fraction_bits,
                "flexible": int(cfg.flexible),
            },
        }

    def prepare(self, w: torch.Tensor, requantization: Requantization | None = None) -> Weights:
        """Pack the weights of a layer: w (O, K), signed integers. Raises ConfigError when they do not fit."""
        packing.check_matrix("weights", w, self.cfg.weight_width)
        self._check_channels(w.shape[1])
        bits = None
        if requantization is not None:
            sums = w.to(torch.int64).sum(1) if self.cfg.token_shift else None
            bits = parameter_bits(requantization, sums)
        return Weights(packing.pack_weights(w, self.cfg, bits), w.shape[0], w.shape[1], requantization)

    def run(
        self,
        x: torch.Tensor,
        weights: Weights,
        *,
        dense: bool = False,
        compressed: bool = False,
        requantize: bool | None = None,
        methods: Methods | None = None,
        pattern: tuple[int, int] | None = None,
    ) -> JobResult:
        """S(x) w^T, or x w^T with ``dense``: x (T, K), signed integers; any T, in jobs of what fits.

        compressed: compress in software and send compressed blocks. requantize: scale the results (default: whenever
        the weights come with a requantisation); without it their bias alone is added. methods: of a sparse job
        (``flexnm_model.token_methods``), with exponents for all T tokens. pattern: N and M of the job, for a flexible
        engine only (default: the engine's).
        Raises ConfigError for operands that do not fit and DeviceError when the engine reports an error.
        """
        if x.dim() != 2 or x.shape[1] != weights.channels:
            raise ConfigError(f"activations {tuple(x.shape)} do not fit weights of K={weights.channels}")
        scale = weights.requantization is not None if requantize is None else requantize
        if scale and weights.requantization is None:
            raise ConfigError("requantisation needs its parameters: give them to prepare()")
        pruned = pattern_config(self.cfg, pattern)
        used = self._checked(methods or Methods(), x, weights, sparse=not (dense or compressed))
        mode = {
            "dense": int(dense),
            "compressed": int(compressed),
            "parameters": int(weights.requantization is not None),
            "requantize": int(scale),
            **{name: int(on) for name, on in asdict(used.modes).items()},
        }
        most = self.cfg.tokens_max_dense if dense else self.cfg.tokens_max
        parts, counters = [], Counter[str]()
        for first in range(0, x.shape[0], most) or [0]:
            if used.modes.static_shift and used.exponents is not None:
                self._fill("token_data", used.exponents[first : first + most].tolist())
            parts.append(self._job(x[first : first + most], weights, mode, pruned))
            counters.update(self.counters())
        return JobResult(torch.cat(parts), dict(counters))

    def _checked(self, methods: Methods, x: torch.Tensor, weights: Weights, *, sparse: bool) -> Methods:
        """``methods``, with their table of channels in the engine."""
        methods.check(self.cfg, *x.shape)
        if methods.modes.any and not sparse:
            raise ConfigError("methods need a sparse job: leave dense and compressed out, or the methods")
        if methods.modes.shifts and weights.requantization is None:
            raise ConfigError("a shift needs the parameters that give it back: give them to prepare()")
        used = methods.modes.factors or methods.modes.static_shift
        if used and methods.table is not None and methods.table is not self._table:
            self._table = None
            self._fill("channel_data", methods.table.words())
            self._table = methods.table
        return methods

    def _fill(self, table: str, words: list[int]) -> None:
        """Write the first entries of a table."""
        self._write("table_index", 0)
        for word in words:
            self._write(table, word)

    def _job(self, x: torch.Tensor, weights: Weights, mode: dict[str, int], pruned: Config) -> torch.Tensor:
        cfg = self.cfg
        sparse = mode["compressed"]
        packing.check_matrix("activations", x, cfg.act_width)
        values = x.to(torch.int32) << cfg.fraction_bits
        if cfg.flexible:
            self._write("block_pattern", BY_NAME["block_pattern"].encode(keep=pruned.n_keep, group=pruned.m_group))
        acts = (
            packing.pack_acts(x, cfg) if not sparse else packing.pack_compressed(compress_for(values, cfg, pruned), cfg)
        )
        self._start(
            tokens=x.shape[0],
            channels=weights.channels,
            outputs=weights.outputs,
            mode=BY_NAME["mode"].encode(**mode),
        )
        scaled = bool(mode["requantize"])
        width = cfg.requantized_width if scaled else cfg.result_width
        expected = ceil_div(weights.outputs, cfg.cols) * cfg.cols * x.shape[0] * width // 8
        packet = self.backend.transfer(acts, weights.packet, expected)
        self._check_errors()
        return packing.unpack_results(packet, x.shape[0], weights.outputs, cfg, requantized=scaled)

    def _check_channels(self, channels: int) -> None:
        if channels > self.cfg.k_max:
            raise ConfigError(
                f"K={channels} exceeds the engine's K_MAX={self.cfg.k_max}: build one with a larger K_MAX"
            )
