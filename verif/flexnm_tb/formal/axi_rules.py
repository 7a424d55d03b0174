"""Rules of AMBA for the interfaces of the engines, as assertions on our side and assumptions on the other one.

From AMBA AXI and ACE (IHI 0022) and AMBA AXI-Stream (IHI 0051), in own words. ``reset`` is the reset of the circuit;
what is checked here stands outside of it.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Assume, Cat, Const, Module, Signal, Value
from flexnm_rtl.axi import OKAY, SLVERR

from flexnm_tb.formal.proof import Circuit, check
from flexnm_tb.formal.rules import implies, named
from flexnm_tb.formal.stream_contract import Port, before, ends, kept


def transmits(m: Module, name: str, port: Port, reset: Value) -> None:
    """A transmitter: what is offered stays as it is until it is taken; nothing is offered while and after a reset."""
    check(m, f"{name}_kept", kept(m, port, name, drop=reset))
    check(m, f"{name}_low_in_reset", ~before(m, reset, f"{name}_reset") | ~port.valid)


def behaves(m: Module, c: Circuit, name: str, port: Port, reset: Value) -> None:
    """The other side's transmitter, driven freely within the same rules."""
    m.d.comb += [
        port.valid.eq(c.free(1, f"{name}_offered")),
        port.payload.eq(c.free(len(port.payload), f"{name}_word")),
        Assume(kept(m, port, name, drop=reset)),
        Assume(~before(m, reset, f"{name}_reset") | ~port.valid),
    ]


def owed(m: Module, name: str, asked: Any, answered: Any, reset: Value, most: int = 1) -> Signal:
    """Requests of the cycles before this one that have had no answer; no more than ``most``, never less than none."""
    count = Signal(range(most + 2), name=f"{name}_owed")
    m.d.sync += count.eq(count + Value.cast(asked) - Value.cast(answered))
    with m.If(reset):
        m.d.sync += count.eq(0)
    check(m, f"{name}_at_most", count <= most)
    return count


class Lite:
    """The channels of an AXI4-Lite subordinate, with a manager that does what it may."""

    def __init__(self, m: Module, c: Circuit, bus: Any, reset: Value) -> None:
        self.aw = Port(bus.awvalid, bus.awready, bus.awaddr)
        self.w = Port(bus.wvalid, bus.wready, Cat(bus.wdata, bus.wstrb))
        self.ar = Port(bus.arvalid, bus.arready, bus.araddr)
        self.b = Port(bus.bvalid, bus.bready, bus.bresp)
        self.r = Port(bus.rvalid, bus.rready, Cat(bus.rdata, bus.rresp))
        for name, port in (("aw", self.aw), ("w", self.w), ("ar", self.ar)):
            behaves(m, c, name, port, reset)
        m.d.comb += [bus.bready.eq(c.free(1, "bready")), bus.rready.eq(c.free(1, "rready"))]
        self.bus = bus

    def check(self, m: Module, reset: Value) -> None:
        """All rules of the subordinate.

        Responses are held; a write is answered after its address and its data, a read after its address, each once
        and within a cycle; nothing is answered that was not asked; requests are taken within a cycle once earlier
        responses are; a response is OKAY or SLVERR (AXI4-Lite has no exclusive access).
        """
        transmits(m, "b", self.b, reset)
        transmits(m, "r", self.r, reset)
        addresses = owed(m, "aw", self.aw.moved, self.b.moved, reset)
        words = owed(m, "w", self.w.moved, self.b.moved, reset)
        reads = owed(m, "ar", self.ar.moved, self.r.moved, reset)
        check(m, "write_response_asked_for", implies(self.b.valid, (addresses != 0) & (words != 0)))
        check(m, "read_response_asked_for", implies(self.r.valid, reads != 0))
        running = ~reset
        ends(m, "write_unanswered", running & (addresses != 0) & (words != 0) & ~self.b.valid, 0)
        ends(m, "read_unanswered", running & (reads != 0) & ~self.r.valid, 0)
        both = self.aw.valid & self.w.valid
        ends(m, "write_refused", running & both & (~self.aw.ready | ~self.w.ready) & self.b.ready, 1)
        ends(m, "read_refused", running & self.ar.waits & self.r.ready, 1)
        for name, valid, response in (("b", self.b.valid, self.bus.bresp), ("r", self.r.valid, self.bus.rresp)):
            check(m, f"{name}_legal", implies(valid, (response == OKAY) | (response == SLVERR)))


class ReadManager:
    """The read channels of an AXI4 manager, with a memory that answers late but in order."""

    def __init__(self, m: Module, c: Circuit, bus: Any, reset: Value, most_beats: int) -> None:
        self.bus = bus
        self.ar = Port(
            bus.arvalid,
            bus.arready,
            Cat(bus.arid, bus.araddr, bus.arlen, bus.arsize, bus.arburst, bus.arcache, bus.arprot),
        )
        self.r = Port(bus.rvalid, bus.rready, Cat(bus.rdata, bus.rresp, bus.rlast, bus.rid))
        m.d.comb += bus.arready.eq(c.free(1, "arready"))
        behaves(m, c, "r", self.r, reset)
        self.beats = Signal(range(most_beats + 2), name="beats_owed")
        asked = named(m, self.ar.moved, "asked")
        m.d.sync += self.beats.eq(self.beats + Value.cast(asked & Const(1, 1)) * (bus.arlen + 1) - self.r.moved)
        with m.If(reset):
            m.d.sync += self.beats.eq(0)
        m.d.comb += Assume(implies(self.r.valid, self.beats != 0))
        check(m, "outstanding", self.beats <= most_beats)

    def check(self, m: Module, reset: Value, bus_bytes: int) -> None:
        """Requests are held; bursts are INCR, of whole beats of the bus's width, and stay within 4096 bytes."""
        transmits(m, "ar", self.ar, reset)
        bus, offered = self.bus, self.ar.valid
        check(m, "burst_incr", implies(offered, bus.arburst == 1))
        check(m, "size", implies(offered, (1 << bus.arsize) == bus_bytes))
        check(m, "aligned", implies(offered, bus.araddr[: bus_bytes.bit_length() - 1] == 0))
        end = bus.araddr[:12] + (bus.arlen + 1) * bus_bytes
        check(m, "within_4096_bytes", implies(offered, end <= 4096))
