"""Jobs of the linear engine: modes, packets as the streams carry them, results as the software model has them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from flexnm_model import packing
from flexnm_model.compress import pattern_config
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_model.method_tables import ChannelTable, Modes
from flexnm_model.packing import Bytes
from flexnm_model.requantize import Requantization, add_bias, parameter_bits, requantize
from flexnm_model.token_methods import compute, finish
from flexnm_rtl.config import (
    BIAS_WIDTH,
    MULTIPLIER_WIDTH,
    PARAMETER_BITS,
    SHIFT_WIDTH,
    Config,
    ScoreFactor,
    ceil_div,
)
from flexnm_rtl.registers import BY_NAME

from flexnm_tb.engine_cycles import ideal_cycles


@dataclass(frozen=True)
class Mode:
    """The flags of register ``mode``."""

    dense: bool = False
    compressed: bool = False
    parameters: bool = False
    requantize: bool = False
    factors: bool = False
    static_shift: bool = False
    token_shift: bool = False
    variance: bool = False

    @property
    def methods(self) -> Modes:
        """The flags that the software model of the methods knows."""
        return Modes(self.factors, self.static_shift, self.token_shift, self.variance)

    @property
    def kind(self) -> str:
        """What happens to activations, other than that N of M are kept."""
        kinds = {"dense": self.dense, "compressed": self.compressed, "methods": self.methods.any}
        return next((name for name, wanted in kinds.items() if wanted), "")

    @property
    def word(self) -> int:
        """The register's word."""
        return BY_NAME["mode"].encode(**{name: int(value) for name, value in dataclasses.asdict(self).items()})


MODES = {
    "sparse": Mode(),
    "dense": Mode(dense=True),
    "compressed": Mode(compressed=True),
    "biased": Mode(parameters=True),
    "dense_biased": Mode(dense=True, parameters=True),
    "requantized": Mode(parameters=True, requantize=True),
    "dense_requantized": Mode(dense=True, parameters=True, requantize=True),
    "compressed_requantized": Mode(compressed=True, parameters=True, requantize=True),
}


def methods_of(cfg: Config) -> dict[str, bool]:
    """Mode flags of the methods that the design has hardware for, all set."""
    there = {name: True for name in ("static_shift", "token_shift", "variance") if getattr(cfg, name)}
    return there | ({"factors": True} if cfg.score_factor is not ScoreFactor.NONE else {})


def modes_of(cfg: Config) -> dict[str, Mode]:
    """``MODES``, and each method that the design has hardware for alone, and all of them together."""
    there = methods_of(cfg)
    alone = {name: Mode(parameters=name.endswith("shift"), **{name: True}) for name in there}
    if not alone:
        return MODES
    together = {
        "methods": Mode(parameters=True, **there),
        "methods_requantized": Mode(parameters=True, requantize=True, **there),
    }
    return MODES | alone | together


