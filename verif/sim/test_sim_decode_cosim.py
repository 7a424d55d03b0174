"""The decode engine as Verilog with a memory: results, reads, and what becomes of jobs that go wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from flexnm_model.decode_driver import DecodeDriver, Region, union_rows
from flexnm_model.driver import DeviceError
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_model.packing import Bytes
from flexnm_model.select import select
from flexnm_rtl.config import Config, ceil_div
from flexnm_rtl.registers import DECODE
from flexnm_tb.cosim.decoder import MemoryTraffic, Reads, SimulatedDecoder

CONFIGS = {
    "n2m4": Config(n_keep=2, m_group=4, rows=2, lanes=2, k_max=64, bus_width=64, tile_beats=2, outstanding=4),
    "n3m5": Config(
        n_keep=3, m_group=5, rows=3, lanes=3, k_max=60, weight_width=5, act_width=6, bus_width=128, tile_beats=4
    ),
    "n8m16": Config(rows=1, k_max=256, address_width=40),
}
PATIENCE = 5000


@dataclass
class Bench:
    """A configuration's engine and its driver."""

    cfg: Config
    engine: SimulatedDecoder
    driver: DecodeDriver

    @property
    def reads(self) -> Reads:
        assert self.engine.reads is not None
        return self.engine.reads


