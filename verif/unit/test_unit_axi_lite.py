"""AxiLiteSubordinate: handshakes in every order, responses that wait, strobes, reads beside writes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.sim import Simulator
from axi_lite_tools import read, write
from flexnm_rtl.axi import OKAY, SLVERR
from flexnm_rtl.axi_lite import AxiLiteSubordinate
from unit_tools import simulate


def recording(dut: AxiLiteSubordinate, seen: list[tuple[int, int, int]]) -> Any:
    """A process that notes every access to the write port."""

    async def process(ctx: Any) -> None:
        async for _, _, hit, index, word, mask in ctx.tick().sample(
            dut.write, dut.write_index, dut.write_data, dut.write_mask
        ):
            if hit:
                seen.append((index, word, mask))

    return process


def simulate_beside(dut: Any, bench: Any, process: Any) -> None:
    """Like ``simulate``, with a process that watches the same clock edges."""
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_process(process)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("lead", [-3, -1, 0, 1, 3])
@pytest.mark.parametrize("wait", [0, 1, 4])
def test_one_access_a_write(lead: int, wait: int) -> None:
    dut = AxiLiteSubordinate(8)
    rng = random.Random(lead)
    seen: list[tuple[int, int, int]] = []

    async def bench(ctx: Any) -> None:
        for _ in range(20):
            index, word, strobes, good = rng.randrange(64), rng.getrandbits(32), rng.randrange(16), rng.randrange(2)
            ctx.set(dut.write_ok, good)
            before = len(seen)
            low = rng.randrange(4)  # the two lowest address bits are ignored
            response = await write(ctx, dut.bus, 4 * index + low, word, strobes=strobes, lead=lead, wait=wait)
            mask = sum(0xFF << (8 * byte) for byte in range(4) if strobes >> byte & 1)
            assert seen[before:] == [(index, word, mask)]
            assert response == (OKAY if good else SLVERR)

    simulate_beside(dut, bench, recording(dut, seen))


@pytest.mark.parametrize("wait", [0, 1, 4])
def test_reads_answer_with_the_word_of_the_cycle_they_were_taken_in(wait: int) -> None:
    dut = AxiLiteSubordinate(8)

    async def bench(ctx: Any) -> None:
        rng = random.Random(wait)
        for _ in range(20):
            index, word, good = rng.randrange(64), rng.getrandbits(32), rng.randrange(2)
            ctx.set(dut.read_ok, good)
            ctx.set(dut.read_data, word if good else 0)
            ctx.set(dut.bus.araddr, 4 * index + rng.randrange(4))
            assert ctx.get(dut.read_index) == index
            assert await read(ctx, dut.bus, 4 * index, wait=wait) == ((word, OKAY) if good else (0, SLVERR))

    simulate(dut, bench)


def test_a_waiting_answer_keeps_its_word_and_blocks_the_next_request() -> None:
    dut = AxiLiteSubordinate(8)

    async def bench(ctx: Any) -> None:
        bus = dut.bus
        ctx.set(dut.read_ok, 1)
        ctx.set(dut.write_ok, 1)
        for port in (bus.arvalid, bus.awvalid, bus.wvalid):
            ctx.set(port, 1)
        ctx.set(dut.read_data, 11)
        await ctx.tick()
        for word in (22, 33):
            ctx.set(dut.read_data, word)
            assert (ctx.get(bus.rvalid), ctx.get(bus.rdata), ctx.get(bus.arready)) == (1, 11, 0)
            assert (ctx.get(bus.bvalid), ctx.get(bus.awready), ctx.get(bus.wready)) == (1, 0, 0)
            assert not ctx.get(dut.write)
            await ctx.tick()

    simulate(dut, bench)


def test_a_write_does_not_disturb_a_read() -> None:
    """Both sides together, each with its own pace: every answer comes, none is mixed up."""
    dut = AxiLiteSubordinate(8)

    async def bench(ctx: Any) -> None:
        bus, rng = dut.bus, random.Random(0)
        ctx.set(dut.write_ok, 0)
        ctx.set(dut.read_ok, 1)
        answers = {"b": 0, "r": 0}
        requests = {"b": 0, "r": 0}
        for port in (bus.arvalid, bus.awvalid, bus.wvalid):
            ctx.set(port, 1)
        for _ in range(300):
            ctx.set(dut.read_data, requests["r"])
            for name in answers:
                ctx.set(getattr(bus, name + "ready"), rng.random() < 0.4)
            requests["r"] += ctx.get(bus.arready)
            requests["b"] += ctx.get(dut.write)
            if ctx.get(bus.rvalid) and ctx.get(bus.rready):
                assert (ctx.get(bus.rdata), ctx.get(bus.rresp)) == (answers["r"], OKAY)
                answers["r"] += 1
            if ctx.get(bus.bvalid) and ctx.get(bus.bready):
                assert ctx.get(bus.bresp) == SLVERR
                answers["b"] += 1
            await ctx.tick()
        for name, count in answers.items():
            assert count > 50
            assert requests[name] - count in (0, 1)

    simulate(dut, bench)
