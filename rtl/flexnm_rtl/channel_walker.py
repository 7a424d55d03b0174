"""From token entries to the channels whose weights are read, tile after tile."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import any_of, gate
from flexnm_rtl.config import Config, bits_for
from flexnm_rtl.loops import Loop, LoopNest
from flexnm_rtl.token_loader import token_entry
from flexnm_rtl.weight_loader import OUTPUTS_MAX


def row_request(cfg: Config) -> data.StructLayout:
    """A row of weights to read and what to do with it.

    ``channel``: input channel; ``values``: of all tokens; ``beats``: beats of the row, less one; ``first``: the first
    row of its tile, ``last``: the last one.
    """
    return data.StructLayout(
        {
            "channel": bits_for(cfg.k_max),
            "values": data.ArrayLayout(signed(cfg.act_width), cfg.rows),
            "beats": bits_for(cfg.tile_beats),
            "first": 1,
            "last": 1,
        }
    )


class ChannelWalker(wiring.Component):
    """Sends a request for every marked channel, lowest first, block by block, for every tile of outputs.

    ``read``, ``addr``: look up the token memory; ``entry``: what was looked up, in the next cycle, kept until the next
    ``read``. ``filled``: entries there are. ``o``: stream of ``row_request``, one a cycle when entries are there.
    ``channels``, ``outputs``: the job, stable from ``start`` on. Every block has at least one marked
    channel.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.depth = cfg.blocks(cfg.k_max)
        super().__init__(
            {
                "start": In(1),
                "channels": In(range(cfg.k_max + 1)),
                "outputs": In(range(OUTPUTS_MAX + 1)),
                "filled": In(range(self.depth + 1)),
                "read": Out(1),
                "addr": Out(bits_for(self.depth)),
                "entry": In(token_entry(cfg)),
                "o": Out(stream.Signature(row_request(cfg))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fetched = self._fetch(m)
        self._send(m, *fetched)
        return m

    def _fetch(self, m: Module) -> tuple[Signal, Signal, Signal, Signal, Signal]:
        """Look entries up ahead; what the memory shows, whether it is there, and where in the tile it is."""
        cfg = self.cfg
        m.submodules.walk = walk = LoopNest(Loop("k", cfg.k_max, cfg.m_group), Loop("o", OUTPUTS_MAX, cfg.tile_outputs))
        running = Signal()
        there = Signal()
        take = Signal()
        block = Signal.like(self.addr)
        first = Signal(reset_less=True)
        last = Signal(reset_less=True)
        beats = Signal(bits_for(cfg.tile_beats), reset_less=True)
        left = Mux(walk.o_last, walk.o_left, cfg.tile_outputs)[: bits_for(cfg.tile_outputs + 1)]
        m.d.comb += [
            walk.start.eq(self.start),
            walk.advance.eq(self.read),
            walk.k_limit.eq(self.channels),
            walk.o_limit.eq(self.outputs),
            self.addr.eq(block),
            self.read.eq(running & (block < self.filled) & (~there | take)),
        ]
        with m.If(self.read):
            m.d.sync += [
                there.eq(1),
                first.eq(block == 0),
                last.eq(walk.k_last),
                beats.eq((left - 1)[cfg.weights_per_bus.bit_length() - 1 :]),
                block.eq(Mux(walk.k_last, 0, block + 1)),
                running.eq(~walk.final),
            ]
        with m.Elif(take):
            m.d.sync += there.eq(0)
        with m.If(self.start):
            m.d.sync += [running.eq(1), there.eq(0), block.eq(0)]
        return there, take, first, last, beats

    def _send(self, m: Module, there: Signal, take: Signal, first: Signal, last: Signal, beats: Signal) -> None:
        """One request a cycle from the entry at work."""
        cfg = self.cfg
        mask = Signal(cfg.m_group)
        values = Signal(cfg.rows * cfg.block_bits, reset_less=True)
        base = Signal(bits_for(cfg.k_max))
        opening, closing = Signal(), Signal()
        size = Signal.like(beats)
        lowest = Signal(cfg.m_group)
        rest = Signal(cfg.m_group)
        free = Signal()
        m.d.comb += [
            lowest.eq(mask & -mask),
            rest.eq(mask & ~lowest),
            free.eq(~self.o.valid | self.o.ready),
            take.eq(there & ((mask == 0) | (free & (rest == 0)))),
        ]
        bits = bits_for(cfg.m_group)
        number = any_of([gate(lowest[i], Const(i, bits)) for i in range(cfg.m_group)])
        chosen = Cat(
            any_of(
                [gate(lowest[i], values.word_select(row * cfg.m_group + i, cfg.act_width)) for i in range(cfg.m_group)]
            )
            for row in range(cfg.rows)
        )
        with m.If(free):
            m.d.sync += self.o.valid.eq(mask != 0)
            with m.If(mask != 0):
                m.d.sync += [
                    self.o.p.channel.eq(base + number),
                    Value.cast(self.o.p["values"]).eq(chosen),
                    self.o.p.beats.eq(size),
                    self.o.p.first.eq(opening),
                    self.o.p.last.eq(closing & (rest == 0)),
                    mask.eq(rest),
                    opening.eq(0),
                ]
        upcoming = Signal(bits_for(cfg.k_max))
        with m.If(take):
            m.d.sync += [
                mask.eq(self.entry.mask),
                values.eq(Value.cast(self.entry["values"])),
                opening.eq(first),
                closing.eq(last),
                size.eq(beats),
                base.eq(Mux(first, 0, upcoming)),
                upcoming.eq(Mux(first, cfg.m_group, upcoming + cfg.m_group)),
            ]
        with m.If(self.start):
            m.d.sync += [mask.eq(0), self.o.valid.eq(0)]
