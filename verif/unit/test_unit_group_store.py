"""GroupStore: groups of every size come out in order and without bubbles, under every stall, and after a restart."""

from __future__ import annotations

import random
from typing import Any

import pytest
from flexnm_rtl.group_store import GroupStore
from unit_tools import simulate

WIDTH = 12


class Driver:
    """Writes and replays groups of one store, cycle by cycle."""

    def __init__(self, store: GroupStore, take: float, seed: int) -> None:
        self.store = store
        self.take = take
        self.rng = random.Random(seed)

    async def write(self, ctx: Any, beats: list[int]) -> None:
        """Write with pauses; nothing is offered meanwhile."""
        for beat in beats:
            for wanted in [False] * self.rng.choice((0, 0, 2)) + [True]:
                ctx.set(self.store.write, wanted)
                ctx.set(self.store.data, beat if wanted else self.rng.randrange(1 << WIDTH))
                ctx.set(self.store.o.ready, self.rng.random() < 0.5)
                assert not ctx.get(self.store.o.valid)
                await ctx.tick()
        ctx.set(self.store.write, 0)

    async def replay(self, ctx: Any, expected: list[int], *, leave_after: int | None = None) -> None:
        """Take all beats, or leave after some of them."""
        store = self.store
        ctx.set(store.replay, 1)
        assert not ctx.get(store.o.valid)
        await ctx.tick()
        ctx.set(store.replay, 0)
        assert not ctx.get(store.o.valid)
        await ctx.tick()
        taken = 0
        while taken < (len(expected) if leave_after is None else leave_after):
            ready = self.rng.random() < self.take
            ctx.set(store.o.ready, ready)
            assert ctx.get(store.o.valid), "a bubble"
            assert ctx.get(store.o.payload) == expected[taken]
            taken += ready
            assert ctx.get(store.sent) == (ready and taken == len(expected))
            await ctx.tick()
        if leave_after is None:
            assert not ctx.get(store.o.valid)


@pytest.mark.parametrize("depth", [1, 2, 7, 8])
@pytest.mark.parametrize("take", [1.0, 0.6, 0.2])
def test_groups_of_all_sizes(depth: int, take: float) -> None:
    store = GroupStore(WIDTH, depth)
    driver = Driver(store, take, depth)

    async def bench(ctx: Any) -> None:
        ctx.set(store.start, 1)
        await ctx.tick()
        ctx.set(store.start, 0)
        for size in [*range(1, depth + 1), depth, 1, depth]:
            beats = [driver.rng.randrange(1 << WIDTH) for _ in range(size)]
            await driver.write(ctx, beats)
            await driver.replay(ctx, beats)

    simulate(store, bench)


@pytest.mark.parametrize("take", [1.0, 0.5])
def test_start_empties_the_store_at_any_moment(take: float) -> None:
    store = GroupStore(WIDTH, 6)
    driver = Driver(store, take, 1)

    async def bench(ctx: Any) -> None:
        for leave in [None, *range(6), None]:
            beats = [driver.rng.randrange(1 << WIDTH) for _ in range(6)]
            await driver.write(ctx, beats[:4] if leave is None else beats)
            if leave is not None:
                await driver.replay(ctx, beats, leave_after=leave)
            ctx.set(store.start, 1)
            await ctx.tick()
            ctx.set(store.start, 0)
            await driver.write(ctx, beats[1:4])
            await driver.replay(ctx, beats[1:4])

    simulate(store, bench)
