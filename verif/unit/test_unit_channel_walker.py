"""ChannelWalker over a token memory of Python: every marked channel, in order, in every tile, none looked up early."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from amaranth.hdl import Value
from flexnm_rtl.channel_walker import ChannelWalker
from flexnm_rtl.config import Config, ceil_div
from unit_tools import pack, simulate

CONFIGS = {
    "2:4": Config(n_keep=2, m_group=4, lanes=1, rows=2, k_max=24, bus_width=64, tile_beats=4),
    "3:5 of 6 bits": Config(
        n_keep=3, m_group=5, lanes=1, rows=3, k_max=23, act_width=6, weight_width=5, bus_width=64, tile_beats=1
    ),
    "8:16": Config(rows=1, k_max=48, bus_width=128, tile_beats=2),
}
Request = tuple[int, list[int], int, int, int]
"""Channel, the tokens' values, beats less one, first, last."""


@dataclass
class Job:
    """Entries of the token memory, and the requests they lead to."""

    cfg: Config
    channels: int
    outputs: int
    masks: list[int]
    values: list[list[list[int]]] = field(default_factory=list)
    """Per block, per token."""

    @classmethod
    def random(cls, cfg: Config, seed: int) -> Job:
        rng = random.Random(seed)
        channels = rng.choice([1, cfg.m_group, cfg.k_max, rng.randint(1, cfg.k_max)])
        outputs = rng.choice([1, cfg.tile_outputs, cfg.tile_outputs + 1, rng.randint(1, 3 * cfg.tile_outputs)])
        job = cls(cfg, channels, outputs, [])
        half = 1 << (cfg.act_width - 1)
        for block in range(cfg.blocks(channels)):
            real = min(cfg.m_group, channels - block * cfg.m_group)
            kind = rng.random()
            full = (1 << real) - 1
            mask = full if kind < 0.2 else 1 << rng.randrange(real) if kind < 0.4 else rng.randint(1, full)
            job.masks.append(mask)
            job.values.append([[rng.randint(-half, half - 1) for _ in range(cfg.m_group)] for _ in range(cfg.rows)])
        return job

    def entry(self, block: int) -> int:
        cfg = self.cfg
        tokens = [pack(values, cfg.act_width) for values in self.values[block]]
        return self.masks[block] | pack(tokens, cfg.block_bits) << cfg.m_group

    def requests(self) -> list[Request]:
        cfg, found = self.cfg, []
        marked = [(b, i) for b, mask in enumerate(self.masks) for i in range(cfg.m_group) if mask >> i & 1]
        tiles = ceil_div(self.outputs, cfg.tile_outputs)
        for tile in range(tiles):
            left = self.outputs - tile * cfg.tile_outputs
            beats = ceil_div(min(left, cfg.tile_outputs), cfg.weights_per_bus) - 1
            for b, i in marked:
                values = [token[i] for token in self.values[b]]
                found.append((b * cfg.m_group + i, values, beats, (b, i) == marked[0], (b, i) == marked[-1]))
        return found


