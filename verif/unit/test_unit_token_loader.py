"""TokenLoader: entries against the reference, for every number of tokens, ragged K, N of the job, odd packets."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from amaranth.hdl import Value
from flexnm_model.reference import select
from flexnm_rtl.config import Config
from flexnm_rtl.token_loader import TokenLoader
from unit_tools import pack, simulate, unpack

CONFIGS = {
    "2:4": Config(n_keep=2, m_group=4, lanes=1, rows=2, k_max=24),
    "3:5 of 6 bits": Config(n_keep=3, m_group=5, lanes=1, rows=3, k_max=23, act_width=6),
    "8:16": Config(rows=1, k_max=48),
    "2:4 radix": Config(n_keep=2, m_group=4, lanes=1, rows=2, k_max=24, selector="radix"),
}
Entry = tuple[int, list[list[int]]]
"""Mask; the values of every row."""


@dataclass
class Job:
    """A job and its packet. beats: blocks sent; ``x`` goes on with zeros where the packet is short."""

    cfg: Config
    x: list[list[int]]
    """All M channels of every block, of every row: what is beyond K or T is garbage."""
    tokens: int
    channels: int
    keep: int
    dense: int = 0
    beats: int = 0
    flags: set[str] = field(default_factory=set)

    @classmethod
    def random(cls, cfg: Config, seed: int, **fixed: int) -> Job:
        rng = random.Random(seed)
        channels = fixed.pop("channels", 0) or rng.choice([1, cfg.k_max, rng.randint(1, cfg.k_max)])
        half = 1 << (cfg.act_width - 1)
        limit = rng.choice([1, 2, half])
        width = cfg.m_group * cfg.blocks(channels)
        x = [[rng.randint(-limit, limit - 1) for _ in range(width)] for _ in range(cfg.rows)]
        job = cls(cfg, x, rng.randint(1, cfg.rows), channels, rng.randint(1, cfg.m_group), beats=cfg.blocks(channels))
        for name, value in fixed.items():
            setattr(job, name, value)
        return job

    def packet(self) -> list[tuple[int, int]]:
        """Beats and TLAST. Bits of a slot above its values are set: nobody may look at them."""
        cfg, m = self.cfg, self.cfg.m_group
        spare = ((1 << 8 * cfg.dense_slot_bytes) - 1) >> cfg.block_bits << cfg.block_bits
        words = []
        for block in range(self.beats):
            slots = [pack(row[block * m :][:m] or [0] * m, cfg.act_width) | spare for row in self.x]
            words.append((pack(slots, 8 * cfg.dense_slot_bytes), int(block == self.beats - 1)))
        return words

    def entries(self) -> list[Entry]:
        cfg, m, found = self.cfg, self.cfg.m_group, []
        for block in range(cfg.blocks(self.channels)):
            real = min(m, self.channels - block * m)
            mask, rows = 0, []
            for row, token in enumerate(self.x):
                sent = block < self.beats and row < self.tokens
                values = [v if sent and i < real else 0 for i, v in enumerate(token[block * m :][:m])]
                kept = [i < real and (bool(self.dense) or k) for i, k in enumerate(select(values, self.keep))]
                if row < self.tokens:
                    mask |= pack(map(int, kept), 1)
                rows.append([v if k else 0 for v, k in zip(values, kept, strict=True)])
            found.append((mask, rows))
        return found


async def run_job(ctx: Any, dut: TokenLoader, job: Job, *, offer: float, seed: int, settle: int = 30) -> list[int]:
    """Send the packet and compare what is written; returns the cycles of the writes."""
    cfg, rng = job.cfg, random.Random(seed)
    for name in ("tokens", "channels", "keep", "dense"):
        ctx.set(getattr(dut, name), getattr(job, name))
    ctx.set(dut.start, 1)
    ctx.set(dut.i.valid, 0)
    await ctx.tick()
    ctx.set(dut.start, 0)
    feed, entries, writes, flags = job.packet(), job.entries(), [], set()
    written: list[Entry] = []
    offering, quiet = False, 0
    for cycle in range(2000):
        offering = bool(feed) and (offering or rng.random() < offer)
        ctx.set(dut.i.valid, offering)
        ctx.set(Value.cast(dut.i.p.data), feed[0][0] if offering else rng.getrandbits(len(Value.cast(dut.i.p.data))))
        ctx.set(dut.i.p.last, feed[0][1] if offering else rng.randint(0, 1))
        assert ctx.get(dut.filled) == len(written)
        flags |= {name for name in ("short", "long") if ctx.get(getattr(dut, name))}
        if ctx.get(dut.write):
            assert ctx.get(dut.addr) == len(written)
            word = ctx.get(Value.cast(dut.entry))
            mask, word = word & ((1 << cfg.m_group) - 1), word >> cfg.m_group
            tokens = unpack(word, cfg.block_bits, cfg.rows, signed=False)
            written.append((mask, [unpack(token, cfg.act_width, cfg.m_group) for token in tokens]))
            writes.append(cycle)
        if offering and ctx.get(dut.i.ready):
            feed.pop(0)
            offering = False
        await ctx.tick()
        quiet = quiet + 1 if len(written) >= len(entries) else 0
        if quiet > settle:
            break
    assert written == entries
    assert not feed, "the packet was not taken to its end"
    assert flags == job.flags
    return writes


@pytest.mark.parametrize("offer", [1.0, 0.4])
@pytest.mark.parametrize("name", CONFIGS)
def test_entries_of_jobs_after_each_other(name: str, offer: float) -> None:
    """Tokens, K, N and mode all change from job to job."""
    cfg = CONFIGS[name]
    dut = TokenLoader(cfg)

    async def bench(ctx: Any) -> None:
        for seed in range(30):
            await run_job(ctx, dut, Job.random(cfg, seed, dense=int(seed % 4 == 3)), offer=offer, seed=seed)

    simulate(dut, bench)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_n_and_every_number_of_tokens(name: str) -> None:
    cfg = CONFIGS[name]
    dut = TokenLoader(cfg)

    async def bench(ctx: Any) -> None:
        for keep in range(1, cfg.m_group + 1):
            for tokens in range(1, cfg.rows + 1):
                await run_job(ctx, dut, Job.random(cfg, keep, keep=keep, tokens=tokens), offer=1.0, seed=keep)

    simulate(dut, bench)


@pytest.mark.parametrize("dense", [0, 1])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_length_of_the_last_block(name: str, dense: int) -> None:
    """Padding is never marked, not even where N is larger than what the block has; the last block is never empty."""
    cfg = CONFIGS[name]
    dut = TokenLoader(cfg)

    async def bench(ctx: Any) -> None:
        for channels in range(1, 2 * cfg.m_group + 1):
            job = Job.random(cfg, channels, channels=channels, keep=cfg.n_keep, tokens=cfg.rows, dense=dense)
            real = (channels - 1) % cfg.m_group + 1
            assert 0 < job.entries()[-1][0] < 1 << real
            await run_job(ctx, dut, job, offer=1.0, seed=channels)

    simulate(dut, bench)


@pytest.mark.parametrize("offer", [1.0, 0.4])
@pytest.mark.parametrize("name", CONFIGS)
def test_packets_that_are_too_short_or_too_long(name: str, offer: float) -> None:
    """Missing blocks count as zeros, what is too much is thrown away, the next job is right."""
    cfg = CONFIGS[name]
    dut = TokenLoader(cfg)

    async def bench(ctx: Any) -> None:
        blocks = cfg.blocks(cfg.k_max)
        for beats in (*range(1, blocks), blocks + 1, blocks + 4):
            job = Job.random(cfg, beats, channels=cfg.k_max, beats=beats)
            job.flags = {"short" if beats < blocks else "long"}
            await run_job(ctx, dut, job, offer=offer, seed=beats)
            await run_job(ctx, dut, Job.random(cfg, beats), offer=offer, seed=beats)

    simulate(dut, bench)


def test_abort_fills_up_with_zeros() -> None:
    """After two of six blocks; as many entries as the job needs, each with a channel marked."""
    cfg = CONFIGS["2:4"]
    dut = TokenLoader(cfg)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.abort, 0)
        job = Job.random(cfg, 5, channels=24, tokens=2, keep=2, beats=2)
        for name in ("tokens", "channels", "keep", "dense"):
            ctx.set(getattr(dut, name), getattr(job, name))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        ctx.set(dut.i.valid, 1)
        for word, _ in job.packet():
            ctx.set(Value.cast(dut.i.p.data), word)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.abort, 1)
        masks = []
        for _ in range(30):
            if ctx.get(dut.write):
                masks.append(ctx.get(dut.entry.mask))
            await ctx.tick()
        assert masks == [mask for mask, _ in job.entries()]
        assert masks[2:] == [0b0011] * 4
        ctx.set(dut.abort, 0)
        await run_job(ctx, dut, Job.random(cfg, 6), offer=1.0, seed=1)

    simulate(dut, bench)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_block_a_cycle(name: str) -> None:
    cfg = CONFIGS[name]
    dut = TokenLoader(cfg)

    async def bench(ctx: Any) -> None:
        writes = await run_job(ctx, dut, Job.random(cfg, 1, channels=cfg.k_max), offer=1.0, seed=1)
        assert writes == list(range(writes[0], writes[0] + cfg.blocks(cfg.k_max)))

    simulate(dut, bench)
