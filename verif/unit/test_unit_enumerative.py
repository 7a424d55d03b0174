"""RankEncoder and RankDecoder against the reference: all masks of small patterns, stalls, latency."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from amaranth.hdl import Module, Signal, Value
from flexnm_model.reference import pack, unpack
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.enumerative import RankDecoder, RankEncoder, carry_save, decoder_stages
from flexnm_rtl.pipeline import StageControl
from unit_tools import Flow, Streams, run_streams, simulate

LARGE = [(8, 16), (5, 17), (1, 32), (31, 32), (32, 32), (1, 16)]
STALLS = [(1.0, 1.0), (0.5, 0.5), (0.9, 0.3), (0.3, 0.9)]


def config(n: int, m: int) -> Config:
    return Config(n_keep=n, m_group=m, lanes=n, metadata=Metadata.ENUMERATIVE)


def as_mask(channels: tuple[int, ...]) -> int:
    return sum(1 << c for c in channels)


def masks_of(n: int, m: int, most: int) -> list[int]:
    """All masks of the pattern where there are no more than ``most``, else the first, the last and random ones."""
    if math.comb(m, n) <= most:
        return [as_mask(channels) for channels in itertools.combinations(range(m), n)]
    rng = random.Random(n)
    full = (1 << n) - 1
    return [full, full << (m - n), *(as_mask(tuple(rng.sample(range(m), n))) for _ in range(most - 2))]


def rank_of(mask: int, m: int) -> int:
    return pack([bool(mask >> i & 1) for i in range(m)], Metadata.ENUMERATIVE)


def run(unit: RankEncoder | RankDecoder, source: Value, result: Value, items: list[int], **stalls: Any) -> Flow:
    """The items through the unit, whose stages load when StageControl says so."""
    m = Module()
    m.submodules.control = control = StageControl(unit.latency)
    m.submodules.unit = unit
    payload = Signal.like(source)
    m.d.comb += [unit.enable.eq(control.enable), source.eq(payload)]
    streams = Streams(control.i_valid, control.i_ready, payload, control.o_valid, control.o_ready, result)
    return run_streams(m, streams, items, len(items), **stalls)


def both(n: int, m: int, masks: list[int], **stalls: Any) -> list[tuple[Flow, int]]:
    """What the encoder makes of masks and the decoder of their ranks, checked; and the latency of each."""
    ranks = [rank_of(mask, m) for mask in masks]
    encoder, decoder = RankEncoder(config(n, m)), RankDecoder(config(n, m))
    encoded = run(encoder, encoder.mask, encoder.word, masks, **stalls)
    decoded = run(decoder, decoder.word, decoder.mask, ranks, **stalls)
    assert encoded.received == ranks
    assert decoded.received == masks
    return [(encoded, encoder.latency), (decoded, decoder.latency)]


@pytest.mark.parametrize("m", range(2, 9))
def test_every_mask_up_to_eight_channels(m: int) -> None:
    for n in range(1, m + 1):
        both(n, m, masks_of(n, m, 1 << m))


@pytest.mark.parametrize(
    "n, m, offer, take", [(*pattern, *stalls) for pattern in LARGE for stalls in STALLS] + [(16, 32, 0.6, 0.5)]
)
def test_masks_of_large_patterns_under_stalls(n: int, m: int, offer: float, take: float) -> None:
    masks = masks_of(n, m, 40)
    random.Random(0).shuffle(masks)
    both(n, m, masks, offer=offer, take=take)


LATENCIES = {(2, 4): (1, 1), (4, 8): (1, 2), (3, 7): (1, 1), (8, 16): (2, 4), (16, 32): (2, 14), (32, 32): (1, 1)}


@pytest.mark.parametrize("n, m", LATENCIES)
def test_latency_and_a_block_a_cycle(n: int, m: int) -> None:
    masks = (masks_of(n, m, 30) * 30)[:30]
    for (flow, latency), stated in zip(both(n, m, masks), LATENCIES[n, m], strict=True):
        assert flow.sent == list(range(flow.sent[0], flow.sent[0] + 30))
        assert flow.taken == [cycle + latency for cycle in flow.sent]
        assert latency == stated


@pytest.mark.parametrize("n, m", [*LATENCIES, *LARGE])
def test_the_decoder_finds_every_position_once(n: int, m: int) -> None:
    stages = decoder_stages(config(n, m))
    assert all(stages)
    assert [position for stage in stages for position in stage] == list(reversed(range(n)))


@pytest.mark.parametrize("n, m", [(2, 4), (3, 7), (8, 16)])
def test_words_that_are_no_rank_affect_nothing_else(n: int, m: int) -> None:
    decoder = RankDecoder(config(n, m))
    top = (1 << len(decoder.word)) - 1
    words = [0, top, 1, math.comb(m, n), math.comb(m, n) - 1]
    flow = run(decoder, decoder.word, decoder.mask, words, offer=0.7, take=0.7)
    for word, mask in list(zip(words, flow.received, strict=True))[::2]:
        assert mask == sum(1 << i for i, keep in enumerate(unpack(word, n, m, Metadata.ENUMERATIVE)) if keep)


def test_carry_save_adds() -> None:
    """Columns of 0 to 9 bits, modulo the width."""
    m = Module()
    heights = [3, 0, 9, 1, 2, 5, 4]
    columns = [[Signal(name=f"bit_{k}_{i}") for i in range(height)] for k, height in enumerate(heights)]
    rows = carry_save(m, columns, "sum")
    assert [len(row) for row in rows] == [len(heights)] * 2
    total = Signal(len(heights))
    m.d.comb += total.eq(rows[0] + rows[1])
    rng = random.Random(0)

    async def bench(ctx: Any) -> None:
        for _ in range(100):
            expected = 0
            for k, column in enumerate(columns):
                for bit in column:
                    value = int(rng.random() < 0.7)
                    ctx.set(bit, value)
                    expected += value << k
            assert ctx.get(total) == expected % (1 << len(heights))

    simulate(m, bench)