async def run_job(ctx: Any, dut: ChannelWalker, job: Job, *, fill: float, take: float, seed: int) -> int:
    """Start the job and check every request; returns the cycles from the first offer to the last transfer."""
    rng = random.Random(seed)
    ctx.set(dut.channels, job.channels)
    ctx.set(dut.outputs, job.outputs)
    ctx.set(dut.filled, 0)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)
    expected, got = job.requests(), 0
    filled, first, waiting = 0, None, None
    for cycle in range(100 + int(40 * len(expected) / take + 20 * len(job.masks) / fill)):
        filled += filled < len(job.masks) and rng.random() < fill
        ctx.set(dut.filled, filled)
        ready = rng.random() < take
        ctx.set(dut.o.ready, ready)
        valid, payload = ctx.get(dut.o.valid), ctx.get(Value.cast(dut.o.p))
        assert waiting is None or (valid and payload == waiting), "an offered request changed"
        waiting = payload if valid and not ready else None
        if valid:
            first = cycle if first is None else first
            p = dut.o.p
            request = (
                ctx.get(p.channel), [ctx.get(p["values"][row]) for row in range(job.cfg.rows)], ctx.get(p.beats),
                ctx.get(p.first), ctx.get(p.last),
            )  # fmt: skip
            assert got < len(expected), "a request too many"
            assert request == expected[got], f"request {got}"
            assert request[0] // job.cfg.m_group < filled, "a request from an entry that was not there"
        got += valid and ready
        read, addr = ctx.get(dut.read), ctx.get(dut.addr)
        if read:
            assert addr < filled, "looked up before it was filled"
        await ctx.tick()
        if read:
            ctx.set(Value.cast(dut.entry), job.entry(addr))
        if got == len(expected):
            return cycle - (first or 0) + 1
    raise AssertionError(f"{got} of {len(expected)} requests came")


@pytest.mark.parametrize("fill, take", [(1.0, 1.0), (0.3, 1.0), (0.05, 1.0), (1.0, 0.4), (0.5, 0.5), (0.1, 0.2)])
@pytest.mark.parametrize("name", CONFIGS)
def test_jobs_after_each_other(name: str, fill: float, take: float) -> None:
    cfg = CONFIGS[name]
    dut = ChannelWalker(cfg)

    async def bench(ctx: Any) -> None:
        for seed in range(12):
            await run_job(ctx, dut, Job.random(cfg, seed), fill=fill, take=take, seed=seed)
            for _ in range(6):
                assert not ctx.get(dut.o.valid), "nothing after the last request"
                assert not ctx.get(dut.read)
                await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("beats", [1, 2, 3, 4])
def test_the_last_tile_reads_only_beats_with_outputs(beats: int) -> None:
    """Both sides of every boundary between beats, behind one whole tile."""
    cfg = CONFIGS["2:4"]
    dut = ChannelWalker(cfg)

    async def bench(ctx: Any) -> None:
        for outputs in (1 + (beats - 1) * cfg.weights_per_bus, beats * cfg.weights_per_bus):
            job = Job(cfg, 4, cfg.tile_outputs + outputs, [0b0110], [[[1, 2, 3, 4], [5, 6, 7, 8]]])
            assert [request[2] for request in job.requests()] == [3, 3, beats - 1, beats - 1]
            await run_job(ctx, dut, job, fill=1.0, take=1.0, seed=1)

    simulate(dut, bench)


@pytest.mark.parametrize("mask", [0b0001, 0b1000, 0b0101, 0b1111])
def test_a_request_a_cycle(mask: int) -> None:
    """Across blocks and tiles, when all entries are there."""
    cfg = CONFIGS["2:4"]
    dut = ChannelWalker(cfg)
    job = Job(cfg, 24, 3 * cfg.tile_outputs, [mask] * 6, [[[1, 2, 3, 4], [5, 6, 7, 8]]] * 6)

    async def bench(ctx: Any) -> None:
        cycles = await run_job(ctx, dut, job, fill=1.0, take=1.0, seed=1)
        assert cycles == len(job.requests())

    simulate(dut, bench)


def test_start_forgets_what_was_under_way() -> None:
    """A start in the middle, with a request waiting."""
    cfg = CONFIGS["8:16"]
    dut = ChannelWalker(cfg)

    async def bench(ctx: Any) -> None:
        for cycles in range(12):
            job = Job.random(cfg, 3)
            ctx.set(dut.channels, job.channels)
            ctx.set(dut.outputs, job.outputs)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.filled, len(job.masks))
            ctx.set(dut.o.ready, 0)
            ctx.set(Value.cast(dut.entry), job.entry(0))
            for _ in range(cycles):
                await ctx.tick()
            await run_job(ctx, dut, Job.random(cfg, cycles), fill=0.5, take=0.5, seed=cycles)

    simulate(dut, bench)
