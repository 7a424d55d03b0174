"""Running units that take several cycles for a result: start, busy, done."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from unit_tools import simulate

Inputs = Mapping[str, int]


def run_serial(
    dut: Any, jobs: Sequence[Inputs], outputs: Sequence[str], *, held: Sequence[str] = (), seed: int = 0
) -> list[tuple[int, ...]]:
    """Results of ``jobs``, input values by port, one after the other with random pauses, some of them none.

    held: inputs that must keep their value until ``done``; the others are garbage after ``start``. Some jobs are
    started, given up at a random moment and started again. Asserts the handshake: ``busy`` from the cycle after
    ``start`` on, ``done`` for one cycle, ``latency`` cycles after the last ``start``, outputs as they were then until
    the next ``start``.
    """
    rng = random.Random(seed)
    results: list[tuple[int, ...]] = []

    def garble(ctx: Any, job: Inputs, also: Sequence[str] = ()) -> None:
        for name in job:
            if name not in held or name in also:
                port = getattr(dut, name)
                low = -(1 << (len(port) - 1)) if port.shape().signed else 0
                ctx.set(port, rng.randrange(low, low + (1 << len(port))))

    async def begin(ctx: Any, job: Inputs) -> None:
        for name, value in job.items():
            ctx.set(getattr(dut, name), value)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        garble(ctx, job)

    async def work(ctx: Any, cycles: int) -> None:
        for _ in range(cycles):
            assert (ctx.get(dut.busy), ctx.get(dut.done)) == (1, 0)
            await ctx.tick()

    def read(ctx: Any) -> tuple[int, ...]:
        return tuple(ctx.get(getattr(dut, name)) for name in outputs)

    async def bench(ctx: Any) -> None:
        for job in jobs:
            if rng.random() < 0.2:
                await begin(ctx, rng.choice(jobs))
                await work(ctx, rng.randrange(dut.latency - 1))
            await begin(ctx, job)
            await work(ctx, dut.latency - 1)
            assert (ctx.get(dut.busy), ctx.get(dut.done)) == (0, 1)
            results.append(read(ctx))
            for _ in range(rng.choice((0, 0, 1, 5))):
                garble(ctx, job, also=held)
                await ctx.tick()
                assert (ctx.get(dut.busy), ctx.get(dut.done)) == (0, 0)
                assert read(ctx) == results[-1]

    simulate(dut, bench)
    return results
