"""Recenter against the model's rule: rounding of halves, clamping at both ends, modes, stages enabled at any time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from amaranth.hdl import Cat, Module, Signal, Value
from flexnm_model import token_methods
from flexnm_rtl.config import CHANNEL_SHIFT_WIDTH, EXPONENT_WIDTH, Config
from flexnm_rtl.pipeline import StageControl
from flexnm_rtl.recenter import Recenter
from unit_tools import Flow, Streams, pack, run_streams, unpack

CONFIGS = {
    "static": Config(n_keep=2, m_group=4, lanes=1, static_shift=True),
    "static, 3 bits of fraction": Config(n_keep=1, m_group=3, lanes=1, act_width=4, static_shift=True, fraction_bits=3),
    "token": Config(n_keep=2, m_group=4, lanes=1, token_shift=True),
    "token, 2 bits of fraction": Config(n_keep=3, m_group=5, lanes=1, act_width=6, token_shift=True, fraction_bits=2),
    "both, 16 bits": Config(
        n_keep=1, m_group=2, lanes=1, act_width=12, static_shift=True, token_shift=True, fraction_bits=4
    ),
}
TOP = 1 << (CHANNEL_SHIFT_WIDTH - 1)


@dataclass
class Item:
    """A block, and what is to be subtracted from it."""

    x: list[int]
    h: list[int]
    exponent: int
    eta: int


def edges(cfg: Config) -> list[Item]:
    """Halves of both signs and their neighbours at every exponent; the largest operands that there are."""
    low, high = -(1 << (cfg.act_width - 1)), (1 << (cfg.act_width - 1)) - 1
    far = 1 << cfg.value_width
    found = []
    for e in range(1 << EXPONENT_WIDTH):
        half = 1 << e >> 1
        near = [sign * odd * half + beside for odd in (1, 3, 5) for sign in (1, -1) for beside in (-1, 0, 1)]
        near += [-TOP, TOP - 1, 1 - TOP]
        for k in range(0, len(near), cfg.m_group):
            chosen = (near[k:] + near)[: cfg.m_group]
            found.append(Item([(0, 1, -1, low, high)[(e + k) % 5]] * cfg.m_group, chosen, e, (0, 1, -1)[e % 3]))
    for x in (low, high):
        for h in (-TOP, TOP - 1, 0):
            found += [Item([x] * cfg.m_group, [h] * cfg.m_group, 0, eta) for eta in (-far, far - 1, 0, 1, -1)]
    return [Item(item.x, [max(-TOP, min(TOP - 1, h)) for h in item.h], item.exponent, item.eta) for item in found]


def randoms(cfg: Config, count: int) -> list[Item]:
    """Values inside the range about as often as clamped ones."""
    rng = random.Random(cfg.value_width)

    def number(width: int) -> int:
        bits = rng.randint(1, width)
        return rng.randrange(-(1 << bits >> 1), 1 << bits >> 1)

    return [
        Item(
            [number(cfg.act_width) for _ in range(cfg.m_group)],
            [number(CHANNEL_SHIFT_WIDTH) for _ in range(cfg.m_group)],
            rng.randrange(1 << EXPONENT_WIDTH),
            number(cfg.shift_width),
        )
        for _ in range(count)
    ]


def expected(cfg: Config, items: list[Item], *, static: bool, token: bool) -> list[list[int]]:
    blocks = []
    for item in items:
        x, h = torch.tensor([item.x]), torch.tensor(item.h)
        shift = token_methods.static_shift(h, torch.tensor([item.exponent])) if static else None
        blocks.append(token_methods.values(x, shift, torch.tensor([item.eta if token else 0]), cfg)[0].tolist())
    return blocks


def run(cfg: Config, items: list[Item], *, static: bool, token: bool, **stalls: Any) -> tuple[list[list[int]], Flow]:
    """Values of the pipeline; a stage loads when StageControl says so. A mode without hardware is left out."""
    m = Module()
    m.submodules.control = control = StageControl(Recenter.latency)
    m.submodules.unit = unit = Recenter(cfg)
    fields = [Value.cast(unit.activations)]
    words = [pack(item.x, cfg.act_width) for item in items]
    if cfg.static_shift:
        m.d.comb += unit.static_shift.eq(static)
        fields += [Value.cast(unit.channel_shifts), unit.exponent]
        extra = [pack(item.h, 16) | item.exponent << 16 * cfg.m_group for item in items]
        words = [word | more << cfg.block_bits for word, more in zip(words, extra, strict=True)]
    if cfg.token_shift:
        m.d.comb += unit.token_shift.eq(token)
        place = len(Cat(fields))
        fields.append(unit.shift)
        words = [word | pack([item.eta], cfg.shift_width) << place for word, item in zip(words, items, strict=True)]
    payload = Signal(len(Cat(fields)))
    m.d.comb += [Cat(fields).eq(payload), unit.enable.eq(control.enable)]
    values = Value.cast(unit.values)
    streams = Streams(control.i_valid, control.i_ready, payload, control.o_valid, control.o_ready, values)
    flow = run_streams(m, streams, words, len(words), **stalls)
    return [unpack(word, cfg.value_width, cfg.m_group) for word in flow.received], flow


def modes(cfg: Config) -> list[dict[str, bool]]:
    """Each mode on and off, as far as there is hardware."""
    statics = (False, True) if cfg.static_shift else (False,)
    tokens = (False, True) if cfg.token_shift else (False,)
    return [{"static": static, "token": token} for static in statics for token in tokens]


@pytest.mark.parametrize("name", CONFIGS)
def test_values_and_latency(name: str) -> None:
    cfg = CONFIGS[name]
    items = edges(cfg) + randoms(cfg, 100)
    for mode in modes(cfg):
        got, flow = run(cfg, items, **mode)
        assert got == expected(cfg, items, **mode), mode
        assert flow.sent == list(range(len(items)))
        assert flow.taken == [cycle + 2 for cycle in flow.sent]


@pytest.mark.parametrize("offer, take", [(0.5, 0.5), (0.9, 0.3), (0.3, 0.9)])
@pytest.mark.parametrize("name", CONFIGS)
def test_stages_that_wait_for_each_other(name: str, offer: float, take: float) -> None:
    cfg = CONFIGS[name]
    items = randoms(cfg, 60)
    mode = modes(cfg)[-1]
    got, _ = run(cfg, items, **mode, offer=offer, take=take)
    assert got == expected(cfg, items, **mode)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_stimuli_reach_what_they_are_for(name: str) -> None:
    """Clamped at both ends and not clamped; halves rounded up and down, of both signs, at every exponent but 0."""
    cfg = CONFIGS[name]
    items = edges(cfg) + randoms(cfg, 100)
    top = (1 << (cfg.value_width - 1)) - 1
    found = [v for block in expected(cfg, items, **modes(cfg)[-1]) for v in block]
    assert found.count(top) > 10
    assert found.count(-top - 1) > 10
    assert sum(-top <= v < top for v in found) > 100
    shifts = {(item.exponent, h) for item in items for h in item.h}
    ties = {(e, h > 0, h >> e & 1) for e, h in shifts if h % (1 << e) == 1 << e >> 1 > 0}
    assert len(ties) == 4 * 14 + 2, "with the largest exponent two of the four cases exist"
