"""One port of the epilogue: which of a row's sums is at work."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import pick
from flexnm_rtl.config import bits_for
from flexnm_rtl.pipeline import delay


class ColumnChoice(wiring.Component):
    """``sum`` and ``parameters`` of the output at work, of the ``count`` that one port serves.

    ``sums``, ``all_parameters``: ``acc_width`` and ``parameter_bits`` bits each, the first output lowest. ``left``:
    outputs of the row that are left: ``count * step`` for the first one, ``step`` fewer for each one after it.
    ``registered``: ``enable`` loads the choice into a register of this port, and the sum is there from the next cycle
    on. So no number from elsewhere has to reach all of the multiplexers in the cycle in which it is made.
    """

    def __init__(self, count: int, step: int, acc_width: int, parameter_bits: int, *, registered: bool = False) -> None:
        self.count = count
        self.step = step
        self.acc_width = acc_width
        self.parameter_bits = parameter_bits
        self.registered = registered
        super().__init__(
            {
                "sums": In(count * acc_width),
                "all_parameters": In(count * parameter_bits),
                "left": In(range(count * step + 1)),
                "sum": Out(acc_width),
                "parameters": Out(parameter_bits),
            }
            | ({"enable": In(1)} if registered else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        index: Value = Const(self.count - 1, bits_for(self.count))
        for k in range(self.count - 1):
            index = Mux(self.left == (self.count - k) * self.step, Const(k, len(index)), index)
        if self.registered:
            index = Value.cast(delay(m, self.enable, index, "index"))
        for chosen, elements in ((self.sum, self.sums), (self.parameters, self.all_parameters)):
            m.d.comb += chosen.eq(pick([elements.word_select(k, len(chosen)) for k in range(self.count)], index))
        return m
