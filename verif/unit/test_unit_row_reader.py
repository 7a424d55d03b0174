"""RowReader with a memory: addresses, the protocol, data beside the right request, errors, the region, abort."""

from __future__ import annotations

from typing import Any

import pytest
from row_reader_tools import CONFIGS, Job, Row, Runner, simulate_jobs

PACES = [(1.0, 1.0, 1.0, 1.0, 3), (0.6, 0.6, 0.6, 0.6, 1), (1.0, 0.3, 1.0, 1.0, 20), (1.0, 1.0, 0.2, 1.0, 9),
         (0.2, 1.0, 1.0, 0.9, 2), (1.0, 1.0, 1.0, 0.3, 6)]  # fmt: skip
"""Chances of an offer, a taken result, a taken address, a given beat; latency."""


@pytest.mark.parametrize("offer, take, address, give, latency", PACES)
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_in_order_from_their_addresses(
    name: str, offer: float, take: float, address: float, give: float, latency: int
) -> None:
    cfg = CONFIGS[name]
    share = 0.4 if cfg.tile_beats < 16 else 0.1

    async def bench(ctx: Any, runner: Runner) -> None:
        for seed in range(3):
            job = Job.random(cfg, seed, tiles=1 + seed, share=share)
            before = len(runner.memory.requests)
            seen = await runner.run(ctx, job)
            requests = [(where, beats) for where, beats, _ in runner.memory.requests[before:]]
            assert requests == [(row.address, row.beats) for row in job.rows]
            assert all(seen.read)
            assert not seen.bus_error + seen.outside
        assert runner.memory.most <= cfg.outstanding

    simulate_jobs(cfg, bench, offer=offer, take=take, latency=latency, give=give, accept=address)


@pytest.mark.parametrize("name", CONFIGS)
def test_as_many_bursts_under_way_as_allowed(name: str) -> None:
    """With a slow memory exactly ``outstanding``; and enough of them hide its latency: a beat in every cycle."""
    cfg = CONFIGS[name]

    async def bench(ctx: Any, runner: Runner) -> None:
        job = Job.random(cfg, 1, tiles=1, share=1.0)
        job.rows = job.rows[:40] + job.rows[-1:] if cfg.tile_beats < 64 else job.rows[:6] + job.rows[-1:]
        runner.memory.latency = 400
        await runner.run(ctx, job)
        assert runner.memory.most == cfg.outstanding
        beats = sum(row.beats for row in job.rows)
        runner.memory.latency = max(1, cfg.outstanding * job.rows[0].beats - 4)
        seen = await runner.run(ctx, job)
        if cfg.outstanding * job.rows[0].beats > 8:
            assert seen.cycles <= beats + runner.memory.latency + 6

    simulate_jobs(cfg, bench)


