"""The engines' register files: start, abort, status, error flags, counters."""

from __future__ import annotations

import random

import pytest
from flexnm_rtl.config import Config
from register_tools import CFG, JOBS, KINDS, Driver, run

both = pytest.mark.parametrize("kind", KINDS)


@both
def test_a_job_from_start_to_done(kind: str) -> None:
    async def bench(d: Driver) -> None:
        await d.set_job(**({"parameters": 1, "requantize": 1} if kind == "linear" else {"dense": 1}))
        assert await d.ones("status") == set()
        await d.command("start")
        assert await d.ones("status") == {"busy"}
        assert await d.read("control") == 0
        words = {register.name: await d.read(register.name) for register in d.dut.job_registers}
        assert words.items() >= JOBS[kind].items()
        for name in words:
            await d.write(name, 0, fails=True)
        assert {name: await d.read(name) for name in words} == words
        await d.pulse("done")
        assert await d.ones("status") == {"done"}
        await d.write("tokens", 2)
        await d.command("start")
        assert await d.ones("status") == {"busy"}
        assert await d.ones("errors") == set()

    run(bench, kind=kind)


@both
def test_start_lasts_one_cycle(kind: str) -> None:
    async def bench(d: Driver) -> None:
        await d.set_job()
        bus, ctx = d.dut.s_axi, d.ctx
        ctx.set(bus.awaddr, d.map["control"].offset)
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

    run(bench, kind=kind)


@both
def test_strobes_hold_back_commands(kind: str) -> None:
    async def bench(d: Driver) -> None:
        await d.set_job()
        await d.write("control", 1, strobes=0b1110)
        assert await d.ones("status") == set()
        await d.pulse("error_acts_long")
        await d.write("errors", 0xFF, strobes=0b1110)
        assert await d.ones("errors") == {"acts_long"}

    run(bench, kind=kind)


