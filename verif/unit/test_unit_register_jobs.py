"""The linear engine's register file: start, abort, status, error flags, counters."""

from __future__ import annotations

import random

import pytest
from flexnm_rtl.register_file import COUNTERS, PACKET_ERRORS
from flexnm_rtl.registers import BY_NAME
from register_tools import CFG, Driver, run


def test_a_job_from_start_to_done() -> None:
    async def bench(d: Driver) -> None:
        await d.set_job(parameters=1, requantize=1)
        assert await d.ones("status") == set()
        await d.command("start")
        assert await d.ones("status") == {"busy"}
        assert await d.read("control") == 0
        words = {name: await d.read(name) for name in ("tokens", "channels", "outputs", "mode")}
        for name in words:
            await d.write(name, 0, fails=True)
        assert {name: await d.read(name) for name in words} == words
        await d.pulse("done")
        assert await d.ones("status") == {"done"}
        await d.write("tokens", 9)
        await d.command("start")
        assert await d.ones("status") == {"busy"}
        assert await d.ones("errors") == set()

    run(bench)


def test_start_lasts_one_cycle() -> None:
    async def bench(d: Driver) -> None:
        await d.set_job()
        bus, ctx = d.dut.s_axi, d.ctx
        ctx.set(bus.awaddr, BY_NAME["control"].offset)
        ctx.set(bus.wdata, 1)
        ctx.set(bus.wstrb, 0xF)
        ctx.set(bus.awvalid, 1)
        ctx.set(bus.wvalid, 1)
        starts = 0
        for _ in range(6):  # the response is not taken, so the write is not repeated
            starts += ctx.get(d.dut.start)
            await ctx.tick()
        assert starts == 1
        assert ctx.get(d.dut.busy)

    run(bench)


def test_strobes_hold_back_commands() -> None:
    async def bench(d: Driver) -> None:
        await d.set_job()
        await d.write("control", 1, strobes=0b1110)
        assert await d.ones("status") == set()
        await d.pulse("error_acts_long")
        await d.write("errors", 0xFF, strobes=0b1110)
        assert await d.ones("errors") == {"acts_long"}

    run(bench)


GOOD = {
    "smallest": {"tokens": 1, "channels": 1, "outputs": 1},
    "largest": {"tokens": CFG.tokens_max, "channels": CFG.k_max, "outputs": (1 << 24) - 1},
    "largest dense": {"tokens": CFG.tokens_max_dense, "dense": 1},
    "compressed": {"compressed": 1},
    "everything": {"dense": 1, "parameters": 1, "requantize": 1},
}
REFUSED = {
    "no tokens": {"tokens": 0},
    "no channels": {"channels": 0},
    "no outputs": {"outputs": 0},
    "tokens": {"tokens": CFG.tokens_max + 1},
    "most tokens": {"tokens": (1 << 17) - 1},
    "tokens that wrap to one": {"tokens": (1 << 16) + 1},
    "channels": {"channels": CFG.k_max + 1},
    "channels that wrap to one": {"channels": (1 << 20) + 1},
    "dense tokens": {"tokens": CFG.tokens_max_dense + 1, "dense": 1},
    "dense and compressed": {"dense": 1, "compressed": 1},
    "requantize alone": {"requantize": 1},
}


@pytest.mark.parametrize("case", GOOD)
def test_start_accepts(case: str) -> None:
    async def bench(d: Driver) -> None:
        await d.set_job(**GOOD[case])
        await d.command("start")
        assert await d.ones("status") == {"busy"}
        assert await d.ones("errors") == set()

    run(bench)


@pytest.mark.parametrize("case", REFUSED)
def test_start_refuses_and_says_so(case: str) -> None:
    async def bench(d: Driver) -> None:
        await d.set_job(**REFUSED[case])
        await d.command("start")
        assert await d.ones("status") == set()
        assert await d.ones("errors") == {"shape"}
        await d.set_job()
        await d.command("start")
        assert await d.ones("status") == {"busy"}

    run(bench)


