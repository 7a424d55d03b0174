"""Power of a mapped unit on real activations: captured layers through its netlist, gate by gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from flexnm_gen.asic import Mapped
from flexnm_gen.manifest import layout_of
from flexnm_gen.power import design_power
from flexnm_gen.tops import find_top, settle
from flexnm_model.capture import LayerData, capture
from flexnm_model.quantize import quantize
from flexnm_rtl import layouts
from flexnm_rtl.config import Config, ScoreFactor
from flexnm_rtl.registers import REGISTER_MAPS

from flexnm_tb import words
from flexnm_tb.gate_sim import simulate_gates
from flexnm_tb.payload import pack

TOKENS = 8
"""Tokens of the text that are captured: as ``flexnm sim`` takes them, so both find the same file in the cache."""
BLOCKS = 1024
"""Blocks that run through the netlist if nothing else is asked for."""
EXCLUDED = ("wires", "clock tree", "glitches", "memories")
"""What the figures leave out."""

Words = dict[str, list[int]]


def measure_power(
    top: str,
    cfg: Config,
    mapped: Mapped,
    liberty: Sequence[Path],
    *,
    period_ps: float,
    blocks: int = BLOCKS,
    model: str | None = None,
    text: str | None = None,
) -> dict[str, Any]:
    """Power of ``mapped``, the unit ``top`` of ``cfg`` on the cells of ``liberty``, at full rate and ``period_ps``.

    blocks: at least so many, or all that there are, shared by the default layers of ``flexnm_model.capture``; model
    and text as there. Keys: ``power`` (W: total, internal, switching, leakage; None with a ``reason`` for a unit that
    has more than streams), ``period_ps``, ``activity`` (where it comes from), ``cycles`` and ``words`` that ran,
    ``excluded``. Raises GateMismatch if the netlist computes something else than the RTL, ConfigError,
    VerilatorError.
    """
    record: dict[str, Any] = {"power": None, "period_ps": period_ps, "excluded": list(EXCLUDED)}
    if top in REGISTER_MAPS:
        return {**record, "reason": f"{top} has registers and memories: measure the units in it"}
    if top == "compressor" and cfg.score_factor is not ScoreFactor.NONE:
        return {**record, "reason": "there are no captured score factors"}
    cfg = settle(cfg)
    layers = capture(None, TOKENS, model, text)
    queues = layer_words(top, cfg, list(layers.values()), blocks)
    run = simulate_gates(find_top(top).build(cfg), mapped, liberty, queues)
    power = design_power(mapped, liberty, period_ps, run.activity)
    parts = {name: getattr(power, name) for name in ("total", "internal", "switching", "leakage")}
    return {
        **record,
        "power": parts,
        "activity": f"zero-delay simulation of the netlist, equal to the RTL; {len(layers)} layers of an LLM, "
        f"{TOKENS} tokens",
        "cycles": run.cycles,
        "words": dict(run.words),
    }


def layer_words(top: str, cfg: Config, layers: Sequence[LayerData], blocks: int) -> Words:
    """Words of the input streams of a unit: whole tokens, or passes of the array, of each layer in turn.

    Every layer gives about the same number of blocks, ``blocks`` in all, or what it has.
    """
    queues: Words = {}
    for layer in layers:
        x = quantize(layer.x, cfg.act_width).q.to(torch.int32)
        w = quantize(layer.w, cfg.weight_width).q.to(torch.int32)
        taken = 0
        for chunk in _array_passes(x, w, cfg) if top == "mac_array" else _tokens(top, x, cfg):
            for name, queue in chunk.items():
                queues.setdefault(name, []).extend(queue)
            taken += cfg.blocks(x.shape[1])
            if taken * len(layers) >= blocks:
                break
    return queues


def _tokens(top: str, x: torch.Tensor, cfg: Config) -> Iterator[Words]:
    """One token after the other for a unit with one input stream."""
    compressed = top == "decompressor"
    layout = layout_of(layouts.compressed(cfg) if compressed else layouts.dense_in(cfg))
    for token in x:
        beats = words.compressed_beats(token, cfg) if compressed else words.dense_inputs(token, cfg)
        yield {"i": [pack(layout, beat) for beat in beats]}


def _array_passes(x: torch.Tensor, w: torch.Tensor, cfg: Config) -> Iterator[Words]:
    """Every group of tokens against every tile of weights, both changing from one pass to the next.

    So a few passes have all tokens in them; the first token of a text is like no other.
    """
    layout = layout_of(layouts.array_acts(cfg))
    x = torch.nn.functional.pad(x, (0, 0, 0, -x.shape[0] % cfg.rows))
    w = torch.nn.functional.pad(w, (0, 0, 0, -w.shape[0] % cfg.cols))
    groups = [[pack(layout, beat) for beat in words.array_acts(group, cfg)] for group in torch.split(x, cfg.rows)]
    tiles = torch.split(w, cfg.cols)
    for first in range(len(tiles)):
        for k, acts in enumerate(groups):
            yield {"acts": acts, "weights": words.weight_beats(tiles[(first + k) % len(tiles)], cfg)}
