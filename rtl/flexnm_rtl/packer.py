"""Packs results into beats of constant width: one wide element a place, or several narrow ones."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.axi import axi_stream


class Packer(wiring.Component):
    """``count`` signed elements of ``wide`` bits in, an AXI4-Stream beat of as many bits out.

    Wide: a beat for every input. ``narrow``: the low ``narrow`` bits of the elements of wide/narrow inputs, the first
    input lowest. A job's last beat may be partly filled: ``tkeep`` marks its bytes, contiguous from byte 0.
    ``valid``, ``ready``, ``last``: handshake of the input; ``o``: the beats, from a register. ``start`` forgets what
    was collected.
    """

    def __init__(self, count: int, *, wide: int, narrow: int) -> None:
        self.count = count
        self.wide_bits = wide
        self.narrow_bits = narrow
        self.ratio = wide // narrow
        beat = data.ArrayLayout(signed(wide), count)
        super().__init__(
            {
                "elements": In(data.ArrayLayout(signed(wide), count)),
                "narrow": In(1),
                "valid": In(1),
                "ready": Out(1),
                "last": In(1),
                "start": In(1),
                "o": Out(axi_stream(beat, keep=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        part_bits = self.count * self.narrow_bits
        part_bytes = part_bits // 8
        place = Signal(range(self.ratio))
        full = Signal()
        taken = Signal()
        parts = [Signal(part_bits, name=f"part_{k}", reset_less=True) for k in range(self.ratio)]
        # A register for every byte: one shared by a part's bytes would read as a loop in the port it drives.
        keeps = [Signal(part_bytes, name=f"keep_{k}", reset_less=True) for k in range(self.ratio)]
        valid = Signal()
        last = Signal(reset_less=True)
        narrow = Cat(element.as_unsigned()[: self.narrow_bits] for element in self.elements)
        wide = Value.cast(self.elements)
        m.d.comb += [
            full.eq(~self.narrow | (place == self.ratio - 1) | self.last),
            # Parts are collected in the output register itself, so it must be empty or on its way out.
            self.ready.eq(~valid | self.o.tready),
            taken.eq(self.valid & self.ready),
            self.o.tvalid.eq(valid),
            self.o.tlast.eq(last),
            Value.cast(self.o.tdata).eq(Cat(parts)),
            self.o.tkeep.eq(Cat(keeps)),
        ]
        with m.If(self.o.tvalid & self.o.tready):
            m.d.sync += valid.eq(0)
        with m.If(taken):
            m.d.sync += [valid.eq(full), last.eq(self.last), place.eq(Mux(full, 0, place + 1))]
            for k in range(self.ratio):
                here = place == k
                with m.If(~self.narrow):
                    m.d.sync += [parts[k].eq(wide.word_select(k, part_bits)), keeps[k].eq(-1)]
                with m.Elif(here):
                    m.d.sync += [parts[k].eq(narrow), keeps[k].eq(-1)]
                with m.Elif(place == 0):
                    m.d.sync += [parts[k].eq(0), keeps[k].eq(0)]
        with m.If(self.start):
            m.d.sync += place.eq(0)
        return m
