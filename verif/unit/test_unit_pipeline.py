"""StageControl with data registers behind it: order, content, throughput, latency under every kind of stall."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from flexnm_rtl.pipeline import StageControl, Waiting, delay
from unit_tools import Flow, Streams, run_streams, simulate

DEPTHS = [1, 2, 3, 6]
WIDTH = 12


def flow_of(depth: int, items: list[int], waiting: Waiting, **stalls: Any) -> Flow:
    m = Module()
    m.submodules.control = control = StageControl(depth, waiting)
    data = Signal(WIDTH)
    out = delay(m, control.enable, data, "data")
    streams = Streams(control.i_valid, control.i_ready, data, control.o_valid, control.o_ready, out)
    flow = run_streams(m, streams, items, len(items), **stalls)
    assert flow.received == items
    return flow


def numbers(count: int) -> list[int]:
    return random.Random(count).sample(range(1 << WIDTH), count)


@pytest.mark.parametrize("waiting", Waiting)
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_full_pipeline_moves_a_beat_a_cycle_or_every_other_one(depth: int, waiting: Waiting) -> None:
    flow = flow_of(depth, numbers(100), waiting)
    spacing = 2 if waiting is Waiting.SPACED else 1
    assert flow.sent == list(range(0, 100 * spacing, spacing))
    assert flow.taken == [cycle + depth for cycle in flow.sent]


@pytest.mark.parametrize("waiting", Waiting)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("offer, take", [(0.5, 0.5), (0.9, 0.2), (0.2, 0.9), (1.0, 0.5), (0.5, 1.0)])
def test_stalls_lose_repeat_and_reorder_nothing(depth: int, offer: float, take: float, waiting: Waiting) -> None:
    for seed in range(3):
        flow = flow_of(depth, numbers(120), waiting, offer=offer, take=take, seed=seed)
        assert all(out - into >= depth for into, out in zip(flow.sent, flow.taken, strict=True))
        if take == 1.0:
            assert all(out - into == depth for into, out in zip(flow.sent, flow.taken, strict=True))


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_stalled_pipeline_fills_up_and_closes_its_bubbles(depth: int) -> None:
    control = StageControl(depth)

    async def bench(ctx: Any) -> None:
        accepted = 0
        for cycle in range(4 * depth):
            offering = cycle % 2 == 0  # bubbles on the way in
            ctx.set(control.i_valid, offering)
            accepted += offering and ctx.get(control.i_ready)
            await ctx.tick()
        assert accepted == depth
        ctx.set(control.i_valid, 1)
        assert ctx.get(control.i_ready) == 0
        assert ctx.get(control.enable) == 0
        ctx.set(control.o_ready, 1)  # one place at the end is room at the start in the same cycle
        assert ctx.get(control.i_ready) == 1
        assert ctx.get(control.enable) == (1 << depth) - 1

    simulate(control, bench)


def test_all_stages_of_a_rigid_pipeline_stand_still_while_the_last_one_waits() -> None:
    control = StageControl(4, Waiting.RIGID)

    async def bench(ctx: Any) -> None:
        for cycle in range(12):
            ctx.set(control.i_valid, cycle in (0, 3))
            waiting = cycle >= 4  # the first beat, and the second one is a stage long behind a bubble
            assert ctx.get(control.o_valid) == waiting
            assert ctx.get(control.i_ready) == (not waiting)
            await ctx.tick()
        ctx.set(control.o_ready, 1)
        shown = []
        for _ in range(5):
            shown.append(ctx.get(control.o_valid))
            await ctx.tick()
        assert shown == [1, 0, 0, 1, 0]

    simulate(control, bench)


def test_what_a_spaced_pipeline_takes_does_not_depend_on_the_other_end() -> None:
    control = StageControl(3, Waiting.SPACED)

    async def bench(ctx: Any) -> None:
        ctx.set(control.i_valid, 1)
        for cycle in range(12):
            for taking in (0, 1, 0):  # the last word is a register's
                ctx.set(control.o_ready, taking)
                assert ctx.get(control.i_ready) == (cycle in (0, 2, 4))
                assert ctx.get(control.enable[1:]) == {1: 1, 2: 2, 3: 1}.get(cycle, 0)
            await ctx.tick()

    simulate(control, bench)


def test_registers_load_only_with_a_beat() -> None:
    control = StageControl(3)

    async def bench(ctx: Any) -> None:
        ctx.set(control.o_ready, 1)
        for _ in range(5):
            assert ctx.get(control.enable) == 0
            await ctx.tick()
        ctx.set(control.i_valid, 1)
        for k in range(4):
            assert ctx.get(control.enable) == (1 << k) % 8
            assert ctx.get(control.o_valid) == (k == 3)
            await ctx.tick()
            ctx.set(control.i_valid, 0)

    simulate(control, bench)
