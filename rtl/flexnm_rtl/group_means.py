"""The means of the tokens of a group."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import gate
from flexnm_rtl.config import Config, sum_bits
from flexnm_rtl.layouts import activations
from flexnm_rtl.loops import Loop, LoopNest
from flexnm_rtl.row_accumulator import RowAccumulator
from flexnm_rtl.row_sequence import RowSequence
from flexnm_rtl.token_mean import TokenMean


class GroupMeans(wiring.Component):
    """Watches the dense blocks of a job and gives the mean of each token (``TokenMean``), one after the other.

    ``start``: begin a job of ``channels`` channels, stable from then on; whatever is under way is dropped.
    ``valid``: take ``blocks``, M signed activations of ``act_ports`` rows, row 0 and channel 0 lowest, in the order
    chunks of rows, blocks, groups; channels beyond ``channels`` do not count. ``final`` (in the same cycle): with
    ``valid``, it is the last beat of its group; the next group must not begin before ``done``.
    ``mean_valid``: for a cycle, ``mean`` (signed) is that of row ``row`` of the group, token ``token`` of the job, in
    ascending order; rows that only fill up the last group are tokens too. ``means``: of all rows, row 0 lowest, from
    the cycle after the last one on until the first one of the next group. ``done``: for that cycle, ``latency`` cycles
    after the group's last beat.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.mean_unit = TokenMean(cfg)
        self.sequence = RowSequence(cfg, RowAccumulator.latency)
        self.latency = RowAccumulator.latency + cfg.rows * (self.mean_unit.latency + 1) + 1
        mean = signed(cfg.shift_width)
        super().__init__(
            {
                "start": In(1),
                "channels": In(range(cfg.k_max + 1)),
                "valid": In(1),
                "blocks": In(data.ArrayLayout(activations(cfg), cfg.act_ports)),
                "final": Out(1),
                "mean_valid": Out(1),
                "row": Out(len(self.sequence.row)),
                "token": Out(len(self.sequence.token)),
                "mean": Out(mean),
                "means": Out(data.ArrayLayout(mean, cfg.rows)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        chunks = cfg.rows // cfg.act_ports
        m.submodules.unit = unit = self.mean_unit
        m.submodules.sequence = sequence = self.sequence
        m.submodules.walk = walk = LoopNest(Loop("chunk", chunks, 1), Loop("k", cfg.k_max, cfg.m_group))
        sums = RowAccumulator(cfg, signed(cfg.act_width), cfg.m_group, signed(sum_bits(cfg.k_max, cfg.act_width)))
        m.submodules.sums = sums
        done = Signal()
        means = Signal(cfg.rows * cfg.shift_width, reset_less=True)
        m.d.comb += [
            walk.start.eq(self.start),
            walk.advance.eq(self.valid),
            walk.chunk_limit.eq(chunks),
            walk.k_limit.eq(self.channels),
            self.final.eq(walk.final),
            sums.start.eq(self.start),
            sums.valid.eq(self.valid),
            sums.shift.eq(sequence.valid),
            sequence.start.eq(self.start),
            sequence.group.eq(self.valid & walk.final),
            sequence.done.eq(unit.done),
            unit.start.eq(sequence.begin),
            unit.sum.eq(sums.total),
            unit.channels.eq(self.channels),
            self.mean_valid.eq(sequence.valid),
            self.row.eq(sequence.row),
            self.token.eq(sequence.token),
            self.mean.eq(unit.mean),
            self.means.as_value().eq(means),
            self.done.eq(done),
        ]
        for port in range(cfg.act_ports):
            for k in range(cfg.m_group):
                m.d.comb += sums.terms[port][k].eq(gate(walk.k_left > k, self.blocks[port][k]))
        with m.If(sequence.valid):  # rows enter at the top, so that row 0 ends up at the bottom
            m.d.sync += means.eq(Cat(means[cfg.shift_width :], unit.mean))
        m.d.sync += done.eq(sequence.valid & sequence.last & ~self.start)
        return m
