"""VarianceMeter: the gain of every token and the moment it holds the loader, with pauses, lags and restarts."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import pytest
from amaranth.hdl import Value
from flexnm_rtl.config import Config
from flexnm_rtl.variance_meter import VarianceMeter
from unit_tools import pack, simulate

CONFIGS = {
    "a beat a block": Config(n_keep=2, m_group=4, rows=4, cols=4, lanes=1, acts_per_beat=4, k_max=21, t_max=24),
    "two rows a beat": Config(n_keep=2, m_group=4, rows=4, cols=4, lanes=1, acts_per_beat=2, k_max=21, t_max=24),
    "a row a beat": Config(
        n_keep=1, m_group=3, act_width=5, rows=3, cols=2, lanes=1, acts_per_beat=1, k_max=13, t_max=9
    ),
    "all kept": Config(n_keep=4, m_group=4, rows=2, cols=2, lanes=4, k_max=40, t_max=5),
    "one row": Config(n_keep=8, m_group=16, act_width=12, rows=1, cols=2, lanes=1, k_max=40, t_max=5),
}
CONFIGS = {
    name: cfg.replace(token_shift=True, variance=True, fraction_bits=f)
    for (name, cfg), f in zip(CONFIGS.items(), (0, 2, 4, 1, 4), strict=True)
}
Token = list[int]


@dataclass
class Job:
    """Beats of whole groups on both sides, and the gains of all tokens."""

    channels: int
    before: list[list[int]] = field(default_factory=list)
    after: list[list[int]] = field(default_factory=list)
    gains: list[int] = field(default_factory=list)


def moments(values: Token, k: int) -> int:
    """K**2 times the variance of ``k`` channels, values beyond the given ones 0."""
    return k * sum(v * v for v in values) - sum(values) ** 2


def gain(before: Token, after: Token, k: int) -> int:
    spread = moments(after, k)
    return min(isqrt((moments(before, k) << 24) // spread), (1 << 16) - 1) if spread else 1 << 12


def make_token(cfg: Config, channels: int, rng: random.Random) -> tuple[Token, Token]:
    """A padded token of one of many kinds, and the kept values of its blocks, chosen at random."""
    low, high = -(1 << (cfg.value_width - 1)), (1 << (cfg.value_width - 1)) - 1
    a, b = rng.choice([(low, low), (high, high), (-1, 1), (low, high), (low, high), (0, 0), (0, 2)])
    token = [rng.randint(a, b) for _ in range(channels)] + [0] * (cfg.blocks(channels) * cfg.m_group - channels)
    kept: Token = []
    for k in range(0, len(token), cfg.m_group):
        chosen = sorted(rng.sample(range(k, k + cfg.m_group), cfg.n_keep))
        kept += [token[i] for i in chosen]
    return token, kept


def beats_of(cfg: Config, tokens: list[Token], count: int) -> list[int]:
    """The group's beats: ``count`` values of each row, chunk by chunk, block by block."""
    return [
        pack([v for t in tokens[row : row + cfg.act_ports] for v in t[k : k + count]], cfg.value_width)
        for k in range(0, len(tokens[0]), count)
        for row in range(0, cfg.rows, cfg.act_ports)
    ]


def make_job(cfg: Config, channels: int, groups: int, rng: random.Random) -> Job:
    job = Job(channels)
    for _ in range(groups):
        tokens = [make_token(cfg, channels, rng) for _ in range(cfg.rows)]
        job.before.append(beats_of(cfg, [before for before, _ in tokens], cfg.m_group))
        job.after.append(beats_of(cfg, [after for _, after in tokens], cfg.n_keep))
        job.gains += [gain(*token, channels) for token in tokens]
    return job


