"""The compaction network: every kept channel where it belongs, from masks and from distances."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import Any

import pytest
from amaranth.hdl import Cat, Elaboratable, Module, Signal
from flexnm_rtl.arith import prefix_counts
from flexnm_rtl.compaction import CompactionNetwork, network_of
from flexnm_rtl.config import Config, bits_for
from unit_tools import pack, simulate, unpack

WIDTH = 6
EXHAUSTIVE = 300
"""Patterns with so many masks or fewer are tried with all of them."""


class Routed(Elaboratable):
    """``kept``: ``channels`` where ``mask`` is set, by moves from the mask and by moves from the distances."""

    def __init__(self, network: CompactionNetwork) -> None:
        n, m = network.n_keep, network.m_group
        self.network = network
        self.mask = Signal(m)
        self.distances = Signal(n * bits_for(m))
        self.channels = Signal(m * WIDTH)
        self.kept = [Signal(n * WIDTH, name=f"kept_{k}") for k in range(1 + network.exact)]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        network = self.network
        channels = [self.channels.word_select(i, WIDTH) for i in range(network.m_group)]
        below = prefix_counts(m, ~self.mask, "below")[:-1]
        moves = [network.moves(m, self.mask, below, "move")]
        if network.exact:
            bits = bits_for(network.m_group)
            distances = [self.distances.word_select(i, bits) for i in range(network.n_keep)]
            moves.append(network.moves_of_distances(m, distances, "back"))
        for k, (kept, word) in enumerate(zip(self.kept, moves, strict=True)):
            assert len(word) == network.move_count
            m.d.comb += kept.eq(Cat(network.apply(m, channels, word, f"kept_{k}")))
        return m


def masks(n: int, m: int, *, exact: bool) -> Iterator[list[int]]:
    """Kept channels: all choices if they are few, else the extremes and random ones."""
    counts = [n] if exact else range(n + 1)
    if sum(comb(m, count) for count in counts) <= EXHAUSTIVE:
        for count in counts:
            yield from (list(chosen) for chosen in combinations(range(m), count))
        return
    rng = random.Random(f"{n}:{m}")
    yield list(range(n))
    yield list(range(m - n, m))
    yield [k * m // n for k in range(n)]  # evenly spread
    yield [*range(n // 2), *range(m - n + n // 2, m)]
    for _ in range(100 if m <= 16 else 12):
        yield sorted(rng.sample(range(m), n if exact else rng.randrange(n + 1)))


PATTERNS = [(1, 2), (2, 4), (1, 4), (3, 4), (4, 4), (4, 8), (3, 5), (5, 11), (8, 16), (11, 16), (16, 32), (31, 32)]


CASES = [(n, m, exact, True) for n, m in PATTERNS for exact in (True, False)]


@pytest.mark.parametrize(
    "n, m, exact, deep", [*CASES, (5, 11, True, False), (8, 16, True, False), (8, 16, False, False)]
)
def test_kept_channels_come_side_by_side(n: int, m: int, exact: bool, deep: bool) -> None:
    network = CompactionNetwork(n, m, exact=exact, deep=deep)
    dut = Routed(network)
    rng = random.Random(m)

    async def bench(ctx: Any) -> None:
        for chosen in masks(n, m, exact=exact):
            values = [rng.getrandbits(WIDTH) for _ in range(m)]
            ctx.set(dut.mask, sum(1 << channel for channel in chosen))
            ctx.set(dut.channels, pack(values, WIDTH))
            if exact:
                distances = [channel - position for position, channel in enumerate(chosen)]
                ctx.set(dut.distances, pack(distances, bits_for(m)))
            for kept in dut.kept:
                found = unpack(ctx.get(kept), WIDTH, n, signed=False)
                assert found == [values[channel] for channel in chosen] + [0] * (n - len(chosen))

    simulate(dut, bench)


def test_inputs_of_the_common_patterns() -> None:
    """As many as the documents say; with N = M there is nothing to do."""
    assert [CompactionNetwork(n, 2 * n).move_count for n in (2, 4, 8, 16)] == [6, 20, 68, 192]
    assert [CompactionNetwork(n, 2 * n).low for n in (2, 4, 8, 16)] == [0, 0, 1, 2]
    assert CompactionNetwork(8, 8).stages == ()
    assert [CompactionNetwork(n, 2 * n, deep=False).move_count for n in (8, 16)] == [72, 272]


def test_a_flexible_unit_may_keep_fewer() -> None:
    assert network_of(Config(n_keep=2, m_group=8, lanes=1)).exact
    assert not network_of(Config(n_keep=8, m_group=8, lanes=1, flexible=True)).exact


def test_short_stages_have_one_stage() -> None:
    assert network_of(Config()).deep
    assert not network_of(Config(selector="rank2")).deep
