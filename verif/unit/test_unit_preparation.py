"""Preparation against the model's rule: tables, shifts and factors of every beat, and its place in the job."""

from __future__ import annotations

import random
from typing import Any

import pytest
from flexnm_rtl.config import Config
from preparation_tools import MODES, Driver, Job, Tables, check, make_job, modes_of
from unit_tools import simulate

BASE = Config(n_keep=2, m_group=4, rows=4, cols=2, lanes=1, k_max=21, t_max=12)
CONFIGS = {
    "nothing": BASE,
    "multiply": BASE.replace(acts_per_beat=4, score_factor="multiply", factor_width=5),
    "shift, M=5": BASE.replace(n_keep=3, m_group=5, acts_per_beat=1, act_width=5, score_factor="shift"),
    "static, M=3": BASE.replace(
        n_keep=1, m_group=3, acts_per_beat=2, static_shift=True, fraction_bits=2, k_max=13, t_max=13
    ),
    "static, a row a beat": BASE.replace(acts_per_beat=1, static_shift=True),
    "token, three rows": BASE.replace(rows=3, acts_per_beat=3, token_shift=True, fraction_bits=1),
    "token, a row a beat": BASE.replace(rows=3, acts_per_beat=1, act_width=12, token_shift=True, fraction_bits=4),
    "all, one row": BASE.replace(
        rows=1, t_max=5, score_factor="multiply", factor_width=16, static_shift=True, token_shift=True, fraction_bits=3
    ),
    "all, M=6": BASE.replace(
        m_group=6, acts_per_beat=2, score_factor="shift", factor_width=2, static_shift=True, token_shift=True
    ),
    "all, a beat a block": BASE.replace(
        acts_per_beat=4, score_factor="multiply", static_shift=True, token_shift=True, k_max=4, t_max=11
    ),
}


def jobs(cfg: Config, tables: Tables, rng: random.Random) -> list[Job]:
    """In every mode; the largest, the smallest, blocks and groups that are full and that are not."""
    there = modes_of(cfg)
    every = [dict.fromkeys(MODES, False), there]
    every += [dict.fromkeys(MODES, False) | {name: True} for name in MODES if there[name] and sum(there.values()) > 1]
    m, full = cfg.m_group, cfg.tokens_max
    shapes = [(full, cfg.k_max), (1, 1), (full, m), (min(full, cfg.rows + 1), min(cfg.k_max, m + 1)), (1, cfg.k_max)]
    return [make_job(cfg, tables, mode, shape, rng) for mode in every for shape in shapes]


@pytest.mark.parametrize("offer, take", [(1.0, 1.0), (0.5, 0.5), (0.9, 0.4)])
@pytest.mark.parametrize("name", CONFIGS)
def test_beats(name: str, offer: float, take: float) -> None:
    """The tables outlive the jobs; then they are written again, and one job of before has other results."""
    cfg, rng = CONFIGS[name], random.Random(name)
    driver = Driver(cfg)

    async def bench(ctx: Any) -> None:
        for _ in range(2):
            tables = Tables.some(cfg, rng)
            await driver.write(ctx, tables)
            for job in jobs(cfg, tables, rng):
                check(driver, job, await driver.run(ctx, job, offer=offer, take=take, rng=rng))

    simulate(driver.m, bench)


@pytest.mark.parametrize("name", CONFIGS)
def test_latency_and_a_beat_a_cycle(name: str) -> None:
    """A cycle for the tables and two for the shifts, whatever the mode."""
    cfg, rng = CONFIGS[name], random.Random(name)
    driver = Driver(cfg)
    tables = Tables.some(cfg, rng)
    latency = int(cfg.static_shift or bool(cfg.factor_width)) + 2 * int(cfg.shifts)
    assert driver.dut.latency == latency

    async def bench(ctx: Any) -> None:
        for mode in (modes_of(cfg), dict.fromkeys(MODES, False)):
            job = make_job(cfg, tables, mode, (cfg.tokens_max, cfg.k_max), rng)
            flow = await driver.run(ctx, job, rng=rng)
            assert flow.sent == list(range(len(job.items)))
            assert flow.taken == [cycle + latency for cycle in flow.sent]

    simulate(driver.m, bench)


@pytest.mark.parametrize("name", [name for name, cfg in CONFIGS.items() if cfg.methods])
def test_a_start_begins_at_the_first_channel_and_token(name: str) -> None:
    """A job that ended early, after any number of beats, leaves nothing behind."""
    cfg, rng = CONFIGS[name], random.Random(name)
    driver = Driver(cfg)
    tables = Tables.some(cfg, rng)

    async def bench(ctx: Any) -> None:
        await driver.write(ctx, tables)
        for _ in range(12):
            job = make_job(cfg, tables, modes_of(cfg), (cfg.tokens_max, cfg.k_max), rng)
            cut = rng.randrange(1, len(job.items))
            await driver.run(ctx, Job(job.mode, job.items[:cut]), rng=rng)
            short = make_job(cfg, tables, modes_of(cfg), (cfg.rows, min(cfg.k_max, cfg.m_group + 1)), rng)
            check(driver, short, await driver.run(ctx, short, rng=rng))

    simulate(driver.m, bench)
