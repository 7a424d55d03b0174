"""Running a component in Amaranth's simulator, and driving its streams as ints with every kind of stall."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Value
from amaranth.sim import Simulator

Bench = Callable[[Any], Awaitable[None]]


def simulate(dut: Any, bench: Bench) -> None:
    """Run ``bench`` as the one testbench of ``dut`` until it returns."""
    sim = Simulator(dut)
    sim.add_clock(1e-6, if_exists=True)
    sim.add_testbench(bench)
    sim.run()


def pack(values: Iterable[int], width: int) -> int:
    """Ints as the elements of an array, element 0 lowest."""
    return sum((v & ((1 << width) - 1)) << (i * width) for i, v in enumerate(values))


def unpack(word: int, width: int, count: int, *, signed: bool = True) -> list[int]:
    """The elements of an array."""
    fields = [(word >> (i * width)) & ((1 << width) - 1) for i in range(count)]
    return [v - (1 << width) if signed and v >> (width - 1) else v for v in fields]


@dataclass
class Streams:
    """The signals of an input and an output stream; payloads are plain ints."""

    i_valid: Any
    i_ready: Any
    i_payload: Any
    o_valid: Any
    o_ready: Any
    o_payload: Any

    @classmethod
    def of(cls, dut: Any) -> Streams:
        i, o = dut.i, dut.o
        return cls(i.valid, i.ready, Value.cast(i.p), o.valid, o.ready, Value.cast(o.p))


@dataclass
class Flow:
    """What happened: cycles of the transfers on both sides, and the payloads received."""

    sent: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)


def run_streams(
    dut: Any,
    streams: Streams,
    items: Sequence[int],
    outputs: int,
    *,
    offer: float = 1.0,
    take: float = 1.0,
    seed: int = 0,
    ports: Mapping[str, int] | None = None,
) -> Flow:
    """``transfer`` as the one thing that happens to ``dut``. ports: values of other inputs, all the time."""
    flow = Flow()

    async def bench(ctx: Any) -> None:
        for name, value in (ports or {}).items():
            ctx.set(getattr(dut, name), value)
        await transfer(ctx, streams, items, outputs, flow, offer=offer, take=take, rng=random.Random(seed))

    simulate(dut, bench)
    return flow


async def transfer(
    ctx: Any,
    streams: Streams,
    items: Sequence[int],
    outputs: int,
    flow: Flow,
    *,
    offer: float = 1.0,
    take: float = 1.0,
    rng: random.Random,
) -> None:
    """Send ``items``, expect exactly ``outputs`` beats. ``offer``, ``take``: chance of valid and ready in a cycle.

    Without an offer the payload is garbage. Asserts that an offered output beat stays until it is taken, and that
    nothing comes after the last one.
    """
    garbage = (1 << len(streams.i_payload)) - 1
    offering = False
    waiting: int | None = None
    idle = 0
    for cycle in range(50 + int(20 * (len(items) + outputs) / min(offer, take))):
        offering = offering or (len(flow.sent) < len(items) and rng.random() < offer)
        ctx.set(streams.i_valid, offering)
        ctx.set(streams.i_payload, items[len(flow.sent)] if offering else rng.randint(0, garbage))
        ready = rng.random() < take
        ctx.set(streams.o_ready, ready)
        valid, payload = ctx.get(streams.o_valid), ctx.get(streams.o_payload)
        assert waiting is None or (valid and payload == waiting), "an offered beat changed before it was taken"
        waiting = payload if valid and not ready else None
        if valid and ready:
            flow.taken.append(cycle)
            flow.received.append(payload)
        if offering and ctx.get(streams.i_ready):
            flow.sent.append(cycle)
            offering = False
        await ctx.tick()
        idle = idle + 1 if len(flow.received) >= outputs else 0
        if idle > 20 and len(flow.sent) == len(items):
            break
    assert len(flow.sent) == len(items)
    assert len(flow.received) == outputs