class Driver:
    """Drives one meter cycle by cycle; the after side follows the other one ``lag`` cycles later or more."""

    def __init__(self, cfg: Config, *, lag: int = 3, offer: float = 1.0, seed: int = 0) -> None:
        self.cfg = cfg
        self.dut = VarianceMeter(cfg)
        self.lag, self.offer = lag, offer
        self.rng = random.Random(seed)

    async def start(self, ctx: Any, job: Job, enable: bool) -> None:
        dut = self.dut
        ctx.set(dut.channels, job.channels)
        ctx.set(dut.enable, enable)
        ctx.set(dut.start, 1)
        for valid in (dut.before_valid, dut.after_valid):
            ctx.set(valid, self.rng.random() < 0.5)  # too late, and lost
        await ctx.tick()
        ctx.set(dut.start, 0)

    def put(self, ctx: Any, side: str, beat: int | None) -> None:
        port = Value.cast(getattr(self.dut, side))
        ctx.set(getattr(self.dut, f"{side}_valid"), beat is not None)
        ctx.set(port, self.rng.randrange(1 << len(port)) if beat is None else beat)

    async def job(self, ctx: Any, job: Job, *, enable: bool = True, cycles: int = 100000) -> list[tuple[int, int, int]]:
        """Tokens, gains and their cycles after their group's last beat. Asserts when ``hold`` is set."""
        dut, rng = self.dut, self.rng
        await self.start(ctx, job, enable)
        seen: list[tuple[int, int, int]] = []
        sent, ended, idle, hold = 0, 0, 0, False
        before = deque(beat for group in job.before for beat in group)
        after = deque(beat for group in job.after for beat in group)
        moves: deque[int] = deque()  # cycles in which beats were sent that are still to come out
        size = len(job.before[0])
        for cycle in range(cycles):
            assert ctx.get(dut.hold) == hold
            begins = bool(before) and not hold and rng.random() < self.offer
            moves.extend([cycle] * begins)
            sent += begins
            hold = hold or (begins and sent % size == 0 and enable)
            self.put(ctx, "before", before.popleft() if begins else None)
            follows = bool(moves) and cycle >= moves[0] + self.lag and rng.random() < self.offer
            self.put(ctx, "after", after.popleft() if follows else None)
            if follows:
                moves.popleft()
                ended = cycle if len(after) % size == 0 else ended
            if ctx.get(dut.nu_valid):
                seen.append((ctx.get(dut.token), ctx.get(dut.nu), cycle - ended))
                hold = hold and len(seen) % self.cfg.rows != 0
            await ctx.tick()
            idle = 0 if before or moves or hold else idle + 1
            if idle > 120:
                break
        return seen


def check(driver: Driver, job: Job, seen: list[tuple[int, int, int]]) -> None:
    """Each token once, in order, at the promised moment."""
    dut, rows = driver.dut, driver.cfg.rows
    assert dut.latency == 3 + dut.interval  # square, add up a beat, add to the total; then as between two tokens
    assert [(token, nu) for token, nu, _ in seen] == list(enumerate(job.gains))
    assert [cycle for _, _, cycle in seen] == [
        dut.latency + (token % rows) * dut.interval for token in range(len(job.gains))
    ]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("lag, offer", [(3, 1.0), (0, 1.0), (6, 0.5)])
def test_gains_and_hold(name: str, lag: int, offer: float) -> None:
    cfg = CONFIGS[name]
    driver = Driver(cfg, lag=lag, offer=offer)
    rng = random.Random(name)
    groups = -(-cfg.tokens_max // cfg.rows)
    sizes = [cfg.k_max, 1, cfg.m_group - 1, cfg.m_group, cfg.m_group + 1, cfg.k_max]
    jobs = [make_job(cfg, k, rng.randint(1, groups) if n else groups, rng) for n, k in enumerate(sizes)]
    expected = [nu for job in jobs for nu in job.gains]
    assert 1 << 12 in expected
    assert cfg.n_keep == cfg.m_group or len(set(expected)) > 4

    async def bench(ctx: Any) -> None:
        for job in jobs:
            check(driver, job, await driver.job(ctx, job))

    simulate(driver.dut, bench)


@pytest.mark.parametrize("name", ["two rows a beat", "one row"])
def test_a_job_can_be_given_up_at_any_moment(name: str) -> None:
    cfg = CONFIGS[name]
    driver = Driver(cfg, offer=0.9)
    rng = random.Random(name)
    whole = cfg.k_max + driver.dut.latency + cfg.rows * driver.dut.interval
    short = make_job(cfg, rng.randint(1, cfg.k_max), 1, rng)

    async def bench(ctx: Any) -> None:
        for _ in range(30):
            job = make_job(cfg, rng.randint(1, cfg.k_max), 2, rng)
            await driver.job(ctx, job, cycles=rng.randrange(whole))
            check(driver, short, await driver.job(ctx, short))

    simulate(driver.dut, bench)


def test_without_enable_nothing_happens() -> None:
    driver = Driver(CONFIGS["two rows a beat"])
    job = make_job(driver.cfg, driver.cfg.k_max, 2, random.Random(1))

    async def bench(ctx: Any) -> None:
        assert not await driver.job(ctx, job, enable=False)
        check(driver, job, await driver.job(ctx, job))

    simulate(driver.dut, bench)
