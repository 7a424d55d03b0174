"""Reads the operand memories in the order the array needs, and keeps count of the weight ring."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.act_loader import act_depth
from flexnm_rtl.config import Config, bits_for
from flexnm_rtl.loops import Loop, LoopNest
from flexnm_rtl.pipeline import StageControl, Waiting, delay
from flexnm_rtl.positions import RouteDecoder
from flexnm_rtl.weight_loader import OUTPUTS_MAX, weight_depth


class Feeder(wiring.Component):
    """Walks over a job: tiles of outputs, in each all groups of tokens, in each all blocks of channels.

    Metadata is looked up ``AHEAD`` cycles before values and weights, because its decoder has stages; what is on its way
    moves on like the stages of ``StageControl``.
    ``read``: look up the metadata at ``act_addr`` now. ``decode``: enables of its decoder, the first one a cycle later.
    ``read_operands``: look up ``value_addr`` and ``weight_addr`` now; the operands are offered to the array from the
    next cycle on: ``valid``, ``hold``, ``last``, taken with ``ready``. So an array that takes one a cycle gets it, or,
    if ``spaced``, one that takes one every other cycle.
    Latency: ``latency`` cycles from ``read`` to ``valid``.
    ``act_filled``: activation entries there are. ``weight_entered``: the ring got one more entry; ``weight_room``: it
    has a free one. A weight entry is given back with its last look-up, in the last group of its tile.
    ``wait_acts``, ``wait_weights``: the array could take an operand that is not there yet. Jobs as in the loaders.
    """

    AHEAD = RouteDecoder.STAGES
    latency = 1 + AHEAD

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        # An array of short stages that takes an operand every other cycle at most leaves strobes the time to travel.
        self.spaced = cfg.short_stages and cfg.steps > 1 and not cfg.flexible
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
                "decode": Out(RouteDecoder.STAGES),
                "read_operands": Out(1),
                "value_addr": Out(bits_for(act_depth(cfg))),
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
        waiting = Waiting.SPACED if self.spaced else Waiting.ELASTIC
        m.submodules.control = control = StageControl(self.latency, waiting)
        running = Signal()
        free = Signal()
        acts_there = Signal()
        weights_there = Signal()
        hold = Signal()
        act = Signal.like(self.act_addr)
        after = Signal.like(self.act_filled)
        tile_end = walk.beat_last & walk.k_last & walk.t_last
        m.d.comb += [
            walk.start.eq(self.start),
            walk.advance.eq(self.read),
            walk.beat_limit.eq(Mux(self.dense, cfg.dense_beats, 1)),
            walk.k_limit.eq(self.channels),
            walk.t_limit.eq(self.tokens),
            walk.o_limit.eq(self.outputs),
            free.eq(running & control.i_ready),
            control.i_valid.eq(running & acts_there & weights_there),
            self.read.eq(control.enable[0]),
            self.decode.eq(control.enable[1:]),
            self.read_operands.eq(control.enable[self.AHEAD]),
            self.valid.eq(control.o_valid),
            control.o_ready.eq(self.ready),
            self.wait_acts.eq(free & ~acts_there),
            self.wait_weights.eq(free & acts_there & ~weights_there),
            hold.eq(~walk.beat_last),
            self.act_addr.eq(act),
            self.value_addr.eq(delay(m, control.enable[: self.AHEAD], act, "value_addr")),
            self.hold.eq(delay(m, control.enable, hold, "hold")),
            self.last.eq(delay(m, control.enable, walk.k_last & walk.beat_last, "last")),
        ]
        # What will be there is compared a cycle ahead, without what comes in this cycle.
        following = Mux(tile_end, self.act_filled != 0, after < self.act_filled)
        m.d.sync += acts_there.eq(Mux(self.read, following, act < self.act_filled))
        with m.If(self.read):
            m.d.sync += [act.eq(Mux(tile_end, 0, after)), after.eq(Mux(tile_end, 1, after + 1))]
            with m.If(walk.final):
                m.d.sync += running.eq(0)
        with m.If(self.start):
            m.d.sync += [running.eq(1), act.eq(0), after.eq(1), acts_there.eq(0)]
        given_back = self._weights(m, walk, control.enable, self.read & ~hold, weights_there)
        self._room(m, given_back)
        return m

    def _room(self, m: Module, given_back: Value) -> None:
        """An entry is free when it has been looked up for the last time."""
        depth = weight_depth(self.cfg)
        held = Signal(range(depth + 1))
        back = Signal()
        # From registers, an entry that comes back two cycles later.
        m.d.sync += [
            back.eq(given_back),
            held.eq(held + self.weight_entered - back),
            self.weight_room.eq(Mux(self.weight_entered, held < depth - 1, held != depth)),
        ]
        with m.If(self.start):
            m.d.sync += [held.eq(0), self.weight_room.eq(1)]

    def _weights(self, m: Module, walk: LoopNest, enable: Value, advance: Value, there: Signal) -> Value:
        """The ring: its oldest entry is at ``tail``, the one to read next ``ahead`` entries after it.

        Returns when the look-up of an entry that was read for the last time takes place.
        """
        depth = weight_depth(self.cfg)
        used = Signal(range(depth + 1))
        ahead = Signal(range(depth))
        after_ahead = Signal(range(depth + 1))
        tail = Signal.like(self.weight_addr)
        here = Signal.like(self.weight_addr)
        give_back = Signal()

        def after(address: Signal) -> Value:
            return Mux(address == depth - 1, 0, address + 1)

        m.d.comb += [
            self.weight_addr.eq(delay(m, enable[: self.AHEAD], here, "weight_addr")),
            give_back.eq(advance & walk.t_last),
        ]
        m.d.sync += used.eq(used + self.weight_entered - give_back)
        # As for activations. An entry that is given back is missing in the next cycle.
        following = Mux(walk.k_last & ~walk.t_last, used != 0, after_ahead < used)
        m.d.sync += there.eq(Mux(advance, following, ahead < used))
        with m.If(give_back):
            m.d.sync += [tail.eq(after(tail)), here.eq(after(tail))]
        with m.Elif(advance):
            # The last block of a group: the next group starts at the tile's first entry again.
            m.d.sync += [
                here.eq(Mux(walk.k_last, tail, after(here))),
                ahead.eq(Mux(walk.k_last, 0, after_ahead)),
                after_ahead.eq(Mux(walk.k_last, 1, after_ahead + 1)),
            ]
        with m.If(self.start):
            m.d.sync += [used.eq(0), ahead.eq(0), after_ahead.eq(1), tail.eq(0), here.eq(0), there.eq(0)]
        return enable[self.AHEAD] & delay(m, enable[: self.AHEAD], give_back, "given_back")
