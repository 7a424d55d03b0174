"""Result registers of the array: a snapshot of all accumulators, streamed out row by row."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.config import Config


class ResultDrain(wiring.Component):
    """Copies ``rows`` x ``cols`` accumulators at ``capture`` and sends them as ``rows`` beats, row 0 first.

    ``totals``: one vector of ``cols`` accumulators per row. ``o``: stream of ``layouts.array_results``, valid in the
    cycle after ``capture``. ``finishing``: the last beat is transferred in this cycle. ``capture`` may come again in
    the cycle after ``finishing``, not before.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        row_bits = cfg.cols * cfg.acc_width
        super().__init__(
            {
                "totals": In(data.ArrayLayout(row_bits, cfg.rows)),
                "capture": In(1),
                "finishing": Out(1),
                "o": Out(stream.Signature(layouts.array_results(cfg))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        row_bits = cfg.cols * cfg.acc_width
        captured = [Signal(row_bits, name=f"row_{r}", reset_less=True) for r in range(cfg.rows)]
        left = Signal(range(cfg.rows + 1))
        sent = Signal()
        shift = Signal()
        first = Value.cast(captured[0])
        if cfg.short_stages:
            # The shift of so many registers comes a cycle late, from a register; until then the next row is on top.
            m.d.sync += shift.eq(sent)
            first = Mux(shift, captured[min(1, cfg.rows - 1)], first)
        else:
            m.d.comb += shift.eq(sent)
        m.d.comb += [
            self.o.valid.eq(left != 0),
            self.o.p.last.eq(left == 1),
            Value.cast(self.o.p.sums).eq(first),
            sent.eq(self.o.valid & self.o.ready),
            self.finishing.eq(sent & self.o.p.last),
        ]
        with m.If(self.capture):
            m.d.sync += [left.eq(cfg.rows), Cat(captured).eq(Value.cast(self.totals))]
        with m.Else():
            with m.If(sent):
                m.d.sync += left.eq(left - 1)
            with m.If(shift):
                m.d.sync += Cat(captured[:-1]).eq(Cat(captured[1:]))
        return m
