"""The decode engine behind cocotbext-axi: its memory, whole jobs, compared with the model."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiRamRead, AxiReadBus
from flexnm_model.decode_driver import pack_memory, pack_tokens
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_model.packing import unpack_results
from flexnm_model.select import select
from flexnm_rtl.config import Config, ceil_div
from flexnm_rtl.registers import DECODE

from flexnm_tb import stalls
from flexnm_tb.axi_bench import AxiBench
from flexnm_tb.axi_watch import Watch
from flexnm_tb.coverage import functional
from flexnm_tb.stimuli import edge_tokens, random_numbers

MEMORY_BYTES = 1 << 16
_ADDRESS_SIGNALS = ("addr", "len", "size", "burst")


class DecodeJob:
    """x (T, K), w (O, K), N, dense or not, at address ``base``; ``limit`` is the end of its region."""

    def __init__(self, cfg: Config, x: torch.Tensor, w: torch.Tensor, *, keep: int, dense: bool, base: int = 0) -> None:
        self.cfg, self.x, self.w, self.keep, self.dense, self.base = cfg, x, w, keep, dense, base
        self.region = pack_memory(w, cfg)
        self.limit = base + len(self.region)
        self.packet = pack_tokens(x, cfg)
        if dense:
            self.kept = torch.ones(x.shape[1], dtype=torch.bool)
            self.expected = dense_matmul(x, w, cfg)
        else:
            pattern = cfg.replace(n_keep=keep, lanes=1)
            self.kept = select(x, keep, cfg.m_group).any(0)
            self.expected = sparse_matmul(x, w, pattern)

    @property
    def registers(self) -> dict[str, int]:
        """Words of the job registers."""
        (tokens, channels), outputs = self.x.shape, self.w.shape[0]
        sizes = {"tokens": tokens, "channels": channels, "outputs": outputs}
        place = {"base_low": self.base, "base_high": 0, "limit_low": self.limit, "limit_high": 0}
        return sizes | place | {"mode": int(self.dense), "keep": self.keep}

    @property
    def regional_rows(self) -> int:
        """Rows of weights in the region, read or not."""
        return len(self.region) // self.cfg.row_bytes

    @property
    def beats(self) -> int:
        """Beats of weights the job reads."""
        whole, rest = divmod(self.w.shape[0], self.cfg.tile_outputs)
        tile_beats = whole * self.cfg.tile_beats + ceil_div(rest, self.cfg.weights_per_bus)
        return int(self.kept.sum()) * tile_beats

    @property
    def patience(self) -> int:
        """Cycles after which the job has failed, however slow its ends are."""
        return 2000 + 40 * (len(self.region) // (self.cfg.bus_width // 8) + self.expected.numel())


def random_job(rng: random.Random, cfg: Config, *, least_blocks: int = 1) -> DecodeJob:
    """A small job of random shape, N, mode and address; some have a token that is an edge case."""
    t = rng.randint(1, cfg.rows)
    k = rng.randint((least_blocks - 1) * cfg.m_group + 1, max(4 * cfg.m_group, least_blocks * cfg.m_group))
    o = rng.randint(1, 3 * cfg.tile_outputs)
    x = random_numbers(rng, (t, min(k, cfg.k_max)), cfg.act_width)
    if rng.random() < 0.3:
        edges = edge_tokens(cfg, x.shape[1])
        x[rng.randrange(t)] = edges[rng.randrange(len(edges))]
    w = random_numbers(rng, (o, x.shape[1]), cfg.weight_width)
    keep = rng.choice([cfg.n_keep, rng.randint(1, cfg.m_group)])
    return DecodeJob(cfg, x, w, keep=keep, dense=rng.random() < 0.25, base=rng.randrange(8) * cfg.row_bytes)


class WeightMemory(AxiRamRead):
    """Answers reads of addresses in ``bad`` with SLVERR; notes what was read and what was not in ``allowed``."""

    def __init__(self, dut: Any, *, slow: random.Random | None) -> None:
        bus = AxiReadBus.from_prefix(dut, "m_axi")
        super().__init__(bus, dut.aclk, dut.aresetn, reset_active_level=False, size=MEMORY_BYTES)
        self.bad = range(0)
        self.allowed = range(0)
        self.beats = 0
        self.stray: list[int] = []
        self.dut, self.slow = dut, slow
        if slow is not None:
            self.ar_channel.set_pause_generator(stalls.bursts(random.Random(slow.random())))
            self.r_channel.set_pause_generator(stalls.bursts(random.Random(slow.random())))

    async def _read(self, address: int, length: int) -> bytes:
        self.beats += 1
        if address not in self.allowed or address + length - 1 not in self.allowed:
            self.stray.append(address)
        if self.slow is not None and self.slow.random() < 0.1:
            await ClockCycles(self.dut.aclk, self.slow.randint(1, 40))
        if address in self.bad:
            raise ValueError("a bad address")
        return bytes(await super()._read(address, length))


class DecodeBench(AxiBench):
    """Drives the decode engine's wrapper; see ``AxiBench`` for the stalls. slow_memory: random latency and pauses."""

    def __init__(self, dut: Any, salt: str, *, slow_memory: bool = False, **stalled: bool) -> None:
        super().__init__(dut, salt, DECODE, ["acts"], **stalled)
        self.acts = self.sources["acts"]
        self.stalled += ["memory"] if slow_memory else []
        self.memory = WeightMemory(dut, slow=self.ctx.rng(f"{salt} memory") if slow_memory else None)
        self.watches.append(Watch(dut, "m_axi_ar", _ADDRESS_SIGNALS))
        self.beat_bytes = self.cfg.rows * self.cfg.dense_slot_bytes

    async def begin(self, job: DecodeJob, **words: int) -> None:
        """Fill the memory, write the job registers (``words`` in place of the job's), start."""
        pattern = (job.keep, self.cfg.m_group)
        functional.begin(self.ctx, self.stalled, job.x, pattern, "dense" if job.dense else "")
        self.memory.write(job.base, job.region.tobytes())
        self.memory.allowed = range(job.base, job.limit)
        self.memory.beats = 0
        for name, word in (job.registers | words).items():
            await self.write(name, word)
        await self.write("errors", 0xFFFF_FFFF)
        await self.command(start=1)

    def send(self, job: DecodeJob) -> None:
        """Queue the activation packet."""
        self.acts.send_nowait(job.packet.tobytes())

    async def ends(self, job: DecodeJob, errors: Collection[str] | None, *, right: bool) -> None:
        """The job ends with a result packet of its length and these flags; ``right``: with the right results."""
        frame = await self.within(job.patience, self.sink.recv())
        cfg = self.cfg.replace(cols=self.cfg.weights_per_bus, weights_per_beat=0, results_per_beat=0)
        tokens, outputs = job.expected.shape
        got = unpack_results(np.frombuffer(bytes(frame.tdata), dtype=np.uint8), tokens, outputs, cfg)
        assert not self.memory.stray, f"reads outside the region: {self.memory.stray}"
        if right:
            wrong = int((got != job.expected).sum())
            assert not wrong, f"T, K, O = {*job.x.shape, len(job.w)}, N {job.keep}, dense {job.dense}: {wrong} wrong"
        assert await self.flags("status") == {"done"}
        assert errors is None or await self.flags("errors") == set(errors)

    async def run(self, job: DecodeJob) -> None:
        """A whole good job; its reads are exactly the expected ones."""
        await self.begin(job)
        self.send(job)
        await self.ends(job, set(), right=True)
        assert self.memory.beats == await self.read("beats") == job.beats

    def is_read(self, job: DecodeJob, row: int) -> bool:
        """Whether the job reads row ``row`` of its region."""
        return bool(job.kept[row % job.x.shape[1]])
