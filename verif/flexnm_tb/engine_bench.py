"""The linear engine behind cocotbext-axi: a manager on its registers, ends on its streams, watches on its outputs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Collection
from typing import Any, TypeVar

import cocotb
import numpy as np
import torch
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp, AxiStreamBus, AxiStreamSink, AxiStreamSource
from flexnm_rtl.registers import BY_NAME

from flexnm_tb import context, stalls
from flexnm_tb.axi_watch import StreamWatch, Watch
from flexnm_tb.engine_cycles import array_blocks
from flexnm_tb.engine_jobs import Job
from flexnm_tb.streams import PERIOD_NS

REGISTER_PATIENCE = 200
_T = TypeVar("_T")


class PacketSource(AxiStreamSource):
    """A source that can leave out TLAST: with ``endless`` set, what it sends is not marked as a packet's last beat."""

    def __init__(self, dut: Any, prefix: str) -> None:
        super().__init__(AxiStreamBus.from_prefix(dut, prefix), dut.aclk, dut.aresetn, reset_active_level=False)
        self.endless = False
        self._last = self.bus.tlast
        self.bus.tlast = self  # the base class assigns to ``bus.tlast.value``

    @property
    def value(self) -> Any:
        """Value of ``tlast``."""
        return self._last.value

    @value.setter
    def value(self, value: int) -> None:
        self._last.value = 0 if self.endless else value


