"""Jobs for a RowReader, and a bench that sends them with a memory behind and checks every beat."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Value
from axi_memory import AxiMemory
from flexnm_rtl.config import Config
from flexnm_rtl.row_reader import RowReader
from unit_tools import simulate

CONFIGS = {
    "64 x 1": Config(n_keep=2, m_group=4, lanes=1, rows=2, k_max=64, bus_width=64, tile_beats=1, outstanding=2),
    "64 x 4": Config(n_keep=2, m_group=4, lanes=1, rows=1, k_max=60, bus_width=64, tile_beats=4, outstanding=3),
    "128 x 16": Config(n_keep=2, m_group=4, lanes=1, rows=1, k_max=64, outstanding=16),
    "512 x 64": Config(n_keep=2, m_group=4, lanes=1, rows=1, k_max=64, bus_width=512, tile_beats=64, outstanding=4,
                       address_width=40),
}  # fmt: skip


@dataclass
class Row:
    """A request and the address it leads to."""

    channel: int
    beats: int
    first: bool
    last: bool
    values: int
    address: int


@dataclass
class Job:
    """Rows of all tiles. limit: first address behind the region; left out, it holds all of them."""

    cfg: Config
    base: int
    channels: int
    rows: list[Row]
    limit: int

    @classmethod
    def random(cls, cfg: Config, seed: int, *, tiles: int = 2, share: float = 0.4, base: int | None = None) -> Job:
        rng = random.Random(seed)
        channels = rng.randint(1, cfg.k_max)
        base = rng.randrange(1 << 20) * cfg.row_bytes if base is None else base
        rows = []
        for tile in range(tiles):
            kept = sorted({rng.randrange(channels), *(k for k in range(channels) if rng.random() < share)})
            beats = rng.randint(1, cfg.tile_beats) if tile == tiles - 1 else cfg.tile_beats
            for k in kept:
                address = base + (tile * channels + k) * cfg.row_bytes
                values = rng.getrandbits(cfg.rows * cfg.act_width)
                rows.append(Row(k, beats, k == kept[0], k == kept[-1], values, address))
        return cls(cfg, base, channels, rows, base + tiles * channels * cfg.row_bytes)

    def fits(self, row: Row) -> bool:
        return self.base <= row.address and row.address + self.cfg.row_bytes <= self.limit


@dataclass
class Seen:
    """What a job did: for every request whether it was read and when it was taken; cycles in which flags were set."""

    read: list[bool] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    bus_error: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)
    cycles: int = 0


class Runner:
    """Sends jobs to one reader, checks every beat."""

    def __init__(self, dut: RowReader, memory: AxiMemory, *, offer: float = 1.0, take: float = 1.0) -> None:
        self.dut, self.memory, self.offer, self.take = dut, memory, offer, take
        self.now = 0

    async def tick(self, ctx: Any) -> None:
        await ctx.tick()
        self.now += 1

    async def run(self, ctx: Any, job: Job, *, abort_after: int | None = None) -> Seen:
        dut, cfg, rng, seen = self.dut, job.cfg, self.memory.rng, Seen()
        for name in ("base", "limit"):
            ctx.set(getattr(dut, name), getattr(job, name))
        ctx.set(dut.tile_bytes, job.channels * cfg.row_bytes)
        ctx.set(dut.start, 1)
        self.memory.drive(ctx, self.now)
        await self.tick(ctx)
        ctx.set(dut.start, 0)
        offering, row, beat, waiting, began = False, 0, 0, None, self.now
        while row < len(job.rows):
            assert self.now - began < 500 + (60 + self.memory.latency) * sum(r.beats for r in job.rows), (
                "the job does not end"
            )
            offering = self._offer(ctx, job, len(seen.moved), offering)
            ctx.set(dut.abort, abort_after is not None and self.now - began >= abort_after)
            ready = rng.random() < self.take
            ctx.set(dut.o.ready, ready)
            self.memory.drive(ctx, self.now)
            valid, payload = ctx.get(dut.o.valid), ctx.get(Value.cast(dut.o.p))
            if not ctx.get(dut.o.p.valid_data):
                payload >>= cfg.bus_width  # the bus's bits mean nothing without data
            assert waiting is None or (valid and payload == waiting), "an offered beat changed"
            waiting = payload if valid and not ready else None
            if valid:
                assert row < len(seen.read), "a beat of a row that was not asked for"
                end = self._check(ctx, job.rows[row], beat, seen.read[row])
            moved = offering and ctx.get(dut.i.ready)
            assert ctx.get(dut.requested) <= moved
            if moved:
                seen.read.append(bool(ctx.get(dut.requested)))
                seen.moved.append(self.now)
                offering = False
            for name in ("bus_error", "outside"):
                if ctx.get(getattr(dut, name)):
                    getattr(seen, name).append(self.now)
            bad = self.memory.sample(ctx, self.now)
            assert bad == ctx.get(dut.bus_error)
            if valid and ready:
                row, beat = (row + 1, 0) if end else (row, beat + 1)
            await self.tick(ctx)
        seen.cycles = self.now - began
        ctx.set(dut.abort, 0)
        ctx.set(dut.o.ready, 1)
        for _ in range(self.memory.latency + 5):
            self.memory.drive(ctx, self.now)
            assert not ctx.get(dut.o.valid), "a beat after the last one"
            self.memory.sample(ctx, self.now)
            await self.tick(ctx)
        assert not self.memory.bursts
        return seen

    def _offer(self, ctx: Any, job: Job, number: int, offering: bool) -> bool:
        offering = number < len(job.rows) and (offering or self.memory.rng.random() < self.offer)
        i, row = self.dut.i, job.rows[min(number, len(job.rows) - 1)]
        ctx.set(i.valid, offering)
        ctx.set(i.p.channel, row.channel)
        ctx.set(i.p.beats, row.beats - 1)
        ctx.set(i.p.first, row.first)
        ctx.set(i.p.last, row.last)
        ctx.set(Value.cast(i.p["values"]), row.values)
        return offering

    def _check(self, ctx: Any, row: Row, beat: int, read: bool) -> bool:
        """A beat against its row; returns whether it is the row's last one."""
        p = self.dut.o.p
        end = beat == row.beats - 1 or not (read or row.first)
        assert ctx.get(p.valid_data) == read
        assert (ctx.get(p.beat), ctx.get(p.end)) == (beat, end)
        if read:
            assert ctx.get(p.weights) == self.memory.word(row.address + beat * self.memory.width // 8)
        request = p.request
        found = (ctx.get(request.channel), ctx.get(request.beats), ctx.get(request.first), ctx.get(request.last))
        assert found == (row.channel, row.beats - 1, row.first, row.last)
        assert ctx.get(Value.cast(request["values"])) == row.values
        return bool(end)


def simulate_jobs(
    cfg: Config, bench: Any, seed: int = 0, *, offer: float = 1.0, take: float = 1.0, **memory: Any
) -> None:
    """Run ``bench(ctx, runner)``."""
    dut = RowReader(cfg)
    runner = Runner(dut, AxiMemory(dut.bus, cfg.bus_width, random.Random(seed), **memory), offer=offer, take=take)

    async def with_runner(ctx: Any) -> None:
        await bench(ctx, runner)

    simulate(dut, with_runner)
