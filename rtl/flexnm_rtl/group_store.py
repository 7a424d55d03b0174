"""A memory for one group of beats, filled and then read out as a stream."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.banks import BankedMemory
from flexnm_rtl.config import bits_for


class GroupStore(wiring.Component):
    """Keeps up to ``depth`` beats of ``width`` bits and sends them in the order they came in.

    ``start``: empty the store, whatever is under way. ``write``: append ``data``. ``replay``: send everything, one beat
    or more; the first one is offered two cycles later, the next ones without a bubble while ``o.ready`` is set.
    ``sent``: the last beat is taken in this cycle; the store is then empty. Nothing may be written from ``replay`` to
    ``sent``.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "start": In(1),
                "write": In(1),
                "data": In(width),
                "replay": In(1),
                "o": Out(stream.Signature(width)),
                "sent": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = BankedMemory(1, self.width, self.depth)
        next_write = Signal(bits_for(self.depth), reset_less=True)
        next_read = Signal.like(next_write)
        last = Signal.like(next_write)
        reading = Signal()  # there is more to look up
        offered = Signal()
        look_up = Signal()
        m.d.comb += [
            memory.write.eq(self.write),
            memory.write_bank.eq(0),
            memory.write_addr.eq(next_write),
            memory.data.eq(self.data),
            # The memory shows a beat until the next one is looked up.
            look_up.eq(reading & (~offered | self.o.ready)),
            memory.read.eq(look_up),
            memory.read_addr.eq(next_read),
            self.o.valid.eq(offered),
            self.o.payload.eq(memory.value),
            self.sent.eq(offered & self.o.ready & ~reading),
        ]
        with m.If(self.write):
            m.d.sync += [next_write.eq(next_write + 1), last.eq(next_write)]
        with m.If(self.replay):
            m.d.sync += reading.eq(1)
        with m.If(look_up):
            m.d.sync += [next_read.eq(next_read + 1), offered.eq(1), reading.eq(next_read != last)]
        with m.Elif(self.o.ready):
            m.d.sync += offered.eq(0)
        with m.If(self.start | self.sent):
            m.d.sync += [next_write.eq(0), next_read.eq(0), reading.eq(0), offered.eq(0)]
        return m
