"""Measures, token by token, how much variance the selection keeps."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import GAIN_WIDTH, Config
from flexnm_rtl.layouts import kept_values, values
from flexnm_rtl.row_moments import RowMoments
from flexnm_rtl.row_sequence import RowSequence
from flexnm_rtl.token_variance import TokenVariance


class VarianceMeter(wiring.Component):
    """Watches a job's values before and after their selection and gives the gain of each token (``TokenVariance``).

    ``start``: begin a job; ``channels``, ``enable`` are stable from then on, and without ``enable`` nothing happens.
    ``before_valid``: take ``before``, ``act_ports`` blocks of M signed values, padding 0; ``after_valid``: take
    ``after``, the same blocks' N kept values each. Both in the order chunks of ``act_ports`` rows, blocks, groups; a
    group is complete on the ``after`` side no sooner than on the other.
    ``hold``: from the cycle after the last ``before`` beat of a group until the group's last gain; a ``before`` beat
    meanwhile is not allowed. ``nu_valid``: for a cycle, ``nu`` (unsigned, ``GAIN_FRACTION`` bits below 1) is the gain
    of token ``token`` of the job, in ascending order; rows that only fill up the last group are tokens too.
    The first gain comes ``latency`` cycles after the last ``after`` beat of a group, the next ones ``interval`` cycles
    apart.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.variance = TokenVariance(cfg)
        self.interval = self.variance.latency + 1
        self.latency = RowMoments.latency + self.interval
        self.sequence = RowSequence(cfg, RowMoments.latency)
        self.before_values = data.ArrayLayout(values(cfg), cfg.act_ports)
        self.after_values = data.ArrayLayout(kept_values(cfg), cfg.act_ports)
        super().__init__(
            {
                "start": In(1),
                "channels": In(range(cfg.k_max + 1)),
                "enable": In(1),
                "before_valid": In(1),
                "before": In(self.before_values),
                "after_valid": In(1),
                "after": In(self.after_values),
                "hold": Out(1),
                "nu_valid": Out(1),
                "token": Out(len(self.sequence.token)),
                "nu": Out(GAIN_WIDTH),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.token_variance = variance = self.variance
        m.submodules.sequence = sequence = self.sequence
        m.submodules.before_moments = before = RowMoments(cfg, cfg.m_group)
        m.submodules.after_moments = after = RowMoments(cfg, cfg.n_keep)
        hold = Signal()
        m.d.comb += [
            before.valid.eq(self.before_valid & self.enable),
            before.values.eq(self.before),
            after.valid.eq(self.after_valid & self.enable),
            after.values.eq(self.after),
            sequence.start.eq(self.start),
            sequence.group.eq(after.valid & after.final),
            sequence.done.eq(variance.done),
            variance.start.eq(sequence.begin),
            variance.channels.eq(self.channels),
            variance.before_sum.eq(before.sum),
            variance.before_squares.eq(before.squares),
            variance.after_sum.eq(after.sum),
            variance.after_squares.eq(after.squares),
            self.hold.eq(hold),
            self.nu_valid.eq(sequence.valid),
            self.token.eq(sequence.token),
            self.nu.eq(variance.nu),
        ]
        for unit in (before, after):
            m.d.comb += [
                unit.start.eq(self.start),
                unit.channels.eq(self.channels),
                unit.shift.eq(sequence.valid),
            ]
        with m.If(before.valid & before.final):
            m.d.sync += hold.eq(1)
        with m.If(self.start | (sequence.valid & sequence.last)):
            m.d.sync += hold.eq(0)
        return m
