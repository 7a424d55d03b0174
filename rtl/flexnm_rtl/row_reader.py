"""AXI4 read master of the decode engine: a burst for every requested row of weights."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import gate
from flexnm_rtl.axi import OKAY, axi_read
from flexnm_rtl.channel_walker import row_request
from flexnm_rtl.config import Config


def weight_word(cfg: Config) -> data.StructLayout:
    """A beat of a row on its way to the multipliers: ``weights`` as the bus had them, and the row's request.

    ``beat``: number of the beat in its row; ``end``: the row's last beat. ``valid_data``: the beat carries weights;
    clear for a row that was not read, whose ``weights`` are 0.
    """
    return data.StructLayout(
        {"weights": cfg.bus_width, "beat": row_request(cfg)["beats"].shape, "end": 1, "valid_data": 1,
         "request": row_request(cfg)}
    )  # fmt: skip


class RowReader(wiring.Component):
    """Reads rows in order, up to ``outstanding`` bursts ahead of the data.

    ``i``: stream of ``row_request``. ``o``: stream of ``weight_word``, a beat a cycle when the memory delivers one.
    ``bus``: AXI4 read channels, one ID, INCR bursts of whole rows. A row of channel k in tile t lies at
    ``base`` + (t K + k) row bytes; rows are aligned to their size, a power of two up to 4096, so no burst crosses a
    4 KB boundary. ``tile_bytes``: K row bytes. ``limit``: first
    address after the region. A row beyond it is not read: ``outside`` is set for a cycle, and with it, or after a bad
    response (``bus_error`` is set for a cycle), the rest of the job goes on without reading, so that it ends.
    ``requested``: a row is read. ``start`` begins at ``base`` again.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        # A row one tile behind the last address must not come around to a row of the region.
        self.reach = max(cfg.address_width, (cfg.k_max * cfg.row_bytes).bit_length()) + 1
        super().__init__(
            {
                "i": In(stream.Signature(row_request(cfg))),
                "o": Out(stream.Signature(weight_word(cfg))),
                "bus": Out(axi_read(cfg.address_width, cfg.bus_width)),
                "start": In(1),
                "abort": In(1),
                "base": In(cfg.address_width),
                "limit": In(cfg.address_width),
                "tile_bytes": In(self.reach),
                "bus_error": Out(1),
                "outside": Out(1),
                "requested": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        shape = data.StructLayout({"request": row_request(cfg), "read": 1})
        m.submodules.queue = queue = SyncFIFOBuffered(width=shape.size, depth=cfg.outstanding)
        failed = Signal()
        self._request(m, queue, shape, failed)
        self._receive(m, queue, shape)
        with m.If(self.bus_error | self.outside | self.abort):
            m.d.sync += failed.eq(1)
        with m.If(self.start):
            m.d.sync += failed.eq(0)
        return m

    def _request(self, m: Module, queue: SyncFIFOBuffered, shape: data.StructLayout, failed: Signal) -> None:
        """An address register, so that what is offered on the bus stays, whatever happens behind it."""
        cfg = self.cfg
        bus = self.bus
        tile = Signal(self.reach, reset_less=True)
        address = Signal(self.reach)
        fits = Signal()
        free = Signal()
        moved = Signal()
        read = Signal()
        m.d.comb += [
            address.eq(tile + Cat(Const(0, cfg.row_bytes.bit_length() - 1), self.i.p.channel)),
            fits.eq((address >= self.base) & (address < self.limit) & (self.limit - address >= cfg.row_bytes)),
            free.eq(~bus.arvalid | bus.arready),
            self.i.ready.eq(free & queue.w_rdy),
            moved.eq(self.i.valid & self.i.ready),
            read.eq(fits & ~failed),
            self.outside.eq(moved & ~fits & ~failed),
            self.requested.eq(moved & read),
            queue.w_en.eq(moved),
        ]
        entry = data.View(shape, Signal(shape.size, name="queued"))
        m.d.comb += [
            Value.cast(entry.request).eq(Value.cast(self.i.p)),
            entry.read.eq(read),
            queue.w_data.eq(Value.cast(entry)),
            bus.arsize.eq((cfg.bus_width // 8).bit_length() - 1),
            bus.arburst.eq(1),
            bus.arcache.eq(0b0011),
        ]
        with m.If(free):
            m.d.sync += bus.arvalid.eq(moved & read)
        with m.If(moved):
            m.d.sync += [bus.araddr.eq(address), bus.arlen.eq(self.i.p.beats)]
            with m.If(self.i.p.last):
                m.d.sync += tile.eq(tile + self.tile_bytes)
        with m.If(self.start):
            m.d.sync += tile.eq(self.base)

    def _receive(self, m: Module, queue: SyncFIFOBuffered, shape: data.StructLayout) -> None:
        bus = self.bus
        head = data.View(shape, queue.r_data)
        beat = Signal.like(self.o.p.beat)
        taken = Signal()
        m.d.comb += [
            self.o.valid.eq(queue.r_rdy & (bus.rvalid | ~head.read)),
            # A row that is not read waits with zeros: the bus may change while it does.
            self.o.p.weights.eq(gate(head.read, bus.rdata)),
            self.o.p.beat.eq(beat),
            # The first row of a tile sets all its sums, read or not.
            self.o.p.end.eq((beat == head.request.beats) | ~(head.read | head.request.first)),
            self.o.p.valid_data.eq(head.read),
            Value.cast(self.o.p.request).eq(Value.cast(head.request)),
            taken.eq(self.o.valid & self.o.ready),
            bus.rready.eq(queue.r_rdy & head.read & self.o.ready),
            queue.r_en.eq(taken & self.o.p.end),
            self.bus_error.eq(taken & head.read & (bus.rresp != OKAY)),
        ]
        with m.If(taken):
            m.d.sync += beat.eq(Mux(self.o.p.end, 0, beat + 1))