def test_start_while_busy() -> None:
    async def bench(d: Driver) -> None:
        await d.set_job()
        await d.command("start")
        await d.pulse("count_blocks")
        await d.command("start")
        assert await d.ones("errors") == {"not_ready"}
        assert await d.ones("status") == {"busy"}
        assert await d.read("blocks") == 1, "the job that runs goes on"

    run(bench)


def test_abort_lasts_until_the_job_has_ended() -> None:
    async def bench(d: Driver) -> None:
        await d.command("abort")
        assert await d.ones("errors") == set(), "nothing to abort"
        await d.set_job()
        await d.command("start")
        assert not d.ctx.get(d.dut.abort)
        await d.command("abort")
        for _ in range(10):
            assert d.ctx.get(d.dut.abort)
            await d.ctx.tick()
        assert await d.ones("status") == {"busy"}
        await d.pulse("done")
        assert not d.ctx.get(d.dut.abort)
        assert await d.ones("errors") == {"aborted"}
        assert await d.ones("status") == {"done"}

    run(bench)


def test_error_flags_are_set_one_by_one_and_cleared_by_ones() -> None:
    async def bench(d: Driver) -> None:
        register = BY_NAME["errors"]
        for name in PACKET_ERRORS:
            await d.pulse(f"error_{name}")
            assert await d.ones("errors") == {name}
            others = register.encode(**{f.name: 1 for f in register.fields if f.name != name})
            await d.write("errors", others)
            assert await d.ones("errors") == {name}, "only a 1 clears"
            await d.write("errors", register.encode(**{name: 1}))
            assert await d.ones("errors") == set()
        for name in PACKET_ERRORS:
            await d.pulse(f"error_{name}")
        await d.write("errors", register.encode(acts_short=1, weights_long=1))
        assert await d.ones("errors") == {"acts_long", "weights_short"}

    run(bench)


def test_an_error_in_the_cycle_of_its_clear_is_not_lost() -> None:
    async def bench(d: Driver) -> None:
        for before in (False, True):
            if before:
                await d.pulse("error_acts_long")
            bus = d.dut.s_axi
            d.ctx.set(bus.awaddr, BY_NAME["errors"].offset)
            d.ctx.set(bus.wdata, 0xFFFF_FFFF)
            d.ctx.set(bus.wstrb, 0xF)
            for port in (bus.awvalid, bus.wvalid, d.dut.error_acts_long):
                d.ctx.set(port, 1)
            assert d.ctx.get(bus.awready)
            await d.ctx.tick()
            for port in (bus.awvalid, bus.wvalid, d.dut.error_acts_long):
                d.ctx.set(port, 0)
            d.ctx.set(bus.bready, 1)
            await d.ctx.tick()
            assert await d.ones("errors") == {"acts_long"}
            await d.write("errors", 0xFFFF_FFFF)
            assert await d.ones("errors") == set()

    run(bench)


def test_counters() -> None:
    async def bench(d: Driver) -> None:
        rng = random.Random(4)
        await d.set_job()
        for _ in range(2):  # a start sets them back
            await d.command("start")
            # What the command itself took after the start is in ``cycles`` already.
            counts = dict.fromkeys(COUNTERS, 0) | {"cycles": await cycles_now(d)}
            for cycle in range(200):
                up = {name: int(rng.random() < 0.1 * (i + 1)) for i, name in enumerate(COUNTERS)}
                for name, value in up.items():
                    d.ctx.set(getattr(d.dut, f"count_{name}"), value)
                    counts[name] += value
                d.ctx.set(d.dut.done, cycle == 199)
                counts["cycles"] += 1
                await d.ctx.tick()
            d.ctx.set(d.dut.done, 0)
            for name in COUNTERS:
                d.ctx.set(getattr(d.dut, f"count_{name}"), 1)  # not a job any more
            assert {name: await d.read(name) for name in counts} == counts
            for name in COUNTERS:
                d.ctx.set(getattr(d.dut, f"count_{name}"), 0)

    run(bench)


async def cycles_now(d: Driver) -> int:
    """The counter of cycles as it is after the read that asks for it: two cycles later than its answer."""
    return await d.read("cycles") + 2
