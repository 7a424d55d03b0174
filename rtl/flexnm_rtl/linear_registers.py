"""Registers of the linear engine; the map is ``registers.BY_NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib.wiring import Out

from flexnm_rtl.arith import any_of, column_sum, count_columns, gate
from flexnm_rtl.config import TOKEN_METHODS, Config, Metadata, ScoreFactor
from flexnm_rtl.layouts import pattern
from flexnm_rtl.register_file import RegisterFile, common_identity
from flexnm_rtl.registers import BY_NAME, IDENTIFICATION


def identity(cfg: Config) -> dict[str, int]:
    """Words of the registers that never change."""
    n, m = cfg.n_keep, cfg.m_group
    return common_identity(cfg, BY_NAME) | {
        "id": IDENTIFICATION,
        "pattern": BY_NAME["pattern"].encode(n=n, m=m, metadata=list(Metadata).index(cfg.metadata), lanes=cfg.lanes),
        "array": BY_NAME["array"].encode(rows=cfg.rows, cols=cfg.cols),
        "streams": BY_NAME["streams"].encode(acts=cfg.act_ports, weights=cfg.weight_ports, results=cfg.result_ports),
        "methods": BY_NAME["methods"].encode(
            score_factor=list(ScoreFactor).index(cfg.score_factor),
            **{name: int(getattr(cfg, name)) for name in ("factor_width", *TOKEN_METHODS, "fraction_bits", "flexible")},
        ),
        "t_max": cfg.tokens_max,
        "t_max_dense": cfg.tokens_max_dense,
    }


def absent(cfg: Config) -> set[str]:
    """Registers that a unit without the hardware of some methods has not."""
    channels = cfg.static_shift or cfg.score_factor is not ScoreFactor.NONE
    there = {"table_index": channels, "channel_data": channels, "token_data": cfg.static_shift}
    there |= {"block_pattern": cfg.flexible}
    return {name for name, needed in there.items() if not needed}


class LinearRegisters(RegisterFile):
    """``RegisterFile`` of a ``LinearEngine``."""

    def __init__(self, cfg: Config) -> None:
        limits = {"tokens": cfg.tokens_max, "channels": cfg.k_max}
        flexible = {"pattern": Out(pattern(cfg)), "steps": Out(range(cfg.steps + 1))} if cfg.flexible else {}
        super().__init__(cfg, BY_NAME, identity(cfg), limits, absent(cfg), flexible)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        if self.cfg.flexible:
            self._pattern(m)
        return m

    def _pattern(self, m: Module) -> None:
        """The job's pattern as the units take it, and how many steps the array needs for a block."""
        cfg = self.cfg
        sizes = [self.group == size for size in cfg.groups]
        level = any_of([gate(hit, Const(k, len(self.pattern.level))) for k, hit in enumerate(sizes)])
        kept = self._kept(self.keep, sizes)
        steps = Cat(kept > step * cfg.lanes for step in range(cfg.steps))
        counted = column_sum(m, count_columns(steps, Const(0, len(self.steps))), "steps")
        m.d.sync += [
            self.pattern.n.eq(self.keep),
            self.pattern.level.eq(level),
            self.steps.eq(Mux(self.dense, cfg.steps, counted)),
        ]

    def _kept(self, keep: Value, sizes: list[Value]) -> Value:
        """Values kept of the unit's channels with blocks of one of ``sizes``."""
        return any_of(
            [gate(hit, Cat(Const(0, k), keep)) for k, hit in zip(reversed(range(len(sizes))), sizes, strict=True)]
        )

    def _valid_pattern(self, words: Mapping[str, Any]) -> Value:
        cfg = self.cfg
        keep, group = (words["block_pattern"].word_select(k, 6) for k in range(2))
        sizes = [group == size for size in cfg.groups]
        # What is kept of M_max channels fits N_max, so N is at most M.
        return (keep != 0) & Cat(sizes).any() & (self._kept(keep, sizes) <= cfg.n_keep)

    def valid_job(self, words: Mapping[str, Any]) -> Value:
        """Sizes from 1 to the largest, modes that do not exclude each other, methods that there is hardware for."""
        cfg = self.cfg
        most_tokens = Mux(self.dense, cfg.tokens_max_dense, cfg.tokens_max)
        tokens, channels, outputs = (words[name] for name in ("tokens", "channels", "outputs"))
        sizes = (tokens != 0) & (channels != 0) & (outputs != 0)
        fits = (tokens <= most_tokens) & (channels <= cfg.k_max)
        shifted = self.static_shift | self.token_shift
        methods = self.factors | shifted | self.variance
        possible = {
            "factors": cfg.score_factor is not ScoreFactor.NONE,
            **{name: bool(getattr(cfg, name)) for name in TOKEN_METHODS},
        }
        missing = Cat(getattr(self, name) for name, there in possible.items() if not there).any()
        excluded = (self.dense & self.compressed) | (methods & (self.dense | self.compressed))
        pattern_fits = self.dense | self._valid_pattern(words) if cfg.flexible else Const(1, 1)
        return sizes & fits & pattern_fits & ~excluded & ~missing & ~((self.requantize | shifted) & ~self.parameters)
