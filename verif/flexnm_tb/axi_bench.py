"""An engine behind cocotbext-axi: a manager on its registers, ends on its streams, watches on its outputs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp, AxiStreamBus, AxiStreamSink, AxiStreamSource
from flexnm_rtl.registers import RegisterMap

from flexnm_tb import context, stalls
from flexnm_tb.axi_watch import StreamWatch, Watch
from flexnm_tb.coverage import functional
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


class AxiBench:
    """Drives an engine's wrapper: registers, input streams ``s_axis_x`` for every x of ``inputs``, results.

    idle: the sources pause, and show anything meanwhile; backpressure: the sink pauses; slow_bus: all of s_axi.
    """

    def __init__(
        self,
        dut: Any,
        salt: str,
        registers: RegisterMap,
        inputs: Sequence[str],
        *,
        idle: bool = False,
        backpressure: bool = False,
        slow_bus: bool = False,
    ) -> None:
        self.dut = dut
        self.registers = registers
        self.ctx = context.load()
        self.cfg = self.ctx.cfg
        salt = f"{salt} {idle} {backpressure}"
        self.rng = self.ctx.rng(salt)
        self.stalled = [name for name, paused in (("idle", idle), ("backpressure", backpressure)) if paused]
        dut.aresetn.value = 0
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)  # or every frame fills the log
        clocking = (dut.aclk, dut.aresetn, False)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), *clocking)
        self.sources = {name: PacketSource(dut, f"s_axis_{name}") for name in inputs}
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_results"), *clocking)
        self.results = StreamWatch(dut, "m_axis_results")
        self.watches = [self.results, Watch(dut, "s_axi_b", ["resp"]), Watch(dut, "s_axi_r", ["data", "resp"])]
        prefixes = ("s_axi_aw", "s_axi_w", "s_axi_ar", *(f"s_axis_{name}_t" for name in inputs))
        four_state = "icarus" in cocotb.SIM_NAME.lower()
        self.readies = [getattr(dut, f"{prefix}ready") for prefix in prefixes if four_state]
        write, read = self.master.write_if, self.master.read_if
        channels = [write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel]
        pauses = ((idle, list(self.sources.values())), (backpressure, [self.sink]), (slow_bus, channels))
        paused = [end for wanted, ends in pauses if wanted for end in ends]
        for k, end in enumerate(paused):
            end.set_pause_generator(stalls.bursts(self.ctx.rng(f"{salt} pauses {k}")))

    async def start(self) -> None:
        """Start the clock, reset, watch the outputs from then on."""
        cocotb.log.info("seed %d", self.ctx.seed)
        Clock(self.dut.aclk, PERIOD_NS, unit="ns").start()
        await self.reset()
        cocotb.start_soon(self._watch())
        if "idle" in self.stalled:
            cocotb.start_soon(self._disturb())

    async def reset(self, cycles: int = 2) -> None:
        """Reset for some cycles; the ends forget what was under way."""
        functional.end(["reset"])
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, cycles)
        self.sink.clear()
        for source in self.sources.values():
            source.clear()
            source.endless = False
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 1)

    async def _disturb(self) -> None:
        """What a source shows while it offers nothing is nobody's business: another number in every cycle."""
        rng = self.ctx.rng("disturbed")
        while True:
            await FallingEdge(self.dut.aclk)
            for source in self.sources.values():
                if not int(source.bus.tvalid.value):
                    source.bus.tlast.value = rng.getrandbits(1)
                    source.bus.tdata.value = rng.getrandbits(len(source.bus.tdata))

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
        word, okay = await self.try_read(self.registers[name].offset)
        assert okay, f"reading {name}: SLVERR"
        return word

    async def write(self, name: str, word: int) -> None:
        """Write a register."""
        assert await self.try_write(self.registers[name].offset, word.to_bytes(4, "little")), f"writing {name}: SLVERR"

    async def command(self, **flags: int) -> None:
        """Write ``control``."""
        await self.write("control", self.registers["control"].encode(**flags))

    async def flags(self, name: str) -> set[str]:
        """The fields of a register that are not zero."""
        found = {field for field, value in self.registers[name].decode(await self.read(name)).items() if value}
        if name == "errors":
            functional.end(found)
        return found

    async def quiet(self, cycles: int = 40) -> None:
        """Some cycles in which nothing may come; all that was sent has been taken."""
        before = self.results.transfers
        await self.cycles(cycles)
        assert self.results.transfers == before, "results without a job"
        assert self.sink.empty()
        assert self.sink.idle()
        for name, source in self.sources.items():
            assert source.idle(), f"{name} were not taken to their end"
        assert "busy" not in await self.flags("status")