@pytest.fixture(scope="module", params=CONFIGS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    cfg = CONFIGS[request.param]
    with SimulatedDecoder(cfg) as engine:
        yield Bench(cfg, engine, DecodeDriver(engine, cfg))


@pytest.fixture(autouse=True)
def plain_traffic(bench: Bench) -> None:
    bench.engine.traffic = MemoryTraffic(patience=PATIENCE)


@dataclass(frozen=True)
class Job:
    """Operands and mode of a job, and what has to come of it."""

    cfg: Config
    x: torch.Tensor
    w: torch.Tensor
    keep: int
    dense: bool

    @classmethod
    def random(cls, cfg: Config, rng: random.Random, *, tiles: int = 0) -> Job:
        """tiles: whole tiles of outputs; 0: any number of outputs up to two and a half tiles."""
        tokens, channels = rng.randint(1, cfg.rows), rng.randint(1, min(cfg.k_max, 200))
        outputs = tiles * cfg.tile_outputs or rng.randint(1, 5 * cfg.tile_outputs // 2)
        generator = torch.Generator().manual_seed(rng.getrandbits(32))
        half_x, half_w = 1 << (cfg.act_width - 1), 1 << (cfg.weight_width - 1)
        limit = rng.choice([1, 2, half_x])  # from many ties to hardly any
        x = torch.randint(-limit, limit, (tokens, channels), generator=generator, dtype=torch.int32)
        w = torch.randint(-half_w, half_w, (outputs, channels), generator=generator, dtype=torch.int32)
        return cls(cfg, x, w, rng.choice([cfg.n_keep, rng.randint(1, cfg.m_group)]), rng.random() < 0.3)

    @property
    def sums(self) -> torch.Tensor:
        """What the software model of the linear engine says."""
        if self.dense:
            return dense_matmul(self.x, self.w, self.cfg)
        return sparse_matmul(self.x, self.w, self.cfg.replace(n_keep=self.keep, lanes=1))

    @property
    def mask(self) -> torch.Tensor:
        """Channels read, bool (K,)."""
        return torch.ones(self.x.shape[1], dtype=torch.bool) if self.dense else self._kept.any(0)

    @property
    def _kept(self) -> torch.Tensor:
        return select(self.x, self.keep, self.cfg.m_group)

    @property
    def rows(self) -> int:
        """Rows read, of all tiles."""
        one = self.x.shape[1] if self.dense else union_rows(self._kept)
        return one * ceil_div(self.w.shape[0], self.cfg.tile_outputs)

    @property
    def beats(self) -> int:
        """Beats read: of the last tile only those with outputs."""
        whole, rest = divmod(self.w.shape[0], self.cfg.tile_outputs)
        return int(self.mask.sum()) * (whole * self.cfg.tile_beats + ceil_div(rest, self.cfg.weights_per_bus))


def run(bench: Bench, job: Job, region: Region | None = None, *, base: int = 0) -> None:
    """Run a job and check sums, reads and counters."""
    region = bench.driver.load(job.w, base) if region is None else region
    result = bench.driver.run(job.x, region, dense=job.dense, keep=job.keep)
    assert torch.equal(result.results, job.sums)
    reads = bench.reads
    assert (reads.bursts, reads.beats) == (job.rows, job.beats)
    assert not reads.outside, "a beat that is not in the region"
    assert not reads.crossed, "a burst across a 4 KB boundary"
    assert reads.acts_left == 0
    assert (result.counters["rows"], result.counters["beats"]) == (job.rows, job.beats)


SHARES = {
    "no pauses": {},
    "activations": {"share_acts": 170},
    "requests": {"share_requests": 170},
    "data": {"share_data": 170},
    "results": {"share_results": 200},
    "everywhere": {"share_acts": 60, "share_requests": 60, "share_data": 60, "share_results": 60},
    "everywhere, often": {"share_acts": 160, "share_requests": 160, "share_data": 160, "share_results": 160},
}


@pytest.mark.parametrize("latency", [0, 1, 2, 7, 40])
@pytest.mark.parametrize("shares", SHARES)
def test_random_jobs(bench: Bench, shares: str, latency: int) -> None:
    """All shapes, bases, N of the job; the region is all the memory there is."""
    rng = random.Random(f"{shares} {latency}")
    for seed in range(8):
        bench.engine.traffic = MemoryTraffic(
            latency=latency, most=rng.choice([1, 4, 16]), seed=seed + 1, patience=PATIENCE, **SHARES[shares]
        )
        run(bench, Job.random(bench.cfg, rng), base=rng.choice([0, 4096, bench.cfg.row_bytes * 3]))


def test_tokens_share_their_reads(bench: Bench) -> None:
    """Every number of tokens; equal tokens read no more than one of them, different ones the union."""
    rng = random.Random(3)
    job = Job.random(bench.cfg, rng, tiles=1)
    channels = job.x.shape[1]
    half = 1 << (bench.cfg.act_width - 1)
    for tokens in range(1, bench.cfg.rows + 1):
        generator = torch.Generator().manual_seed(tokens)
        x = torch.randint(-half, half, (tokens, channels), generator=generator, dtype=torch.int32)
        different = replace(job, x=x, dense=False)
        same = replace(different, x=x[:1].repeat(tokens, 1))
        run(bench, different)
        run(bench, same)
        assert same.rows == replace(different, x=x[:1]).rows <= different.rows


def test_every_n_changed_from_job_to_job(bench: Bench) -> None:
    rng = random.Random(4)
    job = Job.random(bench.cfg, rng, tiles=2)
    region = bench.driver.load(job.w)
    for keep in (*range(1, bench.cfg.m_group + 1), 1):
        run(bench, replace(job, keep=keep, dense=False), region)
    run(bench, replace(job, dense=True), region)


def test_the_top_of_the_address_space(bench: Bench) -> None:
    """The last region there can be: a row below the end, so that its limit still is an address."""
    cfg = bench.cfg
    job = Job.random(cfg, random.Random(5), tiles=1)
    size = job.x.shape[1] * cfg.row_bytes
    run(bench, job, base=(1 << cfg.address_width) - size - cfg.row_bytes)


def fails(bench: Bench, job: Job, region: Region, flags: str) -> None:
    with pytest.raises(DeviceError, match=rf"\Athe engine reports {flags}\Z"):
        bench.driver.run(job.x, region, dense=job.dense, keep=job.keep)


@pytest.mark.parametrize("shares", ["no pauses", "everywhere"])
@pytest.mark.parametrize("latency", [0, 40])
def test_a_bad_response_ends_the_job(bench: Bench, shares: str, latency: int) -> None:
    """With the flag, and without new reads but for those under way; the next job is right."""
    cfg, rng = bench.cfg, random.Random(6)
    for seed in range(10):
        job = Job.random(cfg, rng, tiles=2)
        good = MemoryTraffic(latency=latency, seed=seed + 1, patience=PATIENCE, **SHARES[shares])
        region = bench.driver.load(job.w, 4096)
        marked = job.mask.nonzero().flatten().tolist()
        tile, place = rng.randrange(2), rng.randrange(len(marked))
        start = region.base + (tile * region.channels + marked[place]) * cfg.row_bytes
        bench.engine.traffic = replace(good, errors=(start, start + cfg.row_bytes))
        fails(bench, job, region, "bus_error")
        before = tile * len(marked) + place + 1
        # The bad row, the bursts behind it, one whose address waits, and one that is asked for at that moment.
        assert before <= bench.reads.bursts <= min(job.rows, before + cfg.outstanding + 1)
        assert not bench.reads.outside
        bench.engine.traffic = good
        run(bench, job, region)


def test_addresses_without_marked_channels_may_be_bad(bench: Bench) -> None:
    """What is not read cannot fail."""
    cfg, rng = bench.cfg, random.Random(7)
    job = replace(Job.random(cfg, rng, tiles=1), keep=1, dense=False)
    x = torch.zeros(1, 3 * cfg.m_group, dtype=torch.int32)
    x[0, :: cfg.m_group] = 1  # of every block the first channel
    job = replace(job, x=x, w=torch.ones(cfg.tile_outputs, x.shape[1], dtype=torch.int32))
    region = bench.driver.load(job.w)
    bench.engine.traffic = MemoryTraffic(errors=(cfg.row_bytes, cfg.m_group * cfg.row_bytes), patience=PATIENCE)
    run(bench, job, region)
    bench.engine.traffic = MemoryTraffic(errors=(0, 1), patience=PATIENCE)
    fails(bench, job, region, "bus_error")


@pytest.mark.parametrize("shares", ["no pauses", "everywhere"])
def test_a_region_that_is_too_small(bench: Bench, shares: str) -> None:
    """Rows before the limit are read, none behind it; the next job is right."""
    cfg, rng = bench.cfg, random.Random(8)
    for seed in range(10):
        job = Job.random(cfg, rng, tiles=2)
        bench.engine.traffic = MemoryTraffic(seed=seed + 1, patience=PATIENCE, **SHARES[shares])
        region, data = bench.driver.pack(job.w, 4096)
        marked = job.mask.nonzero().flatten().tolist()
        rows = [tile * region.channels + k for tile in range(2) for k in marked]
        count = rng.randrange(len(rows))
        size = rows[count] * cfg.row_bytes + rng.choice([0, 1, cfg.row_bytes - 1])
        bench.engine.load(region.base, data[:size].copy())  # there is nothing behind the limit
        fails(bench, job, replace(region, size=size), "outside")
        assert bench.reads.bursts == count
        assert not bench.reads.outside
        bench.engine.load(region.base, data)
        run(bench, job, region)


class Meddler:
    """The engine behind a back end that sends other activations than the driver's."""

    def __init__(self, engine: SimulatedDecoder, change: int) -> None:
        """change: bytes more or, below 0, less."""
        self.engine, self.change = engine, change
        self.read, self.write, self.load = engine.read, engine.write, engine.load

    def transfer(self, acts: Bytes, result_bytes: int) -> Bytes:
        length = len(acts) + self.change
        return self.engine.transfer(torch.from_numpy(acts).repeat(2).numpy()[:length], result_bytes)


def test_packets_of_the_wrong_length(bench: Bench) -> None:
    """A block less, a block more; the job ends with its flag, and the next one is right."""
    cfg = bench.cfg
    job = replace(Job.random(cfg, random.Random(9), tiles=1), dense=False)
    x = torch.ones(1, 2 * cfg.m_group, dtype=torch.int32)
    job = replace(job, x=x, w=torch.ones(cfg.tile_outputs, x.shape[1], dtype=torch.int32))
    region = bench.driver.load(job.w)
    beat = bench.engine.beats["ACT_BYTES"]
    for change, flag in ((-beat, "acts_short"), (beat, "acts_long")):
        bench.engine.traffic = MemoryTraffic(linger=50, patience=PATIENCE)
        bench.driver.backend = Meddler(bench.engine, change)
        try:
            fails(bench, job, region, flag)
        finally:
            bench.driver.backend = bench.engine
        run(bench, job, region)


def test_abort_ends_a_job_that_waits_for_activations(bench: Bench) -> None:
    job = Job.random(bench.cfg, random.Random(10), tiles=1)
    region = bench.driver.load(job.w)
    empty = torch.zeros(0, dtype=torch.uint8).numpy()
    bench.engine.traffic = MemoryTraffic(patience=200)
    registers = {"tokens": job.x.shape[0], "channels": job.x.shape[1], "outputs": job.w.shape[0], "keep": job.keep,
                 "mode": 0, "base_low": 0, "base_high": 0, "limit_low": region.size, "limit_high": 0}  # fmt: skip
    for name, value in registers.items():
        bench.engine.write(DECODE[name].offset, value)
    bench.engine.write(DECODE["control"].offset, DECODE["control"].encode(start=1))
    room = job.w.shape[0] * job.x.shape[0] * bench.cfg.result_width // 8
    with pytest.raises(DeviceError, match="got stuck"):
        bench.engine.transfer(empty, room)
    bench.engine.write(DECODE["control"].offset, DECODE["control"].encode(abort=1))
    packet = bench.engine.transfer(empty, room)
    assert len(packet) == room
    assert not packet.any(), "no activation, no sum"
    assert DECODE["errors"].decode(bench.engine.read(DECODE["errors"].offset))["aborted"] == 1
    bench.engine.traffic = MemoryTraffic(patience=PATIENCE)
    run(bench, job, region)


def test_a_reset_in_the_middle_of_a_job(bench: Bench) -> None:
    """Memory and engine both forget; the next job is right."""
    job = Job.random(bench.cfg, random.Random(11), tiles=2)
    region = bench.driver.load(job.w)
    bench.engine.traffic = MemoryTraffic(latency=1000, patience=100)
    with pytest.raises(DeviceError, match="got stuck"):
        bench.driver.run(job.x, region)
    bench.engine.reset()
    bench.engine.traffic = MemoryTraffic(patience=PATIENCE)
    run(bench, job, region)
