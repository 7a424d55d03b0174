"""Outer-product accumulation: a beat of weights times the values of all tokens, into a tile of sums."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.arith import pick
from flexnm_rtl.banks import BankedMemory
from flexnm_rtl.config import Config, bits_for
from flexnm_rtl.row_reader import weight_word


class VectorMac(wiring.Component):
    """``weights_per_bus`` x ``rows`` multipliers and two tiles of accumulators, one filling, one leaving.

    ``i``: stream of ``row_reader.weight_word``. ``o``: stream of ``layouts.array_results`` of a configuration with
    ``cols`` = ``weights_per_bus``: for each beat of the tile ``rows`` beats, the sums of one token each.
    A beat a cycle. Rows shorter than ``SETTLE`` beats wait for their sums to come back: then a row every ``SETTLE``
    cycles. A new tile waits until the tile before the last one has left. ``start`` sets everything back.
    """

    SETTLE = 3
    """Cycles from looking up an accumulator to its new value being in memory."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.sums = cfg.replace(cols=cfg.weights_per_bus, weights_per_beat=0, results_per_beat=0)
        super().__init__(
            {
                "i": In(stream.Signature(weight_word(cfg))),
                "o": Out(stream.Signature(layouts.array_results(self.sums))),
                "start": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        width = cfg.rows * cfg.weights_per_bus * cfg.acc_width
        memories = [BankedMemory(1, width, cfg.tile_beats) for _ in range(2)]
        for k, store in enumerate(memories):
            m.submodules[f"sums_{k}"] = store
        filling = Signal()
        owned = Signal(2)  # from the last beat of a tile on until its sums have left
        full = Signal(2)  # the same, but only once the last sums are in memory
        left = Signal(2)  # the memory whose last sums leave in this cycle
        taken, ends_tile = self._take(m, filling, owned)
        settled = self._accumulate(m, memories, taken, ends_tile, filling)
        read, entry = self._drain(m, memories, full, left)
        for k, store in enumerate(memories):
            with m.If(self.start | left[k]):
                m.d.sync += [owned[k].eq(0), full[k].eq(0)]
            with m.Else():
                with m.If(ends_tile & (filling == k)):
                    m.d.sync += owned[k].eq(1)
                with m.If(settled[k]):
                    m.d.sync += full[k].eq(1)
            m.d.comb += [
                store.read.eq((taken & (filling == k)) | read[k]),
                store.read_addr.eq(Mux(full[k], entry, self.i.p.beat)),
            ]
        return m

    def _take(self, m: Module, filling: Signal, owned: Signal) -> tuple[Signal, Signal]:
        """When a beat is taken, and whether it ends its tile: then the other memory is the one that is filling."""
        taken = Signal()
        ends_tile = Signal()
        settling = Signal(range(self.SETTLE))
        beats = self.i.p.request.beats
        m.d.comb += [
            self.i.ready.eq(~Mux(filling, owned[1], owned[0]) & (settling == 0)),
            taken.eq(self.i.valid & self.i.ready),
            ends_tile.eq(taken & self.i.p.end & self.i.p.request.last),
        ]
        # A beat of the next row comes no earlier than the row's length after the same beat of this one.
        with m.If(taken & self.i.p.end):
            m.d.sync += settling.eq(Mux(beats < self.SETTLE - 1, self.SETTLE - 1 - beats, 0))
        with m.Elif(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        with m.If(ends_tile):
            m.d.sync += filling.eq(~filling)
        with m.If(self.start):
            m.d.sync += [filling.eq(0), settling.eq(0)]
        return taken, ends_tile

    def _accumulate(
        self, m: Module, memories: list[BankedMemory], taken: Signal, ends_tile: Signal, filling: Signal
    ) -> list[Value]:
        """Two stages after the look-up: products beside the old sums, then the new sums into memory.

        Returns, for each memory, whether the last sums of its tile are written in this cycle.
        """
        cfg = self.cfg
        word = data.View(self.i.p.shape(), Signal(self.i.p.shape().size, name="word", reset_less=True))
        where = [Signal(name=f"where_{k}", reset_less=True) for k in range(2)]
        busy = [Signal(name=f"busy_{k}") for k in range(2)]
        ends = [Signal(name=f"ends_{k}") for k in range(2)]
        m.d.sync += [
            Value.cast(word).eq(Value.cast(self.i.p)),
            Cat(where).eq(Cat(filling, where[0])),
            Cat(busy).eq(Cat(taken, busy[0])),
            Cat(ends).eq(Cat(ends_tile, ends[0])),
        ]
        beat = Signal.like(word.beat, name="beat_1", reset_less=True)
        m.d.sync += beat.eq(word.beat)
        old = Mux(where[0], memories[1].value, memories[0].value)
        sums = []
        for row in range(cfg.rows):
            for lane in range(cfg.weights_per_bus):
                index = row * cfg.weights_per_bus + lane
                product = Signal(signed(cfg.product_width), name=f"product_{index}", reset_less=True)
                before = Signal(signed(cfg.acc_width), name=f"before_{index}", reset_less=True)
                weight = word.weights.word_select(lane, cfg.memory_weight_width)[: cfg.weight_width].as_signed()
                value = word.request["values"][row]
                kept = old.word_select(index, cfg.acc_width).as_signed()
                m.d.sync += [
                    product.eq(Mux(word.valid_data, weight * value, 0)),
                    before.eq(Mux(word.request.first, 0, kept)),
                ]
                sums.append((before + product)[: cfg.acc_width])
        for k, store in enumerate(memories):
            m.d.comb += [
                store.write.eq(busy[1] & (where[1] == k)),
                store.write_addr.eq(beat),
                store.data.eq(Cat(sums)),
            ]
        return [ends[1] & (where[1] == k) for k in range(2)]

    def _drain(self, m: Module, memories: list[BankedMemory], full: Signal, left: Signal) -> tuple[Signal, Signal]:
        """Entry by entry, row by row, out of the memory that is full; returns its look-ups."""
        cfg = self.cfg
        read = Signal(2)
        leaving = Signal()
        there = Signal()
        entry = Signal(range(cfg.tile_beats))
        row = Signal(range(cfg.rows))
        final_row = row == cfg.rows - 1
        size = self._sizes(m, leaving)
        value = Mux(leaving, memories[1].value, memories[0].value)
        width = cfg.weights_per_bus * cfg.acc_width
        tokens = [value.word_select(r, width) for r in range(cfg.rows)]
        m.d.comb += [
            self.o.valid.eq(there),
            Value.cast(self.o.p.sums).eq(pick(tokens, row)),
            self.o.p.last.eq(final_row),
        ]
        m.d.comb += read.eq(full & Cat(~leaving, leaving) & (~there).replicate(2))
        with m.If(read != 0):
            m.d.sync += there.eq(1)
        with m.If(there & self.o.ready):
            m.d.sync += row.eq(Mux(final_row, 0, row + 1))
            with m.If(final_row):
                m.d.sync += [there.eq(0), entry.eq(entry + 1)]
                with m.If(entry == size):
                    m.d.sync += [entry.eq(0), leaving.eq(~leaving)]
                    m.d.comb += left.eq(Cat(~leaving, leaving))
        with m.If(self.start):
            m.d.sync += [leaving.eq(0), there.eq(0), entry.eq(0), row.eq(0)]
        return read, entry

    def _sizes(self, m: Module, leaving: Signal) -> Value:
        """Beats, less one, of the tile that is leaving: noted with the last beat of each tile."""
        sizes = [Signal(bits_for(self.cfg.tile_beats), name=f"size_{k}", reset_less=True) for k in range(2)]
        place = Signal()
        with m.If(self.i.valid & self.i.ready & self.i.p.end & self.i.p.request.last):
            m.d.sync += place.eq(~place)
            for k, size in enumerate(sizes):
                with m.If(place == k):
                    m.d.sync += size.eq(self.i.p.request.beats)
        with m.If(self.start):
            m.d.sync += place.eq(0)
        return Mux(leaving, sizes[1], sizes[0])
