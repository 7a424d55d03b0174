"""Registers of the linear engine; the map is ``registers.BY_NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Mux, Value

from flexnm_rtl.config import Config, Metadata
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
        "t_max": cfg.tokens_max,
        "t_max_dense": cfg.tokens_max_dense,
    }


class LinearRegisters(RegisterFile):
    """``RegisterFile`` of a ``LinearEngine``."""

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg, BY_NAME, identity(cfg), {"tokens": cfg.tokens_max, "channels": cfg.k_max})

    def valid_job(self, words: Mapping[str, Any]) -> Value:
        """Sizes from 1 to the largest, and modes that do not exclude each other."""
        cfg = self.cfg
        most_tokens = Mux(self.dense, cfg.tokens_max_dense, cfg.tokens_max)
        tokens, channels, outputs = (words[name] for name in ("tokens", "channels", "outputs"))
        sizes = (tokens != 0) & (channels != 0) & (outputs != 0)
        fits = (tokens <= most_tokens) & (channels <= cfg.k_max)
        return sizes & fits & ~(self.dense & self.compressed) & ~(self.requantize & ~self.parameters)
