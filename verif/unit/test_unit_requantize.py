"""Requantizer against the scalar rule: ties, clamping, both modes, stages enabled at different times."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Module, Signal, Value
from flexnm_model import reference
from flexnm_rtl.config import MAX_K, Config
from flexnm_rtl.pipeline import StageControl, delay
from flexnm_rtl.requantize import Requantizer
from unit_tools import Flow, Streams, pack, run_streams, unpack

CONFIGS = {
    "w4": Config(act_width=4, weight_width=4, k_max=16),
    "w8": Config(act_width=8),
    "w8 of a wide sum": Config(act_width=8, weight_width=16, k_max=MAX_K),
    "w16": Config(act_width=16, weight_width=16, k_max=MAX_K),
}
Item = tuple[int, int, int, int]
"""Sum, bias, multiplier, shift."""


def edges(cfg: Config) -> list[Item]:
    """Largest operands, results on both sides of the clamp, and halves of both signs at many shifts."""
    top = 1 << (cfg.acc_width - 1)
    sums = [0, 1, -1, top - 1, -top]
    items = [
        (s, b, m, k) for s in sums for b in (-(1 << 31), (1 << 31) - 1, 0) for m in (1, 0xFFFF) for k in (0, 1, 63)
    ]
    half = 1 << (cfg.act_width - 1)
    for shift in (1, 2, 9, 15):
        for n in (0, 1, 2, half - 2, half - 1, half):
            for odd in (2 * n + 1, -2 * n - 1):
                items += [(odd, beside, 1 << (shift - 1), shift) for beside in (-1, 0, 1)]
    for shift in (2, 3, 6, 7, 12, 21, 37):  # one bit decides, in every place that can be lost
        for odd in (1, 3, -1, -3):
            besides = (0, *(sign << place for place in range(shift - 1) for sign in (1, -1)))
            items += [((odd << (shift - 1)) + beside, 0, 1, shift) for beside in besides]
    return [item for item in items if -top <= item[0] < top]


def randoms(cfg: Config, count: int) -> list[Item]:
    """Operands whose results are in range about as often as not."""
    rng = random.Random(cfg.acc_width)
    items = []
    for _ in range(count):
        bits = rng.randint(2, cfg.acc_width)
        total = rng.randrange(-(1 << (bits - 1)), 1 << (bits - 1))
        bias = rng.randrange(-(1 << 31), 1 << 31) >> rng.randint(0, 31)
        multiplier = rng.randrange(1 << rng.randint(1, 16))
        size = abs(total + bias).bit_length() + multiplier.bit_length()
        items.append((total, bias, multiplier, max(0, min(63, size - cfg.act_width + rng.randint(-2, 5)))))
    return items


def run(cfg: Config, items: list[Item], *, biased: bool, scaled: bool, **stalls: Any) -> tuple[list[int], Flow]:
    """Results of the pipeline; a stage loads when StageControl says so, and parameters come from a memory's port."""
    m = Module()
    m.submodules.control = control = StageControl(Requantizer.latency)
    m.submodules.unit = unit = Requantizer(cfg)
    payload = Signal(cfg.acc_width + 64)
    looked_up = delay(m, control.enable[:1], payload[cfg.acc_width :], "looked_up")
    m.d.comb += [
        unit.enable.eq(control.enable),
        unit.sum.eq(payload[: cfg.acc_width]),
        Value.cast(unit.parameters).eq(looked_up),
        unit.biased.eq(biased),
        unit.scaled.eq(scaled),
    ]
    words = [
        pack([total], cfg.acc_width) | (pack([bias], 32) | multiplier << 32 | shift << 48 | 0x2A << 58) << cfg.acc_width
        for total, bias, multiplier, shift in items
    ]
    streams = Streams(
        control.i_valid, control.i_ready, payload, control.o_valid, control.o_ready, unit.result.as_unsigned()
    )
    flow = run_streams(m, streams, words, len(words), **stalls)
    return [unpack(word, cfg.result_width, 1)[0] for word in flow.received], flow


def expected(cfg: Config, items: list[Item], *, biased: bool, scaled: bool) -> list[int]:
    results = []
    for total, bias, multiplier, shift in items:
        added = bias if biased else 0
        exact = reference.clamp(total + added, cfg.result_width)
        results.append(reference.requantize(total, added, multiplier, shift, cfg.act_width) if scaled else exact)
    return results


MODES = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize("biased, scaled", MODES)
@pytest.mark.parametrize("name", CONFIGS)
def test_results_and_latency(name: str, biased: bool, scaled: bool) -> None:
    cfg = CONFIGS[name]
    items = edges(cfg) + randoms(cfg, 250)
    got, flow = run(cfg, items, biased=biased, scaled=scaled)
    assert got == expected(cfg, items, biased=biased, scaled=scaled)
    assert (
        flow.taken
        == [cycle + Requantizer.latency for cycle in flow.sent]
        == list(range(Requantizer.latency, len(items) + Requantizer.latency))
    )


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("offer, take", [(0.5, 0.5), (0.9, 0.3), (0.3, 0.9)])
def test_stages_that_wait_for_each_other(name: str, offer: float, take: float) -> None:
    cfg = CONFIGS[name]
    items = randoms(cfg, 120)
    got, _ = run(cfg, items, biased=True, scaled=True, offer=offer, take=take)
    assert got == expected(cfg, items, biased=True, scaled=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_stimuli_reach_what_they_are_for(name: str) -> None:
    """Results of all kinds: clamped at both ends, not clamped, and exact ones clamped where a sum can be that wide."""
    cfg = CONFIGS[name]
    half = 1 << (cfg.act_width - 1)
    items = edges(cfg) + randoms(cfg, 250)
    scaled = expected(cfg, items, biased=True, scaled=True)
    assert scaled.count(half - 1) > 20
    assert scaled.count(-half) > 20
    assert sum(-half < y < half - 1 for y in scaled) > 100
    exact = expected(cfg, items, biased=True, scaled=False)
    clamped = {y for (total, bias, _, _), y in zip(items, exact, strict=True) if y != total + bias}
    assert clamped == ({-(1 << 31), (1 << 31) - 1} if cfg.result_width == 32 else set())
