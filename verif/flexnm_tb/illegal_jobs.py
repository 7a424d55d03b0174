"""Modes and patterns with which no job of the linear engine may start."""

from __future__ import annotations

import dataclasses

from flexnm_rtl.config import Config
from flexnm_rtl.registers import BY_NAME

from flexnm_tb.engine_jobs import Mode, methods_of


def illegal_modes(cfg: Config) -> list[Mode]:
    """Flags that exclude or need each other, and methods that the design has no hardware for."""
    modes = [Mode(dense=True, compressed=True), Mode(requantize=True)]
    for name in ("factors", "static_shift", "token_shift", "variance"):
        method = Mode(parameters=True, **{name: True})
        modes += [dataclasses.replace(method, **{other: True}) for other in ("dense", "compressed")]
        modes += [Mode(**{name: True})] if name.endswith("shift") else []
        modes += [] if name in methods_of(cfg) else [method]
    return modes


def illegal_patterns(cfg: Config) -> list[int]:
    """Words of ``block_pattern`` that a flexible engine refuses: N of 0 or without room, blocks that there are not."""
    if not cfg.flexible:
        return []
    none = [(0, m) for m in cfg.groups]
    many = [(cfg.most_kept(m) + 1, m) for m in cfg.groups]
    other = [(1, m) for m in (0, 1, 3, 5, 33, 63) if m not in cfg.groups]
    return [BY_NAME["block_pattern"].encode(keep=n, group=m) for n, m in [*none, *many, (63, cfg.m_group), *other]]
