"""Result registers of the array: a snapshot of all accumulators, streamed out row by row."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.config import Config
from flexnm_rtl.pipeline import stage
from flexnm_rtl.sharing import add_shared


def row_interval(cfg: Config) -> int:
    """Cycles from a row of results to the next one, if it is taken at once."""
    return 2 if cfg.short_stages else 1


class ResultRow(wiring.Component):
    """Registers of one row, ``sums``: ``capture`` takes ``totals``, else ``shift`` what the ``next`` row holds.

    ``final``: there is no next row, and nothing is shifted. ``registered``: both strobes pass a register of this row
    first.
    """

    def __init__(self, bits: int, *, final: bool, registered: bool) -> None:
        self.bits = bits
        self.final = final
        self.registered = registered
        super().__init__({"totals": In(bits), "next": In(bits), "capture": In(1), "shift": In(1), "sums": Out(bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal(self.bits, reset_less=True)
        capture = stage(m, self.registered, self.capture, "capture_here", reset_less=False)
        shift = stage(m, self.registered, self.shift, "shift_here", reset_less=False)
        with m.If(capture):
            m.d.sync += held.eq(self.totals)
        if not self.final:
            with m.Elif(shift):
                m.d.sync += held.eq(self.next)
        m.d.comb += self.sums.eq(held)
        return m


class ResultDrain(wiring.Component):
    """Copies ``rows`` x ``cols`` accumulators at ``capture`` and sends them as ``rows`` beats, row 0 first.

    ``totals``: one vector of ``cols`` accumulators per row. ``o``: stream of ``layouts.array_results``, valid in the
    cycle after ``totals`` are taken. ``finishing``: the last beat is transferred in this cycle. ``capture`` may come
    again in the cycle after ``finishing``, not before. With ``short_stages`` it comes ``early`` = 1 cycle before
    ``totals`` are to be taken, otherwise in that cycle, and rows take a cycle to move: a beat every ``interval`` = 2
    cycles at most, otherwise in every cycle.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.early = int(cfg.short_stages)
        self.interval = row_interval(cfg)
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
        valid = Signal()
        last = Signal(reset_less=True)
        after = Signal(range(cfg.rows), reset_less=True)  # rows after this one
        sent = Signal()
        rows = [self._row(m, platform, r) for r in range(cfg.rows)]
        for r, row in enumerate(rows):
            m.d.comb += [
                row.totals.eq(self.totals[r]),
                row.next.eq(rows[r + 1].sums if r + 1 < cfg.rows else 0),
                row.capture.eq(self.capture),
                row.shift.eq(sent),
            ]
        capture = stage(m, cfg.short_stages, self.capture, "capture_now", reset_less=False)
        m.d.comb += [
            self.o.valid.eq(valid),
            self.o.p.last.eq(last),
            Value.cast(self.o.p.sums).eq(rows[0].sums),
            sent.eq(self.o.valid & self.o.ready),
            self.finishing.eq(sent & self.o.p.last),
        ]
        with m.If(capture):
            m.d.sync += [valid.eq(1), last.eq(cfg.rows == 1), after.eq(cfg.rows - 1)]
        with m.Elif(sent):
            m.d.sync += [valid.eq(0 if cfg.short_stages else ~last), last.eq(after == 1), after.eq(after - 1)]
        if cfg.short_stages:
            moving = Signal()  # rows move a cycle late
            m.d.sync += moving.eq(sent & ~last)
            with m.If(moving):
                m.d.sync += valid.eq(1)
        return m

    def _row(self, m: Module, platform: object, r: int) -> Any:
        cfg = self.cfg
        final = r == cfg.rows - 1
        kind = "final_result_row" if final else "result_row"

        def build() -> ResultRow:
            return ResultRow(cfg.cols * cfg.acc_width, final=final, registered=cfg.short_stages)

        return add_shared(m, platform, kind, f"row_{r}", build)
