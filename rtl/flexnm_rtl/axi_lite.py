"""AXI4-Lite to plain register accesses."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.axi import OKAY, SLVERR, axi_lite


class AxiLiteSubordinate(wiring.Component):
    """One write and one read at a time.

    ``bus``: AXI4-Lite. ``write``: set for a cycle, with ``write_index`` (word address), ``write_data`` and
    ``write_mask`` (bits the strobes allow); ``write_ok`` answers in the same cycle, clear for SLVERR.
    ``read_index``: the word asked for; ``read_data`` (0 where there is none) and ``read_ok`` answer in the same cycle.
    A response is offered in the cycle after an address (and data) was taken. The low two address bits are ignored.
    """

    def __init__(self, addr_width: int) -> None:
        super().__init__(
            {
                "bus": In(axi_lite(addr_width)),
                "write": Out(1),
                "write_index": Out(addr_width - 2),
                "write_data": Out(32),
                "write_mask": Out(32),
                "write_ok": In(1),
                "read_index": Out(addr_width - 2),
                "read_data": In(32),
                "read_ok": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus = self.bus
        read = Signal()
        m.d.comb += [
            self.write.eq(bus.awvalid & bus.wvalid & ~bus.bvalid),
            bus.awready.eq(self.write),
            bus.wready.eq(self.write),
            self.write_index.eq(bus.awaddr[2:]),
            self.write_data.eq(bus.wdata),
            self.write_mask.eq(Cat(bit.replicate(8) for bit in bus.wstrb)),
            bus.arready.eq(~bus.rvalid),
            read.eq(bus.arvalid & bus.arready),
            self.read_index.eq(bus.araddr[2:]),
        ]
        with m.If(self.write):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(Mux(self.write_ok, OKAY, SLVERR))]
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(read):
            m.d.sync += [
                bus.rvalid.eq(1),
                bus.rresp.eq(Mux(self.read_ok, OKAY, SLVERR)),
                bus.rdata.eq(self.read_data),
            ]
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        return m
