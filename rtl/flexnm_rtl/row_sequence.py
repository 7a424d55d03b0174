"""Runs one serial unit over the rows of a group."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import Config, bits_for, ceil_div


class RowSequence(wiring.Component):
    """Starts a unit for each row in turn and counts its results, ``settle`` cycles (1 or more) after a group's end.

    ``start``: begin a job; rows under way are dropped. ``group``: a group's last beat is in, for a cycle; the next one
    only after the ``last`` row. ``begin``: starts the unit, first ``settle`` + 1 cycles after ``group``. ``done``: of
    the unit, after a cycle or more. ``valid``: in the cycle of ``done``, its result is that of ``row`` of the group and
    ``token`` of the job, rows that only fill up the last group included. ``last``: with ``valid``, the group's last
    row. The next ``begin`` follows in the cycle after.
    """

    def __init__(self, cfg: Config, settle: int) -> None:
        self.cfg = cfg
        self.settle = settle
        super().__init__(
            {
                "start": In(1),
                "group": In(1),
                "begin": Out(1),
                "done": In(1),
                "valid": Out(1),
                "last": Out(1),
                "row": Out(bits_for(cfg.rows)),
                "token": Out(bits_for(ceil_div(cfg.tokens_max, cfg.rows) * cfg.rows)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        settling = Signal(self.settle)
        active = Signal()
        begin = Signal()
        row = Signal.like(self.row)
        token = Signal.like(self.token)
        m.d.comb += [
            self.begin.eq(begin),
            # What is done as a unit starts belongs to a job that was given up.
            self.valid.eq(active & self.done & ~begin),
            self.last.eq(row == self.cfg.rows - 1),
            self.row.eq(row),
            self.token.eq(token),
        ]
        m.d.sync += [settling.eq(Cat(self.group, settling)), begin.eq(0)]
        with m.If(settling[-1]):
            m.d.sync += [active.eq(1), begin.eq(1)]
        with m.If(self.valid):
            m.d.sync += [token.eq(token + 1), row.eq(row + 1), begin.eq(1)]
            with m.If(self.last):
                m.d.sync += [row.eq(0), begin.eq(0), active.eq(0)]
        with m.If(self.start):
            m.d.sync += [settling.eq(0), active.eq(0), begin.eq(0), row.eq(0), token.eq(0)]
        return m
