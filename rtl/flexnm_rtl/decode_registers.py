"""Registers of the decode engine; the map is ``registers.DECODE``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Value

from flexnm_rtl.config import Config
from flexnm_rtl.register_file import RegisterFile, common_identity
from flexnm_rtl.registers import DECODE, DECODE_IDENTIFICATION


def identity(cfg: Config) -> dict[str, int]:
    """Words of the registers that never change."""
    n, m = cfg.n_keep, cfg.m_group
    memory = {
        "bus_bytes": cfg.bus_width // 8,
        "tile_beats": cfg.tile_beats,
        "weight_width": cfg.memory_weight_width,
        "results": cfg.decode_result_ports,
    }
    return common_identity(cfg, DECODE) | {
        "id": DECODE_IDENTIFICATION,
        "pattern": DECODE["pattern"].encode(n=n, m=m, tokens=cfg.rows - 1, outstanding=cfg.outstanding - 1),
        "memory": DECODE["memory"].encode(**memory),
    }


class DecodeRegisters(RegisterFile):
    """``RegisterFile`` of a ``DecodeEngine``."""

    def __init__(self, cfg: Config) -> None:
        limits = {"tokens": cfg.rows, "channels": cfg.k_max, "keep": cfg.m_group}
        super().__init__(cfg, DECODE, identity(cfg), limits)

    def valid_job(self, words: Mapping[str, Any]) -> Value:
        """Sizes from 1 to the largest, N from 1 to M, a base that is a multiple of a row's bytes."""
        cfg = self.cfg
        sizes = [(words["tokens"], cfg.rows), (words["channels"], cfg.k_max), (words["keep"], cfg.m_group)]
        good = words["outputs"] != 0
        for value, most in sizes:
            good = good & (value != 0) & (value <= most)
        base = Cat(words["base_low"], words["base_high"])
        return good & (base[: cfg.row_bytes.bit_length() - 1] == 0) & (base[cfg.address_width :] == 0)
