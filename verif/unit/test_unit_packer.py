"""Packer: wide and narrow elements, a partly filled last beat, jobs one after another, back-pressure."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Cat, Module, Signal, Value
from flexnm_rtl.packer import Packer
from unit_tools import Flow, Streams, pack, run_streams, simulate

SHAPES = [(1, 32, 8), (1, 32, 16), (2, 32, 8), (3, 32, 8), (2, 64, 8), (1, 64, 16)]
Job = list[list[int]]
"""Inputs of a job, each a list of ``count`` elements; the last input of the list has ``last`` set."""


def random_job(count: int, wide: int, inputs: int, seed: int) -> Job:
    rng = random.Random(seed)
    return [[rng.randrange(-(1 << (wide - 1)), 1 << (wide - 1)) for _ in range(count)] for _ in range(inputs)]


def beats(job: Job, count: int, wide: int, narrow: int) -> list[tuple[int, int, int]]:
    """Data, keep and last of a job's beats, from the elements as one row of ``narrow`` (or ``wide``) bits each."""
    elements = [element for row in job for element in row]
    per_beat = count * wide // narrow
    result = []
    for first in range(0, len(elements), per_beat):
        part = elements[first : first + per_beat]
        keep = (1 << (len(part) * narrow // 8)) - 1
        result.append((pack(part, narrow), keep, int(first + per_beat >= len(elements))))
    return result


def run(jobs: list[Job], shape: tuple[int, int, int], *, narrow: bool, **stalls: Any) -> Flow:
    """Send all inputs one after another; asserts that the beats are those expected."""
    count, wide, narrow_bits = shape
    m = Module()
    m.submodules.packer = packer = Packer(count, wide=wide, narrow=narrow_bits)
    bits = count * wide
    payload = Signal(bits + 1)
    m.d.comb += [
        Value.cast(packer.elements).eq(payload[:bits]),
        packer.last.eq(payload[bits]),
        packer.narrow.eq(narrow),
    ]
    out = Cat(Value.cast(packer.o.tdata), packer.o.tkeep, packer.o.tlast)
    streams = Streams(packer.valid, packer.ready, payload, packer.o.tvalid, packer.o.tready, out)
    items = [pack(row, wide) | (i == len(job) - 1) << bits for job in jobs for i, row in enumerate(job)]
    expected = [b for job in jobs for b in beats(job, count, wide, narrow_bits if narrow else wide)]
    flow = run_streams(m, streams, items, len(expected), **stalls)
    keep_bits = bits // 8
    got = [(w & ((1 << bits) - 1), w >> bits & ((1 << keep_bits) - 1), w >> (bits + keep_bits)) for w in flow.received]
    assert got == expected
    return flow


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offer, take", [(1.0, 1.0), (0.5, 0.5), (0.9, 0.2), (0.2, 0.9)])
def test_jobs_of_every_length(shape: tuple[int, int, int], narrow: bool, offer: float, take: float) -> None:
    jobs = [random_job(shape[0], shape[1], inputs, inputs) for inputs in (1, 2, 3, 4, 5, 7, 8, 9, 1, 16, 3)]
    run(jobs, shape, narrow=narrow, offer=offer, take=take)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_input_a_cycle(shape: tuple[int, int, int], narrow: bool) -> None:
    count, wide, narrow_bits = shape
    flow = run([random_job(count, wide, 48, 1)], shape, narrow=narrow)
    ratio = wide // narrow_bits if narrow else 1
    assert flow.sent == list(range(48))
    assert flow.taken == list(range(ratio, 49, ratio))


def test_narrow_takes_the_low_bits() -> None:
    """Requantised results fit; the packer itself does not look at the bits above."""
    assert beats([[-1], [0x1234_5680], [5]], 1, 32, 8) == [(0x0580FF, 0b0111, 1)]
    run([[[-1], [0x1234_5680], [5]]], (1, 32, 8), narrow=True)


def test_start_forgets_parts_that_were_collected() -> None:
    packer = Packer(1, wide=32, narrow=8)

    async def give(ctx: Any, value: int, last: int) -> None:
        ctx.set(packer.elements[0], value)
        ctx.set(packer.last, last)
        ctx.set(packer.valid, 1)
        assert ctx.get(packer.ready)
        await ctx.tick()
        ctx.set(packer.valid, 0)

    async def bench(ctx: Any) -> None:
        ctx.set(packer.narrow, 1)
        for value in (1, 2):
            await give(ctx, value, 0)
        ctx.set(packer.start, 1)
        await ctx.tick()
        ctx.set(packer.start, 0)
        await give(ctx, 7, 0)
        await give(ctx, 8, 1)
        assert ctx.get(packer.o.tvalid)
        assert ctx.get(Value.cast(packer.o.tdata)) == 0x0807
        assert ctx.get(packer.o.tkeep) == 0b0011
        assert ctx.get(packer.o.tlast)

    simulate(packer, bench)
