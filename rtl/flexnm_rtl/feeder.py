"""Reads the operand memories in the order the array needs, and keeps count of the weight ring."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.act_loader import act_depth
from flexnm_rtl.config import Config, bits_for
from flexnm_rtl.loops import Loop, LoopNest
from flexnm_rtl.weight_loader import OUTPUTS_MAX, weight_depth


class Feeder(wiring.Component):
    """Walks over a job: tiles of outputs, in each all groups of tokens, in each all blocks of channels.

    ``read``: look up ``act_addr`` and ``weight_addr`` now; the operands are offered to the array from the next cycle
    on: ``valid``, ``hold``, ``last``, taken with ``ready``. So an array that takes an operand a cycle gets one a cycle.
    ``act_filled``: activation entries there are. ``weight_entered``: the ring got one more entry; ``weight_room``: it
    has a free one. A weight entry is given back with its last read, in the last group of its tile.
    ``wait_acts``, ``wait_weights``: the array could take an operand that is not there yet. Jobs as in the loaders.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "start": In(1),
                "tokens": In(range(cfg.tokens_max + 1)),
                "channels": In(range(cfg.k_max + 1)),
                "outputs": In(range(OUTPUTS_MAX + 1)),
                "dense": In(1),
                "act_filled": In(range(act_depth(cfg) + 1)),
                "weight_entered": In(1),
                "weight_room": Out(1),
                "read": Out(1),
                "act_addr": Out(bits_for(act_depth(cfg))),
                "weight_addr": Out(bits_for(weight_depth(cfg))),
                "valid": Out(1),
                "hold": Out(1),
                "last": Out(1),
                "ready": In(1),
                "wait_acts": Out(1),
                "wait_weights": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.walk = walk = LoopNest(
            Loop("beat", cfg.dense_beats, 1),
            Loop("k", cfg.k_max, cfg.m_group),
            Loop("t", cfg.tokens_max, cfg.rows),
            Loop("o", OUTPUTS_MAX, cfg.cols),
        )
        running = Signal()
        free = Signal()
        acts_there = Signal()
        weights_there = Signal()
        hold = Signal()
        act = Signal.like(self.act_addr)
        m.d.comb += [
            walk.start.eq(self.start),
            walk.advance.eq(self.read),
            walk.beat_limit.eq(Mux(self.dense, cfg.dense_beats, 1)),
            walk.k_limit.eq(self.channels),
            walk.t_limit.eq(self.tokens),
            walk.o_limit.eq(self.outputs),
            free.eq(running & (~self.valid | self.ready)),
            acts_there.eq(act < self.act_filled),
            self.read.eq(free & acts_there & weights_there),
            self.wait_acts.eq(free & ~acts_there),
            self.wait_weights.eq(free & acts_there & ~weights_there),
            hold.eq(~walk.beat_last),
            self.act_addr.eq(act),
        ]
        with m.If(self.read):
            m.d.sync += [self.valid.eq(1), self.hold.eq(hold), self.last.eq(walk.k_last & walk.beat_last)]
            tile_end = walk.beat_last & walk.k_last & walk.t_last
            m.d.sync += act.eq(Mux(tile_end, 0, act + 1))
            with m.If(walk.final):
                m.d.sync += running.eq(0)
        with m.Elif(self.ready):
            m.d.sync += self.valid.eq(0)
        with m.If(self.start):
            m.d.sync += [running.eq(1), act.eq(0)]
        self._weights(m, walk, self.read & ~hold, weights_there)
        return m

    def _weights(self, m: Module, walk: LoopNest, advance: Value, there: Signal) -> None:
        """The ring: its oldest entry is at ``tail``, the one to read next ``ahead`` entries after it."""
        depth = weight_depth(self.cfg)
        used = Signal(range(depth + 1))
        ahead = Signal(range(depth))
        tail = Signal.like(self.weight_addr)
        here = Signal.like(self.weight_addr)
        give_back = Signal()

        def after(address: Signal) -> Value:
            return Mux(address == depth - 1, 0, address + 1)

        m.d.comb += [
            self.weight_addr.eq(here),
            self.weight_room.eq(used != depth),
            there.eq(ahead < used),
            give_back.eq(advance & walk.t_last),
        ]
        m.d.sync += used.eq(used + self.weight_entered - give_back)
        with m.If(give_back):
            m.d.sync += [tail.eq(after(tail)), here.eq(after(tail))]
        with m.Elif(advance):
            # The last block of a group: the next group starts at the tile's first entry again.
            m.d.sync += [
                here.eq(Mux(walk.k_last, tail, after(here))),
                ahead.eq(Mux(walk.k_last, 0, ahead + 1)),
            ]
        with m.If(self.start):
            m.d.sync += [used.eq(0), ahead.eq(0), tail.eq(0), here.eq(0)]