LONG = CFG.replace(address_width=40)
"""Addresses that need the high word of the base."""
GOOD: dict[str, dict[str, dict[str, int]]] = {
    "linear": {
        "smallest": {"tokens": 1, "channels": 1, "outputs": 1},
        "largest": {"tokens": CFG.tokens_max, "channels": CFG.k_max, "outputs": (1 << 24) - 1},
        "largest dense": {"tokens": CFG.tokens_max_dense, "dense": 1},
        "compressed": {"compressed": 1},
        "everything": {"dense": 1, "parameters": 1, "requantize": 1},
    },
    "decode": {
        "smallest": {"tokens": 1, "channels": 1, "outputs": 1, "keep": 1, "base_low": 0, "limit_low": 0},
        "largest": {"tokens": CFG.rows, "channels": CFG.k_max, "outputs": (1 << 24) - 1, "keep": CFG.m_group},
        "dense": {"dense": 1},
        "last row of the address space": {"base_low": (1 << 32) - CFG.row_bytes},
    },
}
REFUSED: dict[str, dict[str, dict[str, int]]] = {
    "linear": {
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
        "factors without hardware": {"factors": 1},
        "static shift without hardware": {"static_shift": 1, "parameters": 1},
        "token shift without hardware": {"token_shift": 1, "parameters": 1},
        "variance without hardware": {"variance": 1},
    },
    "decode": {
        "no tokens": {"tokens": 0},
        "no channels": {"channels": 0},
        "no outputs": {"outputs": 0},
        "nothing kept": {"keep": 0},
        "tokens": {"tokens": CFG.rows + 1},
        "tokens that wrap to one": {"tokens": 8 + 1},
        "channels": {"channels": CFG.k_max + 1},
        "channels that wrap to one": {"channels": 1024 + 1},
        "keep": {"keep": CFG.m_group + 1},
        "keep that wraps to one": {"keep": 32 + 1},
        "base in the middle of a row": {"base_low": 0x1200 + CFG.row_bytes // 2},
        "base off by a byte": {"base_low": 0x1201},
        "base beyond the addresses": {"base_high": 1},
    },
}
GOOD_CASES = [(kind, case) for kind in KINDS for case in GOOD[kind]]
REFUSED_CASES = [(kind, case) for kind in KINDS for case in REFUSED[kind]]


@pytest.mark.parametrize("kind, case", GOOD_CASES)
def test_start_accepts(kind: str, case: str) -> None:
    async def bench(d: Driver) -> None:
        await d.set_job(**GOOD[kind][case])
        await d.command("start")
        assert await d.ones("status") == {"busy"}
        assert await d.ones("errors") == set()

    run(bench, kind=kind)


async def refused_then_good(d: Driver, **job: int) -> None:
    await d.set_job(**job)
    await d.command("start")
    assert await d.ones("status") == set()
    assert await d.ones("errors") == {"shape"}
    await d.set_job()
    await d.command("start")
    assert await d.ones("status") == {"busy"}


@pytest.mark.parametrize("kind, case", REFUSED_CASES)
def test_start_refuses_and_says_so(kind: str, case: str) -> None:
    async def bench(d: Driver) -> None:
        await refused_then_good(d, **REFUSED[kind][case])

    run(bench, kind=kind)


@pytest.mark.parametrize("cfg, high", [(LONG, 0x100), (CFG.replace(address_width=33), 2)], ids=["40", "33"])
def test_the_high_word_of_the_base_has_as_many_bits_as_addresses(cfg: Config, high: int) -> None:
    async def bench(d: Driver) -> None:
        await refused_then_good(d, base_high=high)
        await d.pulse("done")
        await d.set_job(base_high=high - 1)
        await d.command("start")
        assert await d.ones("status") == {"busy"}
        assert d.ctx.get(d.dut.base_high) == high - 1

    run(bench, cfg, "decode")


METHODS = CFG.replace(score_factor="shift", static_shift=True, token_shift=True, variance=True)
METHOD_JOBS: dict[str, tuple[dict[str, int], bool]] = {
    "factors": ({"factors": 1}, True),
    "variance": ({"variance": 1}, True),
    "shifts": ({"static_shift": 1, "token_shift": 1, "parameters": 1}, True),
    "all": ({"factors": 1, "variance": 1, "static_shift": 1, "token_shift": 1, "parameters": 1, "requantize": 1}, True),
    "static shift without parameters": ({"static_shift": 1}, False),
    "token shift without parameters": ({"token_shift": 1}, False),
    "factors of dense blocks": ({"factors": 1, "dense": 1}, False),
    "variance of compressed blocks": ({"variance": 1, "compressed": 1}, False),
    "shifted dense blocks": ({"static_shift": 1, "parameters": 1, "dense": 1}, False),
    "shifted compressed blocks": ({"token_shift": 1, "parameters": 1, "compressed": 1}, False),
}


@pytest.mark.parametrize("case", METHOD_JOBS)
def test_modes_of_methods(case: str) -> None:
    job, good = METHOD_JOBS[case]

    async def bench(d: Driver) -> None:
        await d.set_job(**job)
        await d.command("start")
        assert await d.ones("status") == ({"busy"} if good else set())
        assert await d.ones("errors") == (set() if good else {"shape"})

    run(bench, METHODS)


@both
def test_start_while_busy(kind: str) -> None:
    async def bench(d: Driver) -> None:
        await d.set_job()
        await d.command("start")
        counted = d.dut.counters[-1]
        await d.pulse(f"count_{counted}")
        await d.command("start")
        assert await d.ones("errors") == {"not_ready"}
        assert await d.ones("status") == {"busy"}
        assert await d.read(counted) == 1, "the job that runs goes on"

    run(bench, kind=kind)


@both
def test_abort_lasts_until_the_job_has_ended(kind: str) -> None:
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

    run(bench, kind=kind)


@both
def test_error_flags_are_set_one_by_one_and_cleared_by_ones(kind: str) -> None:
    async def bench(d: Driver) -> None:
        register = d.map["errors"]
        assert {"acts_short", "acts_long"} < set(d.dut.errors)
        for name in d.dut.errors:
            await d.pulse(f"error_{name}")
            assert await d.ones("errors") == {name}
            others = register.encode(**{f.name: 1 for f in register.fields if f.name != name})
            await d.write("errors", others)
            assert await d.ones("errors") == {name}, "only a 1 clears"
            await d.write("errors", register.encode(**{name: 1}))
            assert await d.ones("errors") == set()
        for name in d.dut.errors:
            await d.pulse(f"error_{name}")
        await d.write("errors", register.encode(**dict.fromkeys(d.dut.errors[::2], 1)))
        assert await d.ones("errors") == set(d.dut.errors[1::2])

    run(bench, kind=kind)


@both
def test_an_error_in_the_cycle_of_its_clear_is_not_lost(kind: str) -> None:
    async def bench(d: Driver) -> None:
        for before in (False, True):
            if before:
                await d.pulse("error_acts_long")
            bus = d.dut.s_axi
            d.ctx.set(bus.awaddr, d.map["errors"].offset)
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

    run(bench, kind=kind)


@both
def test_counters(kind: str) -> None:
    async def bench(d: Driver) -> None:
        rng = random.Random(4)
        await d.set_job()
        for _ in range(2):  # a start sets them back
            await d.command("start")
            # What the command itself took after the start is in ``cycles`` already.
            counts = dict.fromkeys(d.dut.counters, 0) | {"cycles": await cycles_now(d)}
            for cycle in range(200):
                up = {name: int(rng.random() < 0.1 * (i + 1)) for i, name in enumerate(d.dut.counters)}
                for name, value in up.items():
                    d.ctx.set(getattr(d.dut, f"count_{name}"), value)
                    counts[name] += value
                d.ctx.set(d.dut.done, cycle == 199)
                counts["cycles"] += 1
                await d.ctx.tick()
            d.ctx.set(d.dut.done, 0)
            for name in d.dut.counters:
                d.ctx.set(getattr(d.dut, f"count_{name}"), 1)  # not a job any more
            assert {name: await d.read(name) for name in counts} == counts
            for name in d.dut.counters:
                d.ctx.set(getattr(d.dut, f"count_{name}"), 0)

    run(bench, kind=kind)


async def cycles_now(d: Driver) -> int:
    """The counter of cycles as it is after the read that asks for it: two cycles later than its answer."""
    return await d.read("cycles") + 2
