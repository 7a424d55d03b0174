"""Control of the array: joins the operand streams, counts steps, tracks token groups."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Sequencer(wiring.Component):
    """Turns joined activation and weight beats into strobes for banks, processing elements and result registers.

    A beat is taken when both streams offer one and the previous beat is at its last step. ``load`` fills the operand
    banks; in each of the ``steps`` cycles from the next one on, ``multiply`` is set, with ``shift`` to the next step.
    ``runtime_steps``: a beat takes as many as the port ``steps`` says, 1 .. ``steps``, stable while beats are there.
    ``accumulate`` and ``clear`` follow ``multiply`` by one cycle. ``capture`` comes when the accumulators hold a
    finished token group, ``pe_latency`` cycles after its last ``multiply``.
    The last step of a group waits until the results of the previous one have left (the cycle after ``drained``), so
    processing elements never have to stall in mid-flight.
    """

    def __init__(self, steps: int, pe_latency: int, *, runtime_steps: bool = False) -> None:
        self.most_steps = steps
        self.runtime_steps = runtime_steps
        self.pe_latency = pe_latency
        super().__init__(
            ({"steps": In(range(steps + 1))} if runtime_steps else {})
            | {
                "acts_valid": In(1),
                "acts_ready": Out(1),
                "weights_valid": In(1),
                "weights_ready": Out(1),
                "hold": In(1),
                "last": In(1),
                "load": Out(1),
                "shift": Out(1),
                "multiply": Out(1),
                "accumulate": Out(1),
                "clear": Out(1),
                "capture": Out(1),
                "drained": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        busy = Signal()
        group_start = Signal(init=1)
        last = Signal()
        step = Signal(range(self.most_steps))
        undrained = Signal()
        final = Signal(init=self.most_steps == 1)  # the last step is at work, or comes first
        ends_group = Signal()
        group_done = Signal()
        free = Signal(init=1)  # ~busy | (multiply & final), from a register; a cycle late after a wait for results
        most = self.most_steps
        single = self.steps == 1 if self.runtime_steps else Const(most == 1, 1)
        last_but_one = step + 2 == self.steps if self.runtime_steps else Const(0, 1) if most == 1 else step == most - 2
        m.d.comb += [
            ends_group.eq(final & last),
            self.multiply.eq(busy & ~(ends_group & undrained)),
            self.shift.eq(self.multiply),
            self.load.eq(free & self.acts_valid & self.weights_valid),
            self.acts_ready.eq(free & self.weights_valid),
            self.weights_ready.eq(free & self.acts_valid & ~self.hold),
        ]
        next_last = Mux(self.load, self.last & ~self.hold, last)
        next_final = Mux(self.load, single, Mux(self.multiply, Mux(final, single, last_but_one), final))
        next_busy = self.load | (busy & ~(self.multiply & final))
        m.d.sync += free.eq(~next_busy | (next_final & ~(next_last & (undrained | group_done))))
        with m.If(self.multiply):
            m.d.sync += [step.eq(step + 1), final.eq(last_but_one), group_start.eq(ends_group)]
            with m.If(final):
                m.d.sync += [step.eq(0), busy.eq(0), final.eq(single)]
        with m.If(self.load):
            m.d.sync += [busy.eq(1), last.eq(self.last & ~self.hold), final.eq(single)]

        m.d.sync += [self.accumulate.eq(self.multiply), self.clear.eq(group_start)]
        finished = Signal(self.pe_latency)
        m.d.comb += [group_done.eq(self.multiply & ends_group), self.capture.eq(finished[-1])]
        m.d.sync += finished.eq(Cat(group_done, finished))
        with m.If(group_done):
            m.d.sync += undrained.eq(1)
        with m.Elif(self.drained):
            m.d.sync += undrained.eq(0)
        return m