class EngineBench:
    """Drives an engine's wrapper. idle: both sources pause; backpressure: the sink does; slow_bus: all of s_axi."""

    def __init__(
        self, dut: Any, salt: str, *, idle: bool = False, backpressure: bool = False, slow_bus: bool = False
    ) -> None:
        self.dut = dut
        self.ctx = context.load()
        self.cfg = self.ctx.cfg
        salt = f"{salt} {idle} {backpressure}"
        self.rng = self.ctx.rng(salt)
        dut.aresetn.value = 0
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)  # or every frame fills the log
        clocking = (dut.aclk, dut.aresetn, False)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), *clocking)
        self.acts, self.weights = PacketSource(dut, "s_axis_acts"), PacketSource(dut, "s_axis_weights")
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_results"), *clocking)
        self.results = StreamWatch(dut, "m_axis_results")
        self.watches = [self.results, Watch(dut, "s_axi_b", ["resp"]), Watch(dut, "s_axi_r", ["data", "resp"])]
        prefixes = ("s_axi_aw", "s_axi_w", "s_axi_ar", "s_axis_acts_t", "s_axis_weights_t")
        four_state = "icarus" in cocotb.SIM_NAME.lower()
        self.readies = [getattr(dut, f"{prefix}ready") for prefix in prefixes if four_state]
        write, read = self.master.write_if, self.master.read_if
        channels = [write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel]
        pauses = ((idle, [self.acts, self.weights]), (backpressure, [self.sink]), (slow_bus, channels))
        paused = [end for wanted, ends in pauses if wanted for end in ends]
        for k, end in enumerate(paused):
            end.set_pause_generator(stalls.bursts(self.ctx.rng(f"{salt} pauses {k}")))

    async def start(self) -> None:
        """Start the clock, reset, watch the outputs from then on."""
        cocotb.log.info("seed %d", self.ctx.seed)
        Clock(self.dut.aclk, PERIOD_NS, unit="ns").start()
        await self.reset()
        cocotb.start_soon(self._watch())

    async def reset(self, cycles: int = 2) -> None:
        """Reset for some cycles; the ends forget what was under way."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, cycles)
        for end in (self.acts, self.weights, self.sink):
            end.clear()
        self.acts.endless = self.weights.endless = False
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 1)

    async def _watch(self) -> None:
        edge, cycle = RisingEdge(self.dut.aclk), 0
        while True:
            await edge
            cycle += 1
            running = int(self.dut.aresetn.value)
            for watch in self.watches:
                if running:
                    watch.sample(cycle)
                else:
                    watch.clear()
            if running:
                for ready in self.readies:
                    int(ready.value)  # raises ValueError for an X

    async def within(self, cycles: int, awaitable: Awaitable[_T]) -> _T:
        """The awaitable's result. Raises SimTimeoutError when it takes more cycles."""
        return await with_timeout(awaitable, cycles * PERIOD_NS, "ns")

    async def cycles(self, count: int) -> None:
        """Let some cycles pass."""
        await ClockCycles(self.dut.aclk, count)

    # ---- registers ----

    async def try_read(self, address: int, size: int = 4) -> tuple[int, bool]:
        """Bytes of a word as an unsigned integer, and whether the answer was OKAY; SLVERR is the other one allowed."""
        answer = await self.within(REGISTER_PATIENCE, self.master.read(address, size))
        assert answer.resp in (AxiResp.OKAY, AxiResp.SLVERR), f"read of {address:#x}: {answer.resp}"
        return int.from_bytes(answer.data, "little"), answer.resp == AxiResp.OKAY

    async def try_write(self, address: int, data: bytes) -> bool:
        """Write bytes of a word; whether the answer was OKAY."""
        answer = await self.within(REGISTER_PATIENCE, self.master.write(address, data))
        assert answer.resp in (AxiResp.OKAY, AxiResp.SLVERR), f"write to {address:#x}: {answer.resp}"
        return bool(answer.resp == AxiResp.OKAY)

    async def read(self, name: str) -> int:
        """The word of a register."""
        word, okay = await self.try_read(BY_NAME[name].offset)
        assert okay, f"reading {name}: SLVERR"
        return word

    async def write(self, name: str, word: int) -> None:
        """Write a register."""
        assert await self.try_write(BY_NAME[name].offset, word.to_bytes(4, "little")), f"writing {name}: SLVERR"

    async def command(self, **flags: int) -> None:
        """Write ``control``."""
        await self.write("control", BY_NAME["control"].encode(**flags))

    async def flags(self, name: str) -> set[str]:
        """The fields of a register that are not zero."""
        return {field for field, value in BY_NAME[name].decode(await self.read(name)).items() if value}

    # ---- jobs ----

    async def begin(self, job: Job) -> None:
        """Write the job registers, clear the error flags, start."""
        for name, word in job.registers.items():
            await self.write(name, word)
        await self.write("errors", 0xFFFF_FFFF)
        await self.command(start=1)

    def send(self, job: Job) -> None:
        """Queue both packets; an empty one is not sent at all."""
        for source, packet in ((self.acts, job.acts), (self.weights, job.weights)):
            if len(packet):
                source.send_nowait(packet.tobytes())

    async def packet(self, job: Job) -> torch.Tensor:
        """The results of a job, int64 (T, O). Raises ConfigError when the packet is too short or too long."""
        frame = await self.within(job.patience, self.sink.recv())
        return job.unpack(np.frombuffer(bytes(frame.tdata), dtype=np.uint8))

    async def finish(self, job: Job, errors: Collection[str] = ()) -> dict[str, int]:
        """Take the results, compare them, and see that exactly these error flags are set. Returns the counters."""
        got, want = await self.packet(job), job.expected
        wrong = torch.nonzero(got != want).tolist()
        first = tuple(wrong[0]) if wrong else ()
        assert not wrong, (
            f"T, K, O = {job.shape}, {job.mode}: {len(wrong)} results are wrong, the first one at {first}: "
            f"{int(got[first])}, not {int(want[first])} (seed {self.ctx.seed})"
        )
        assert await self.flags("status") == {"done"}
        assert await self.flags("errors") == set(errors)
        names = ("cycles", "busy_cycles", "wait_acts", "wait_weights", "wait_results", "blocks")
        counters = {name: await self.read(name) for name in names}
        assert counters["blocks"] == array_blocks(self.cfg, *job.shape)
        assert counters["busy_cycles"] == job.ideal
        assert sum(counters[name] for name in names[1:5]) <= counters["cycles"]
        return counters

    async def run(self, job: Job, errors: Collection[str] = (), *, early: bool | None = None) -> dict[str, int]:
        """A whole job. early: the packets are on offer before it starts; None: now and then. Returns the counters."""
        if early is None:
            early = self.rng.random() < 0.5
        if early:
            self.send(job)
        await self.begin(job)
        if not early:
            self.send(job)
        return await self.finish(job, errors)

    async def quiet(self, cycles: int = 40) -> None:
        """Some cycles in which nothing may come; all that was sent has been taken."""
        before = self.results.transfers
        await self.cycles(cycles)
        assert self.results.transfers == before, "results without a job"
        assert self.sink.empty()
        assert self.sink.idle()
        assert self.acts.idle(), "activations were not taken to their end"
        assert self.weights.idle(), "weights were not taken to their end"
        assert "busy" not in await self.flags("status")