@dataclass(frozen=True)
class Job:
    """One job. x: (T, K), w: (O, K), r, row_sums: parameters of O outputs. acts, weights: the packets, in whole beats.

    pattern: N and M of a job of a flexible engine (default: the engine's). table, exponents: what the engine's tables
    hold of its channels and tokens.
    """

    cfg: Config
    mode: Mode
    x: torch.Tensor
    w: torch.Tensor
    r: Requantization
    row_sums: torch.Tensor
    table: ChannelTable
    exponents: torch.Tensor
    acts: Bytes
    weights: Bytes
    pattern: tuple[int, int] | None = None

    @property
    def pruned(self) -> Config:
        """The configuration whose pattern the job has."""
        return pattern_config(self.cfg, self.pattern)

    @property
    def shape(self) -> tuple[int, int, int]:
        """T, K, O."""
        return self.x.shape[0], self.x.shape[1], self.w.shape[0]

    @property
    def registers(self) -> dict[str, int]:
        """Words of the job registers."""
        tokens, channels, outputs = self.shape
        words = {"tokens": tokens, "channels": channels, "outputs": outputs, "mode": self.mode.word}
        if self.cfg.flexible:
            n, m = self.pruned.n_keep, self.pruned.m_group
            words["block_pattern"] = BY_NAME["block_pattern"].encode(keep=n, group=m)
        return words

    @property
    def expected(self) -> torch.Tensor:
        """Results, int64 (T, O)."""
        mode, r = self.mode, self.r
        if mode.methods.any:
            given = r if mode.parameters else None
            done = compute(self.x, self.w, self.pruned, mode.methods, self.table, self.exponents, given, self.row_sums)
            return finish(done.totals, self.cfg, r if mode.requantize else None)
        sums = (dense_matmul if mode.dense else sparse_matmul)(self.x, self.w, self.pruned)
        if mode.requantize:
            return requantize(sums, r, self.cfg.act_width)
        return add_bias(sums, r, self.cfg.result_width) if mode.parameters else sums

    @property
    def table_words(self) -> dict[str, list[tuple[int, int]]]:
        """What to write to the table registers before the job: entry and word, by register."""
        words: dict[str, list[tuple[int, int]]] = {}
        m, data = self.cfg.m_group, BY_NAME["channel_data"]
        if self.mode.factors or self.mode.static_shift:
            columns = zip(self.table.factor.tolist(), self.table.shift.tolist(), strict=True)
            words["channel_data"] = [
                (k // m << self.cfg.index_width | k % m, data.encode(factor=factor, channel_shift=shift))
                for k, (factor, shift) in enumerate(columns)
            ]
        if self.mode.static_shift:
            words["token_data"] = list(enumerate(self.exponents.tolist()))
        return words

    def unpack(self, packet: Bytes) -> torch.Tensor:
        """A result packet as int64 (T, O). Raises ConfigError when it has not the length of this job's."""
        tokens, _, outputs = self.shape
        return packing.unpack_results(packet, tokens, outputs, self.cfg, requantized=self.mode.requantize)

    @property
    def kept(self) -> int | None:
        """Values kept of a block of a flexible engine; None stands for the engine's N."""
        return self.cfg.kept(*self.pattern) if self.pattern else None

    @property
    def ideal(self) -> int:
        """Cycles in which the array multiplies."""
        return ideal_cycles(self.cfg, *self.shape, dense=self.mode.dense, n=self.kept)

    @property
    def act_beats(self) -> int:
        """Beats of the activation packet."""
        return len(self.acts) // (self.cfg.act_ports * self.cfg.act_slot_bytes)

    @property
    def weight_beats(self) -> int:
        """Beats of the weight packet."""
        return len(self.weights) // (self.cfg.weight_ports * self.cfg.weight_slot_bytes)

    @property
    def patience(self) -> int:
        """Cycles after which a job with pausing streams must be over."""
        tokens, _, outputs = self.shape
        results = tokens * ceil_div(outputs, self.cfg.result_ports)
        measuring = 200 * ceil_div(tokens, self.cfg.rows) * self.cfg.rows  # cycles of a token's mean and gain
        return (
            1000 + measuring + 12 * (self.ideal + self.act_beats * self.cfg.dense_beats + self.weight_beats + results)
        )

    def cut_acts(self, beats: int) -> Job:
        """The job with an activation packet of so few beats; the rest counts as zeros."""
        cfg = self.cfg
        blocks = cfg.blocks(self.x.shape[1])
        t, k = (torch.arange(size).unsqueeze(1 - d) for d, size in enumerate(self.x.shape))
        slot = (t // cfg.rows * blocks + k // cfg.m_group) * cfg.rows + t % cfg.rows
        there = slot < beats * cfg.act_ports
        size = beats * cfg.act_ports * cfg.act_slot_bytes
        return dataclasses.replace(self, x=self.x * there, acts=self.acts[:size])

    def cut_weights(self, beats: int) -> Job:
        """The job with a weight packet of so few beats; the rest counts as zeros, parameters as well."""
        cfg = self.cfg
        header = cfg.parameter_words if self.mode.parameters else 0
        words = header + cfg.blocks(self.w.shape[1])
        slots = beats * cfg.weight_ports
        o, k = (torch.arange(size).unsqueeze(1 - d) for d, size in enumerate(self.w.shape))
        there = (o // cfg.cols * words + header + k // cfg.m_group) * cfg.cols + o % cfg.cols < slots
        bits = []
        for output, word in enumerate(self.parameter_words()):
            first = output // cfg.cols * words * cfg.cols + output % cfg.cols
            parts = len(range(first, min(slots, first + header * cfg.cols), cfg.cols))
            bits.append(word & ((1 << parts * cfg.parameter_slice) - 1))
        size = slots * cfg.weight_slot_bytes
        r, row_sums = _from_bits(bits)
        return dataclasses.replace(self, w=self.w * there, r=r, row_sums=row_sums, weights=self.weights[:size])

    def parameter_words(self) -> list[int]:
        """The parameters of each output."""
        return parameter_bits(self.r, self.row_sums if self.cfg.token_shift else None)


def _from_bits(words: list[int]) -> tuple[Requantization, torch.Tensor]:
    half = 1 << (BIAS_WIDTH - 1)
    bias = [((word + half) & ((1 << BIAS_WIDTH) - 1)) - half for word in words]
    multiplier = [word >> BIAS_WIDTH & ((1 << MULTIPLIER_WIDTH) - 1) for word in words]
    shift = [word >> (BIAS_WIDTH + MULTIPLIER_WIDTH) & ((1 << SHIFT_WIDTH) - 1) for word in words]
    sums = [((word >> PARAMETER_BITS) + half) % (2 * half) - half for word in words]
    columns = [torch.tensor(values, dtype=torch.int64) for values in (bias, multiplier, shift, sums)]
    return Requantization(*columns[:3]), columns[3]
