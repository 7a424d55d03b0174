"""Registers of the linear engine; the map is ``registers.BY_NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Mux, Value

from flexnm_rtl.config import TOKEN_METHODS, Config, Metadata, ScoreFactor
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
            **{name: int(getattr(cfg, name)) for name in ("factor_width", *TOKEN_METHODS, "fraction_bits")},
        ),
        "t_max": cfg.tokens_max,
        "t_max_dense": cfg.tokens_max_dense,
    }


def absent(cfg: Config) -> set[str]:
    """Registers that a unit without the hardware of some methods has not."""
    channels = cfg.static_shift or cfg.score_factor is not ScoreFactor.NONE
    there = {"table_index": channels, "channel_data": channels, "token_data": cfg.static_shift}
    return {name for name, needed in there.items() if not needed}


class LinearRegisters(RegisterFile):
    """``RegisterFile`` of a ``LinearEngine``."""

    def __init__(self, cfg: Config) -> None:
        limits = {"tokens": cfg.tokens_max, "channels": cfg.k_max}
        super().__init__(cfg, BY_NAME, identity(cfg), limits, absent(cfg))

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
        return sizes & fits & ~excluded & ~missing & ~((self.requantize | shifted) & ~self.parameters)