@pytest.mark.parametrize("offer, take, address, give, latency", PACES)
def test_a_bad_response_ends_the_reading(offer: float, take: float, address: float, give: float, latency: int) -> None:
    """What was asked for before still comes; no address is new from then on; every request is answered."""
    cfg = CONFIGS["64 x 4"]

    async def bench(ctx: Any, runner: Runner) -> None:
        stopped = 0
        for seed in range(4):
            job = Job.random(cfg, 10 + seed, tiles=2, share=0.6)
            row = job.rows[len(job.rows) * seed // 4]
            bad = row.address + 8 * (seed % row.beats)
            runner.memory.bad = range(bad, bad + 8)
            runner.memory.offers.clear()
            seen = await runner.run(ctx, job)
            (when,) = seen.bus_error
            assert not seen.outside
            # A request taken in the very cycle of the response is offered in the next one.
            assert all(cycle <= when + 1 for _, cycle in runner.memory.offers)
            assert seen.read == [moved <= when for moved in seen.moved]
            stopped += not all(seen.read)
            runner.memory.bad = range(0)
            good = await runner.run(ctx, job)
            assert all(good.read)
            assert not good.bus_error
        assert stopped

    simulate_jobs(cfg, bench, offer=offer, take=take, latency=latency, give=give, accept=address)


def test_every_bad_response_is_reported() -> None:
    """A whole row of them: a flag for each beat; rows that were under way are still read."""
    cfg = CONFIGS["64 x 4"]

    async def bench(ctx: Any, runner: Runner) -> None:
        job = Job.random(cfg, 2, tiles=1, share=1.0)
        runner.memory.bad = range(job.rows[2].address, job.rows[2].address + cfg.row_bytes)
        seen = await runner.run(ctx, job)
        assert len(seen.bus_error) == job.rows[2].beats
        assert sum(seen.read) > 3
        assert not all(seen.read)

    simulate_jobs(cfg, bench, latency=8)


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_outside_the_region_are_not_read(name: str) -> None:
    """Every limit: the first row that is not in the region sets the flag, once, and is the end of the reading."""
    cfg = CONFIGS[name]

    async def bench(ctx: Any, runner: Runner) -> None:
        job = Job.random(cfg, 4, tiles=2, share=0.2)
        end = job.limit
        picked = [job.rows[k] for k in (0, 1, len(job.rows) // 2, -1)]
        limits = [end, end - cfg.row_bytes, 0, job.base, job.base + 1, job.base + cfg.row_bytes - 1]
        limits += [row.address + more for row in picked for more in (0, cfg.row_bytes - 1, cfg.row_bytes)]
        for limit in limits:
            job.limit = limit
            runner.memory.offers.clear()
            seen = await runner.run(ctx, job)
            inside = [job.fits(row) for row in job.rows]
            count = inside.index(False) if False in inside else len(inside)
            assert seen.read == [k < count for k in range(len(job.rows))]
            assert [address for address, _ in runner.memory.offers] == [row.address for row in job.rows[:count]]
            assert seen.outside == seen.moved[count : count + 1]
            assert not seen.bus_error

    simulate_jobs(cfg, bench, offer=0.9, take=0.9, accept=0.8)


@pytest.mark.parametrize("name", ["64 x 4", "512 x 64"])
@pytest.mark.parametrize("kept", [[0, 1], [0, 255], [254, 256], [256], [300, 511]])
def test_addresses_that_do_not_exist_are_outside(name: str, kept: list[int]) -> None:
    """Where a row's address needs more bits than there are, it must not come around to a row of the region."""
    cfg = CONFIGS[name].replace(k_max=512, address_width=16)
    size = cfg.row_bytes
    tiles = 9 if name == "64 x 4" else 3
    rows = [Row(k, 1, k == kept[0], k == kept[-1], 0, (tile * 512 + k) * size) for tile in range(tiles) for k in kept]
    job = Job(cfg, 0, 512, rows, (1 << 16) - 1)

    async def bench(ctx: Any, runner: Runner) -> None:
        seen = await runner.run(ctx, job)
        inside = [job.fits(row) for row in rows]
        count = inside.index(False)
        assert seen.read == [k < count for k in range(len(rows))]
        assert len(seen.outside) == 1

    simulate_jobs(cfg, bench)


@pytest.mark.parametrize("after", [0, 1, 3, 8, 20, 60])
def test_abort_ends_the_reading(after: int) -> None:
    """Under stalls: an address that is offered stays, what is under way comes, every request is answered."""
    cfg = CONFIGS["64 x 4"]

    async def bench(ctx: Any, runner: Runner) -> None:
        for seed in range(2):
            job = Job.random(cfg, 20 + seed, tiles=2, share=0.8)
            began = runner.now
            runner.memory.offers.clear()
            seen = await runner.run(ctx, job, abort_after=after)
            # The cycle of the start, then ``after`` cycles more; what is taken with the abort is still read.
            assert seen.read == [moved <= began + 1 + after for moved in seen.moved]
            assert all(cycle <= began + 2 + after for _, cycle in runner.memory.offers)
            assert not seen.bus_error + seen.outside
            assert all((await runner.run(ctx, job)).read)

    simulate_jobs(cfg, bench, offer=0.7, take=0.6, accept=0.3, give=0.7)
