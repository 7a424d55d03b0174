"""Sums over the channels of each token of a group."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import balanced_sum
from flexnm_rtl.config import Config


class RowAccumulator(wiring.Component):
    """A total for each of ``rows`` rows, fed ``act_ports`` rows a beat: the first ones first, and round.

    term, terms: shape and number of the terms of a row in a beat. total: shape of a total, wide enough for all terms.
    ``start``: all totals are 0, beats on their way are dropped. ``valid``: ``terms`` (row 0 of the beat lowest) are
    added, seen in the totals after ``latency`` cycles. ``total``: of the first row, once all beats of a block are in.
    ``shift``: the next row is the first one; the last row begins again at 0, so ``rows`` shifts clear all totals. Not
    while a beat is on its way. Beats of all chunks of a block must have come before a ``shift``.
    """

    latency = 2

    def __init__(self, cfg: Config, term: Shape, terms: int, total: Shape) -> None:
        self.cfg = cfg
        self.terms_in = terms
        self.total_shape = total
        super().__init__(
            {
                "start": In(1),
                "valid": In(1),
                "terms": In(data.ArrayLayout(data.ArrayLayout(term, terms), cfg.act_ports)),
                "shift": In(1),
                "total": Out(total),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        arrived = Signal()
        m.d.sync += arrived.eq(self.valid & ~self.start)
        totals = [Signal(self.total_shape, name=f"total_{row}", reset_less=True) for row in range(cfg.rows)]
        added = []
        for port in range(cfg.act_ports):
            tree = balanced_sum([self.terms[port][k] for k in range(self.terms_in)])
            partial = Signal(tree.shape(), name=f"partial_{port}", reset_less=True)
            with m.If(self.valid):
                m.d.sync += partial.eq(tree)
            added.append((totals[port] + partial)[: len(totals[port])])
        m.d.comb += self.total.eq(totals[0])
        # A ring instead of an index: the rows of a beat are always the first ones, and go to the end.
        with m.If(arrived):
            m.d.sync += Cat(totals).eq(Cat(totals[cfg.act_ports :], added))
        with m.If(self.shift):
            m.d.sync += Cat(totals).eq(Cat(totals[1:], Const(0, Shape.cast(self.total_shape).width)))
        with m.If(self.start):
            m.d.sync += Cat(totals).eq(0)
        return m
