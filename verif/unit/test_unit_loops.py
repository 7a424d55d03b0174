"""LoopNest against nested loops of Python: limits of every size, pauses, restarts, a second round."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from flexnm_rtl.loops import Loop, LoopNest
from unit_tools import simulate

NESTS = {
    "one": (Loop("a", 9, 1),),
    "steps": (Loop("a", 20, 4), Loop("b", 7, 3)),
    "step of the whole": (Loop("a", 4, 4), Loop("b", 3, 8), Loop("c", 7, 7)),
    "four": (Loop("beat", 2, 1), Loop("k", 33, 16), Loop("t", 9, 4), Loop("o", 17, 8)),
}
State = tuple[tuple[int, bool], ...]
"""Elements left and whether this is the last iteration, for each loop."""


def iterations(loops: tuple[Loop, ...], limits: dict[str, int]) -> list[State]:
    """All iterations, the first loop fastest."""

    def one(loop: Loop) -> Iterator[tuple[int, bool]]:
        limit = limits[loop.name]
        return ((limit - done, done + loop.step >= limit) for done in range(0, limit, loop.step))

    return [state[::-1] for state in product(*(list(one(loop)) for loop in reversed(loops)))]


def state_of(ctx: Any, nest: LoopNest) -> State:
    return tuple(
        (ctx.get(getattr(nest, f"{loop.name}_left")), bool(ctx.get(getattr(nest, f"{loop.name}_last"))))
        for loop in nest.loops
    )


async def begin(ctx: Any, nest: LoopNest, limits: dict[str, int]) -> None:
    for name, limit in limits.items():
        ctx.set(getattr(nest, f"{name}_limit"), limit)
    ctx.set(nest.start, 1)
    await ctx.tick()
    ctx.set(nest.start, 0)


async def walk(ctx: Any, nest: LoopNest, expected: list[State], rng: random.Random, pause: float) -> None:
    shown = expected[0][1:] if expected else ()  # what outer loops show: if late, one cycle of the last iteration
    for state in expected:
        while True:
            late = nest.late and shown != state[1:]
            assert state_of(ctx, nest) == (state[:1] + shown if late else state)
            assert ctx.get(nest.final) == all(last for _, last in state)
            shown = state[1:]
            advance = rng.random() >= pause
            ctx.set(nest.advance, advance)
            await ctx.tick()
            if advance:
                break
    ctx.set(nest.advance, 0)


def limits_of(loops: tuple[Loop, ...], rng: random.Random) -> dict[str, int]:
    """Random limits, often the smallest, the largest, or whole steps."""
    limits = {}
    for loop in loops:
        edges = [1, loop.largest, min(loop.step, loop.largest), max(1, loop.largest // loop.step * loop.step)]
        limits[loop.name] = rng.choice([*edges, rng.randint(1, loop.largest), rng.randint(1, loop.largest)])
    return limits


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", NESTS)
def test_all_iterations_in_order_twice(name: str, late: bool) -> None:
    loops = (Loop("inner", 8, 3), *NESTS[name]) if late else NESTS[name]
    nest = LoopNest(*loops, late=late)

    async def bench(ctx: Any) -> None:
        rng = random.Random(name)
        for round_ in range(20):
            limits = limits_of(loops, rng) | ({"inner": rng.randint(4, 8)} if late else {})
            await begin(ctx, nest, limits)
            expected = iterations(loops, limits)
            await walk(ctx, nest, expected * 2, rng, 0.0 if round_ % 2 else 0.4)

    simulate(nest, bench)


@pytest.mark.parametrize("late", [False, True])
def test_start_goes_back_from_anywhere_and_wins_over_advance(late: bool) -> None:
    loops = (Loop("inner", 2, 1), *NESTS["four"][1:]) if late else NESTS["four"]
    two = {"inner": 2} if late else {}
    nest = LoopNest(*loops, late=late)

    async def bench(ctx: Any) -> None:
        rng = random.Random(1)
        for _ in range(20):
            limits = limits_of(loops, rng) | two
            expected = iterations(loops, limits)
            await begin(ctx, nest, limits)
            await walk(ctx, nest, expected[: rng.randint(0, len(expected))], rng, 0.2)
            ctx.set(nest.advance, 1)
            limits = limits_of(loops, rng) | two
            await begin(ctx, nest, limits)
            ctx.set(nest.advance, 0)
            await walk(ctx, nest, iterations(loops, limits), rng, 0.0)

    simulate(nest, bench)
