"""One port of the epilogue: which of a row's sums is at work."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import pick
from flexnm_rtl.config import Config, bits_for
from flexnm_rtl.pipeline import delay


class ColumnChoice(wiring.Component):
    """``sum`` and ``parameters`` of the output at work, of the ``count`` outputs of a row that one port serves.

    ``sums``, ``all_parameters``: ``acc_width`` and ``parameter_bits`` bits each, the first output lowest. ``left``:
    outputs of the row that are left: ``cols`` for the first one, ``result_ports`` fewer for each one after it.
    With ``short_stages`` ``enable`` loads the choice into a register of this port, and the sum is there from the next
    cycle on. So no number from elsewhere has to reach all of the multiplexers in the cycle in which it is made.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.count = cfg.cols // cfg.result_ports
        super().__init__(
            {
                "sums": In(self.count * cfg.acc_width),
                "all_parameters": In(self.count * cfg.parameter_bits),
                "left": In(range(cfg.cols + 1)),
                "sum": Out(cfg.acc_width),
                "parameters": Out(cfg.parameter_bits),
            }
            | ({"enable": In(1)} if cfg.short_stages else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        index: Value = Const(self.count - 1, bits_for(self.count))
        for k in range(self.count - 1):
            index = Mux(self.left == (self.count - k) * self.cfg.result_ports, Const(k, len(index)), index)
        if self.cfg.short_stages:
            index = Value.cast(delay(m, self.enable, index, "index"))
        for chosen, elements in ((self.sum, self.sums), (self.parameters, self.all_parameters)):
            m.d.comb += chosen.eq(pick([elements.word_select(k, len(chosen)) for k in range(self.count)], index))
        return m
