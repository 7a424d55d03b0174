"""GroupBuffer: beats unchanged and in order, and the mean of every token, under every stall and after a restart."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from amaranth.hdl import Value
from flexnm_rtl.config import Config
from flexnm_rtl.group_buffer import GroupBuffer
from unit_tools import pack, simulate, unpack

CONFIGS = {
    "a beat a block": Config(n_keep=2, m_group=4, rows=4, cols=4, lanes=1, acts_per_beat=4, k_max=21, t_max=24),
    "two rows a beat": Config(n_keep=2, m_group=4, rows=4, cols=4, lanes=1, acts_per_beat=2, k_max=21, t_max=24),
    "a row a beat": Config(
        n_keep=1, m_group=3, act_width=5, rows=3, cols=2, lanes=1, acts_per_beat=1, k_max=13, t_max=9
    ),
    "one row": Config(n_keep=8, m_group=16, rows=1, cols=2, lanes=1, k_max=40, t_max=5),
}
CONFIGS = {
    name: cfg.replace(token_shift=True, fraction_bits=f)
    for (name, cfg), f in zip(CONFIGS.items(), (0, 2, 4, 1), strict=True)
}
Means = list[int]


@dataclass
class Job:
    """Beats of whole groups; what lies beyond the channels is garbage."""

    channels: int
    groups: list[list[int]] = field(default_factory=list)
    means: list[Means] = field(default_factory=list)

    @property
    def beats(self) -> list[int]:
        return [beat for group in self.groups for beat in group]


def make_job(cfg: Config, channels: int, groups: int, rng: random.Random) -> Job:
    """Tokens of all kinds: all the most negative or most positive number, small ones, large ones."""
    low, high = -(1 << (cfg.act_width - 1)), (1 << (cfg.act_width - 1)) - 1
    blocks, slot = cfg.blocks(channels), 8 * cfg.act_slot_bytes
    job = Job(channels)
    for _ in range(groups):
        tokens = []
        for _ in range(cfg.rows):
            a, b = rng.choice([(low, low), (high, high), (-1, 1), (low, high), (low, high), (0, 2)])
            real = [rng.randint(a, b) for _ in range(channels)]
            tokens.append(real + [rng.randint(low, high) for _ in range(blocks * cfg.m_group - channels)])
        job.means.append([round(Fraction(sum(t[:channels]) << cfg.fraction_bits, channels)) for t in tokens])
        beats = []
        for k in range(0, blocks * cfg.m_group, cfg.m_group):
            for row in range(0, cfg.rows, cfg.act_ports):
                dense = [pack(t[k : k + cfg.m_group], cfg.act_width) for t in tokens[row : row + cfg.act_ports]]
                above = [rng.randrange(1 << (slot - cfg.block_bits)) << cfg.block_bits for _ in dense]
                beats.append(pack([d | a for d, a in zip(dense, above, strict=True)], slot))
        job.groups.append(beats)
    return job


@dataclass
class Seen:
    """Beats received, their cycles, the means shown with each, the means given one by one, cycles of beats taken in."""

    beats: list[int] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)
    shown: list[Means] = field(default_factory=list)
    events: list[tuple[int, int, int]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)


class Driver:
    """Drives one buffer cycle by cycle."""

    def __init__(self, cfg: Config, *, offer: float = 1.0, take: float = 1.0, seed: int = 0) -> None:
        self.cfg = cfg
        self.dut = GroupBuffer(cfg)
        self.offer, self.take = offer, take
        self.rng = random.Random(seed)

    async def job(self, ctx: Any, job: Job, *, enable: bool = True, cycles: int = 100000) -> Seen:
        """Start and run to the end, or for ``cycles``."""
        dut = self.dut
        seen = Seen()
        ctx.set(dut.channels, job.channels)
        ctx.set(dut.enable, enable)
        ctx.set(dut.start, 1)  # a beat that moves in this very cycle is lost
        ctx.set(dut.i.valid, self.rng.random() < 0.5)
        ctx.set(dut.o.ready, self.rng.random() < 0.5)
        await ctx.tick()
        ctx.set(dut.start, 0)
        offering, waiting, idle = False, None, 0
        for cycle in range(cycles):
            offering = offering or (len(seen.sent) < len(job.beats) and self.rng.random() < self.offer)
            ready = self.rng.random() < self.take
            beat = job.beats[len(seen.sent)] if offering else self.rng.randrange(1 << len(Value.cast(dut.i.p)))
            ctx.set(dut.i.valid, offering)
            ctx.set(Value.cast(dut.i.p), beat)
            ctx.set(dut.o.ready, ready)
            waiting = self.receive(ctx, seen, cycle, ready, waiting)
            if offering and ctx.get(dut.i.ready):
                seen.sent.append(cycle)
                offering = False
            await ctx.tick()
            idle = idle + 1 if len(seen.beats) >= len(job.beats) else 0
            if idle > 20:
                break
        return seen

    def receive(self, ctx: Any, seen: Seen, cycle: int, ready: bool, waiting: int | None) -> int | None:
        dut, width = self.dut, self.cfg.shift_width
        valid, beat = ctx.get(dut.o.valid), ctx.get(Value.cast(dut.o.p))
        assert waiting is None or (valid and beat == waiting), "an offered beat changed"
        if valid and ready:
            seen.beats.append(beat)
            seen.cycles.append(cycle)
            seen.shown.append(unpack(ctx.get(Value.cast(dut.means)), width, self.cfg.rows))
        if ctx.get(dut.mean_valid):
            seen.events.append((ctx.get(dut.token), ctx.get(dut.mean_row), ctx.get(dut.mean)))
        return beat if valid and not ready else None


def check(cfg: Config, job: Job, seen: Seen) -> None:
    slot = 8 * cfg.act_slot_bytes
    mask = pack([(1 << cfg.block_bits) - 1] * cfg.act_ports, slot)
    assert seen.beats == [beat & mask for beat in job.beats]
    assert seen.shown == [means for group, means in zip(job.groups, job.means, strict=True) for _ in group]
    means = [mean for group in job.means for mean in group]
    assert seen.events == [(t, t % cfg.rows, mean) for t, mean in enumerate(means)]


def jobs_of(cfg: Config, rng: random.Random) -> list[Job]:
    groups = -(-cfg.tokens_max // cfg.rows)
    sizes = [cfg.k_max, 1, cfg.m_group - 1, cfg.m_group, cfg.m_group + 1, cfg.k_max]
    return [make_job(cfg, k, rng.randint(1, groups) if n else groups, rng) for n, k in enumerate(sizes)]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("offer, take", [(1.0, 1.0), (0.5, 0.5), (0.9, 0.2), (0.3, 1.0)])
def test_beats_and_means(name: str, offer: float, take: float) -> None:
    cfg = CONFIGS[name]
    driver = Driver(cfg, offer=offer, take=take)
    jobs = jobs_of(cfg, random.Random(name))

    async def bench(ctx: Any) -> None:
        for job in jobs:
            check(cfg, job, await driver.job(ctx, job))

    simulate(driver.dut, bench)


@pytest.mark.parametrize("name", CONFIGS)
def test_latency_and_no_bubbles(name: str) -> None:
    """With both sides always ready: a beat a cycle in and out, and ``latency`` cycles between them."""
    cfg = CONFIGS[name]
    driver = Driver(cfg)
    job = make_job(cfg, cfg.k_max, 2, random.Random(1))

    async def bench(ctx: Any) -> None:
        seen = await driver.job(ctx, job)
        size = len(job.groups[0])
        assert driver.dut.latency == cfg.rows * (cfg.value_width + 3) + 5
        load = list(range(size))
        replay = [load[-1] + driver.dut.latency + n for n in range(size)]
        again = replay[-1] + 1
        assert seen.sent == load + [again + n for n in load]
        assert seen.cycles == replay + [again + n for n in replay]

    simulate(driver.dut, bench)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_job_can_be_given_up_at_any_moment(name: str) -> None:
    cfg = CONFIGS[name]
    driver = Driver(cfg, offer=0.9, take=0.7)
    rng = random.Random(name)
    whole = 2 * (cfg.k_max + driver.dut.latency)
    short = make_job(cfg, rng.randint(1, cfg.k_max), 1, rng)

    async def bench(ctx: Any) -> None:
        for _ in range(60):
            job = make_job(cfg, rng.randint(1, cfg.k_max), 2, rng)
            await driver.job(ctx, job, cycles=rng.randrange(whole))
            check(cfg, short, await driver.job(ctx, short))

    simulate(driver.dut, bench)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("offer, take", [(1.0, 1.0), (0.5, 0.5)])
def test_without_enable_the_streams_are_connected(name: str, offer: float, take: float) -> None:
    """Every bit, in the same cycle; a job with means comes before and after."""
    cfg = CONFIGS[name]
    driver = Driver(cfg, offer=offer, take=take)
    job = make_job(cfg, cfg.k_max, 2, random.Random(2))

    async def bench(ctx: Any) -> None:
        await driver.job(ctx, job, cycles=15)
        seen = await driver.job(ctx, job, enable=False)
        assert seen.beats == job.beats
        assert seen.cycles == seen.sent
        assert take < 1 or seen.cycles == list(range(len(job.beats)))
        assert not seen.events
        check(cfg, job, await driver.job(ctx, job))

    simulate(driver.dut, bench)
