"""PacketGuard: packets of every length become exactly the beats asked for, under every kind of stall and abort."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from flexnm_rtl.packet_guard import PacketGuard
from unit_tools import simulate

WIDTH = 8
Feed = deque[tuple[int, int]]
"""Beats that wait to be sent: data and last."""


@dataclass
class Outcome:
    """What a job got: the beats, and in which of them a flag was set."""

    received: list[int] = field(default_factory=list)
    short: list[int] = field(default_factory=list)
    long: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)


class Driver:
    """Drives one guard cycle by cycle; the feed goes on from job to job."""

    def __init__(self, guard: PacketGuard, *, offer: float = 1.0, take: float = 1.0, seed: int = 0) -> None:
        self.guard = guard
        self.feed: Feed = deque()
        self.rng = random.Random(seed)
        self.offer, self.take = offer, take
        self.offering = False
        self.waiting: int | None = None

    async def cycle(self, ctx: Any, outcome: Outcome, need: int) -> None:
        guard = self.guard
        self.offering = bool(self.feed) and (self.offering or self.rng.random() < self.offer)
        ctx.set(guard.i.valid, self.offering)
        data, last = self.feed[0] if self.offering else (self.rng.randrange(256), self.rng.randrange(2))
        ctx.set(guard.i.p.data, data)
        ctx.set(guard.i.p.last, last)
        ready = self.rng.random() < self.take
        ctx.set(guard.o.ready, ready)
        ctx.set(guard.final, len(outcome.received) == need - 1)
        valid, value = ctx.get(guard.o.valid), ctx.get(guard.o.payload)
        assert self.waiting is None or (valid and value == self.waiting), "an offered beat changed"
        self.waiting = value if valid and not ready else None
        for name in ("short", "long"):
            if ctx.get(getattr(guard, name)):
                getattr(outcome, name).append(len(outcome.received))
        if valid and ready:
            outcome.received.append(value)
        if self.offering and ctx.get(guard.i.ready):
            outcome.taken.append(self.feed.popleft()[0])
            self.offering = False
        await ctx.tick()

    async def job(self, ctx: Any, need: int, *, abort_after: int | None = None, settle: int = 60) -> Outcome:
        """Start, run until ``need`` beats came, then ``settle`` more cycles. Aborts ``abort_after`` cycles on."""
        outcome = Outcome()
        ctx.set(self.guard.start, 1)
        ctx.set(self.guard.i.valid, 0)
        ctx.set(self.guard.o.ready, 0)
        await ctx.tick()
        ctx.set(self.guard.start, 0)
        for count in range(3000):
            ctx.set(self.guard.abort, abort_after is not None and count >= abort_after)
            await self.cycle(ctx, outcome, need)
            if len(outcome.received) == need:
                break
        ctx.set(self.guard.abort, 0)
        for _ in range(settle):
            await self.cycle(ctx, outcome, need)
        assert len(outcome.received) == need, "not as many beats as the job needs"
        return outcome


def packet(length: int, first: int = 1, *, last: bool = True) -> list[tuple[int, int]]:
    return [((first + i) % 255 + 1, int(last and i == length - 1)) for i in range(length)]


def data_of(beats: list[tuple[int, int]]) -> list[int]:
    return [data for data, _ in beats]


STALLS = [(1.0, 1.0), (0.5, 0.5), (0.9, 0.3), (0.3, 0.9)]


@pytest.mark.parametrize("offer, take", STALLS)
def test_packets_of_every_length_job_after_job(offer: float, take: float) -> None:
    guard = PacketGuard(WIDTH)

    async def bench(ctx: Any) -> None:
        driver = Driver(guard, offer=offer, take=take)
        for need in (1, 2, 5):
            for length in (need, *range(1, 9), need):
                sent = packet(length, 10 * length)
                driver.feed.extend(sent)
                got = await driver.job(ctx, need)
                assert got.received == (data_of(sent) + [0] * need)[:need]
                assert got.short == ([length - 1] if length < need else [])
                assert got.long == ([need - 1] if length > need else [])
                assert not driver.feed, "the rest of the packet was left in the stream"

    simulate(guard, bench)


def test_a_beat_a_cycle() -> None:
    guard = PacketGuard(WIDTH)

    async def bench(ctx: Any) -> None:
        driver = Driver(guard)
        driver.feed.extend(packet(40))
        ctx.set(guard.start, 1)
        await ctx.tick()
        ctx.set(guard.start, 0)
        outcome = Outcome()
        for _ in range(40):
            await driver.cycle(ctx, outcome, 40)
        assert outcome.received == data_of(packet(40))

    simulate(guard, bench)


@pytest.mark.parametrize("offer, take", STALLS)
def test_nothing_is_taken_before_start_and_after_the_packet(offer: float, take: float) -> None:
    guard = PacketGuard(WIDTH)

    async def bench(ctx: Any) -> None:
        driver = Driver(guard, offer=offer, take=take)
        first, second = packet(4), packet(3, 50)
        driver.feed.extend(first + second)
        idle = Outcome()
        for _ in range(20):
            await driver.cycle(ctx, idle, 4)
        assert idle == Outcome()
        got = await driver.job(ctx, 4)
        assert got.received == data_of(first)
        assert len(driver.feed) == 3, "the next job's packet must wait for its start"
        got = await driver.job(ctx, 3)
        assert got.received == data_of(second)

    simulate(guard, bench)


@pytest.mark.parametrize("offer, take", STALLS)
def test_a_packet_without_last_ends_with_the_next_start(offer: float, take: float) -> None:
    guard = PacketGuard(WIDTH)

    async def bench(ctx: Any) -> None:
        driver = Driver(guard, offer=offer, take=take)
        endless = packet(7, last=False)
        driver.feed.extend(endless)
        got = await driver.job(ctx, 3)
        assert (got.received, got.short, got.long) == (data_of(endless[:3]), [], [2])
        assert got.taken == data_of(endless), "what follows is thrown away"
        good = packet(3, 90)
        driver.offering = False
        driver.feed.extend(good)
        got = await driver.job(ctx, 3)
        assert (got.received, got.short, got.long) == (data_of(good), [], [])

    simulate(guard, bench)


@pytest.mark.parametrize("offer, take", [*STALLS, (0.05, 0.9), (0.9, 0.05)])
@pytest.mark.parametrize("after", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("sent", [packet(6), packet(6, last=False), []], ids=["short", "unfinished", "none"])
def test_abort_fills_up_with_zeros(sent: list[tuple[int, int]], offer: float, take: float, after: int) -> None:
    """Whatever was taken came out; the rest is zeros; no flag of abort's own; the next job is right."""
    guard = PacketGuard(WIDTH)

    async def bench(ctx: Any) -> None:
        for seed in range(3):
            driver = Driver(guard, offer=offer, take=take, seed=seed)
            driver.feed.extend(sent)
            got = await driver.job(ctx, 12, abort_after=after, settle=0)
            count = len(got.taken)
            assert count <= len(sent)
            assert got.received == data_of(sent)[:count] + [0] * (12 - count)
            assert got.short == ([5] if count == 6 and sent[5][1] else [])
            assert got.long == []
            driver.feed.clear()
            driver.offering = False
            driver.feed.extend(packet(4, 70))
            got = await driver.job(ctx, 4)
            assert (got.received, got.short, got.long) == (data_of(packet(4, 70)), [], [])

    simulate(guard, bench)


def test_the_rest_of_an_aborted_packet_is_thrown_away() -> None:
    """So that the next job starts with its own packet."""
    guard = PacketGuard(WIDTH)

    async def bench(ctx: Any) -> None:
        driver = Driver(guard, offer=0.5, take=0.5, seed=3)
        driver.feed.extend(packet(12))
        got = await driver.job(ctx, 12, abort_after=8, settle=100)
        assert got.taken
        assert got.received != data_of(packet(12))
        assert not driver.feed
        driver.feed.extend(packet(4, 70))
        got = await driver.job(ctx, 4)
        assert got.received == data_of(packet(4, 70))

    simulate(guard, bench)


def test_abort_while_idle_does_nothing() -> None:
    guard = PacketGuard(WIDTH)

    async def bench(ctx: Any) -> None:
        driver = Driver(guard)
        ctx.set(guard.abort, 1)
        idle = Outcome()
        for _ in range(5):
            await driver.cycle(ctx, idle, 2)
        assert idle == Outcome()
        ctx.set(guard.abort, 0)
        driver.feed.extend(packet(2))
        got = await driver.job(ctx, 2)
        assert got.received == data_of(packet(2))

    simulate(guard, bench)
