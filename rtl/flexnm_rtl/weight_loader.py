"""Weights of a job: from the stream into the ring of weight blocks and the parameter memory."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import Config, bits_for
from flexnm_rtl.engine_layouts import weight_beat
from flexnm_rtl.loops import Loop, LoopNest
from flexnm_rtl.packet_guard import PacketGuard

OUTPUTS_MAX = (1 << 24) - 1
PARAMETER_SLOTS = 4
"""Tiles whose parameters are kept: one at work in the epilogue, one in the array, and two loaded ahead."""


def weight_depth(cfg: Config) -> int:
    """Entries of the weight ring, each a block of ``cols`` outputs: two tiles of the longest rows."""
    return 2 * cfg.blocks(cfg.k_max)


class WeightLoader(wiring.Component):
    """Takes the weight packet of a job, tile by tile of ``cols`` outputs.

    ``i``: stream of ``engine_layouts.weight_beat`` and ``last``, in the order outputs inside a block, blocks inside a
    tile, tiles. With ``with_parameters`` a tile starts with ``parameter_words`` more words, whose slots hold the
    outputs' parameters. ``channels``, ``outputs``: the job, stable from ``start`` on.
    ``write``, ``bank``, ``addr``, ``data``: weight words into a ring of ``weight_depth`` entries; ``entered``: an entry
    is complete; ``room``: the ring has a free entry. ``write_parameters``, ``parameter_bank``, ``parameter_slot``,
    ``parameters``: parameter words; ``parameters_entered``: those of a tile are complete; ``parameter_room``: a slot is
    free. Takes a beat a cycle while there is room. ``short``, ``long``, ``abort``: see ``PacketGuard``.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.chunks = cfg.cols // cfg.weight_ports
        self.depth = weight_depth(cfg)
        self.words = cfg.parameter_words
        self.guard = PacketGuard(weight_beat(cfg))
        super().__init__(
            {
                "i": In(self.guard.i.signature.flip()),
                "start": In(1),
                "abort": In(1),
                "channels": In(range(cfg.k_max + 1)),
                "outputs": In(range(OUTPUTS_MAX + 1)),
                "with_parameters": In(1),
                "write": Out(1),
                "bank": Out(bits_for(self.chunks)),
                "addr": Out(bits_for(self.depth)),
                "data": Out(cfg.weight_ports * cfg.m_group * cfg.weight_width),
                "entered": Out(1),
                "room": In(1),
                "write_parameters": Out(1),
                "parameter_bank": Out(bits_for(self.chunks * self.words)),
                "parameter_slot": Out(range(PARAMETER_SLOTS)),
                "parameters": Out(cfg.weight_ports * cfg.parameter_slice),
                "parameters_entered": Out(1),
                "parameter_room": In(1),
                "short": Out(1),
                "long": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        header = self.words * cfg.m_group  # channels' worth of parameter words
        m.submodules.guard = guard = self.guard
        m.submodules.walk = walk = LoopNest(
            Loop("chunk", self.chunks, 1),
            Loop("k", cfg.k_max + header, cfg.m_group),
            Loop("o", OUTPUTS_MAX, cfg.cols),
        )
        wiring.connect(m, wiring.flipped(self.i), guard.i)
        words_left = Signal(range(self.words + 1))  # of this tile's parameters
        first_words = Mux(self.with_parameters, self.words, 0)
        in_header = Signal()
        moved = Signal()
        m.d.comb += [
            guard.start.eq(self.start),
            guard.abort.eq(self.abort),
            guard.final.eq(walk.final),
            self.short.eq(guard.short),
            self.long.eq(guard.long),
            walk.start.eq(self.start),
            walk.advance.eq(moved),
            walk.chunk_limit.eq(self.chunks),
            walk.k_limit.eq(self.channels + Mux(self.with_parameters, header, 0)),
            walk.o_limit.eq(self.outputs),
            in_header.eq(words_left != 0),
            guard.o.ready.eq(Mux(in_header, self.parameter_room, self.room)),
            moved.eq(guard.o.valid & guard.o.ready),
        ]
        with m.If(moved & walk.chunk_last):
            m.d.sync += words_left.eq(Mux(walk.k_last, first_words, Mux(in_header, words_left - 1, 0)))
        slots = [guard.o.p[port] for port in range(cfg.weight_ports)]
        addr = Signal.like(self.addr)
        chunk = Signal.like(self.bank)
        m.d.comb += [
            self.write.eq(moved & ~in_header),
            self.bank.eq(chunk),
            self.addr.eq(addr),
            self.data.eq(Cat(Value.cast(slot.weights) for slot in slots)),
            self.entered.eq(self.write & walk.chunk_last),
        ]
        with m.If(moved):
            m.d.sync += chunk.eq(Mux(walk.chunk_last, 0, chunk + 1))
        with m.If(self.entered):
            m.d.sync += addr.eq(Mux(addr == self.depth - 1, 0, addr + 1))
        bank = Signal.like(self.parameter_bank)
        slot = Signal.like(self.parameter_slot)
        m.d.comb += [
            self.write_parameters.eq(moved & in_header),
            self.parameter_bank.eq(bank),
            self.parameter_slot.eq(slot),
            self.parameters.eq(Cat(Value.cast(s.parameter_bits) for s in slots)),
            self.parameters_entered.eq(self.write_parameters & (bank == self.words * self.chunks - 1)),
        ]
        with m.If(self.write_parameters):
            m.d.sync += bank.eq(Mux(self.parameters_entered, 0, bank + 1))
        with m.If(self.parameters_entered):
            m.d.sync += slot.eq(slot + 1)
        with m.If(self.start):
            m.d.sync += [addr.eq(0), chunk.eq(0), bank.eq(0), slot.eq(0), words_left.eq(first_words)]
        return m
