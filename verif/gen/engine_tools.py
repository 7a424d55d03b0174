"""Configurations of both engines, and their generated files."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from flexnm_gen.generate import render
from flexnm_rtl import decode_registers, linear_registers
from flexnm_rtl.config import Config
from flexnm_rtl.presets import preset

CONFIGS = {
    "default": preset("n8m16"),
    "edge": preset("n8m16-edge"),
    "one element": Config(n_keep=1, m_group=2, lanes=1, act_width=4, weight_width=5, rows=1, cols=1, k_max=9),
    "narrow streams": Config(
        n_keep=3, m_group=5, lanes=1, rows=6, cols=4, k_max=40, acts_per_beat=2, weights_per_beat=1, results_per_beat=4
    ),
    "methods": preset("n8m16-edge").replace(
        score_factor="multiply", static_shift=True, token_shift=True, variance=True, fraction_bits=2
    ),
    "static shift, shifted scores": Config(
        n_keep=3, m_group=5, lanes=1, act_width=6, rows=4, cols=2, k_max=18, score_factor="shift", static_shift=True
    ),
    "token shift": Config(n_keep=4, m_group=8, lanes=2, rows=3, cols=3, k_max=24, token_shift=True, fraction_bits=1),
    "variance": Config(n_keep=2, m_group=4, lanes=1, rows=2, cols=2, k_max=1 << 20, act_width=16, variance=True),
}
DECODE_CONFIGS = {
    "default": preset("n8m16"),
    "decode": preset("n8m16-decode"),
    "smallest": Config(
        n_keep=1,
        m_group=2,
        lanes=1,
        act_width=4,
        weight_width=5,
        rows=1,
        k_max=9,
        bus_width=64,
        tile_beats=1,
        outstanding=2,
        address_width=16,
    ),
    "wide": Config(
        n_keep=3,
        m_group=5,
        lanes=1,
        act_width=6,
        weight_width=12,
        rows=3,
        k_max=40,
        bus_width=512,
        tile_beats=64,
        outstanding=32,
        address_width=64,
    ),
}
ALL_CONFIGS = {"linear": CONFIGS, "decode": DECODE_CONFIGS}
CASES = [(top, config) for top, configs in ALL_CONFIGS.items() for config in configs]
LINEAR_CASES, DECODE_CASES = ([case for case in CASES if case[0] == top] for top in ALL_CONFIGS)
PREFIXES = {"linear": "FLEXNM", "decode": "FLEXNM_DECODE"}
IDENTITIES = {"linear": linear_registers.identity, "decode": decode_registers.identity}
both = pytest.mark.parametrize("top", ALL_CONFIGS)
EXTRA = (
    "{}_axi.v",
    "{}.core",
    "{}.sdc",
    "{}.xdc",
    "{}.lpf",
    "{}_template.v",
    "{}_regs.h",
    "{}_regs.py",
    "registers.md",
)


@functools.cache
def engine(top: str, config: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Name, manifest and all files of the engine."""
    name, files = render(top, ALL_CONFIGS[top][config])
    return name, json.loads(files[f"{name}.json"]), files


def written(top: str, config: str, folder: Path) -> str:
    """Name of the engine, whose files are in ``folder`` afterwards."""
    name, _, files = engine(top, config)
    for file, text in files.items():
        (folder / file).write_text(text)
    return name
