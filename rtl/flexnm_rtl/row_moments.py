"""Sum and sum of squares of each token's values in a group."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import magnitude
from flexnm_rtl.config import Config
from flexnm_rtl.loops import Loop, LoopNest
from flexnm_rtl.row_accumulator import RowAccumulator
from flexnm_rtl.token_variance import square_sum_width, value_sum_width


class RowMoments(wiring.Component):
    """Takes ``count`` values of ``act_ports`` rows a beat, in the order chunks of rows, blocks of channels, groups.

    ``start``: begin a job of ``channels`` channels, stable from then on. ``valid``: take ``values``, signed, row 0 and
    value 0 lowest. ``final`` (in the same cycle): with ``valid``, they are the last ones of their group. ``sum``
    (signed), ``squares`` (unsigned): of the first row, ``latency`` cycles after the last beat. ``shift``: go to the
    next row; ``rows`` shifts clear all sums for the next group, which must not begin before.
    """

    latency = RowAccumulator.latency + 1

    def __init__(self, cfg: Config, count: int) -> None:
        self.cfg = cfg
        self.count = count
        self.value, self.square = signed(cfg.value_width), unsigned(2 * cfg.value_width - 1)
        self.sums = RowAccumulator(cfg, self.value, count, signed(value_sum_width(cfg)))
        self.powers = RowAccumulator(cfg, self.square, count, unsigned(square_sum_width(cfg)))
        super().__init__(
            {
                "start": In(1),
                "valid": In(1),
                "values": In(data.ArrayLayout(data.ArrayLayout(self.value, count), cfg.act_ports)),
                "channels": In(range(cfg.k_max + 1)),
                "final": Out(1),
                "shift": In(1),
                "sum": Out(signed(value_sum_width(cfg))),
                "squares": Out(square_sum_width(cfg)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        chunks = cfg.rows // cfg.act_ports
        m.submodules.sums, m.submodules.powers = self.sums, self.powers
        m.submodules.walk = walk = LoopNest(Loop("chunk", chunks, 1), Loop("k", cfg.k_max, cfg.m_group))
        m.d.comb += [
            walk.start.eq(self.start),
            walk.advance.eq(self.valid),
            walk.chunk_limit.eq(chunks),
            walk.k_limit.eq(self.channels),
            self.final.eq(walk.final),
            self.sum.eq(self.sums.total),
            self.squares.eq(self.powers.total),
        ]
        squared = Signal()
        m.d.sync += squared.eq(self.valid & ~self.start)
        for unit in (self.sums, self.powers):
            m.d.comb += [unit.start.eq(self.start), unit.valid.eq(squared), unit.shift.eq(self.shift)]
        for port in range(cfg.act_ports):
            for k in range(self.count):
                self._square(m, self.values[port][k], port, k)
        return m

    def _square(self, m: Module, value: Signal, port: int, k: int) -> None:
        """Registers of one value and its square, on their way to the sums."""
        size = Signal(self.value.width, name=f"size_{port}_{k}")
        kept = Signal(self.value, name=f"value_{port}_{k}", reset_less=True)
        square = Signal(self.square, name=f"square_{port}_{k}", reset_less=True)
        with m.If(self.valid):
            m.d.sync += [kept.eq(value), square.eq(size * size)]
        m.d.comb += [
            size.eq(magnitude(value)),
            self.sums.terms[port][k].eq(kept),
            self.powers.terms[port][k].eq(square),
        ]
