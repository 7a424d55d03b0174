"""Holds a group of tokens back until the mean of each is known."""

from __future__ import annotations

import enum

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import Config
from flexnm_rtl.engine_layouts import act_beat
from flexnm_rtl.group_means import GroupMeans
from flexnm_rtl.group_store import GroupStore


class _Phase(enum.Enum):
    """What happens to a group."""

    LOAD = 0
    MEANS = 1
    REPLAY = 2


class GroupBuffer(wiring.Component):
    """Passes on the beats of a job's dense activations, group by group of ``rows`` tokens, with each token's mean.

    ``i``, ``o``: streams of ``engine_layouts.act_beat``, in the order chunks of ``act_ports`` rows, blocks, groups.
    ``start``: begin a job, at any time; whatever is under way is dropped. ``channels``, ``enable``: stable from then
    on. Channels beyond ``channels`` do not count in the means.
    Without ``enable`` the streams are connected, within a cycle. With it a group is stored, its means are computed one
    after the other, and its beats are sent without a bubble, the bits above a slot's dense block as 0; only then is the
    next group taken. From the last beat of a group in to the offer of its first one: ``latency`` cycles.
    ``means``: of the rows of the group that is being sent, signed, row 0 lowest. ``mean_valid``: for a cycle, ``mean``
    is that of row ``mean_row`` of the group, token ``token`` of the job, in ascending order and before the group's
    first beat is offered; rows that only fill up the last group are tokens too.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.means_unit = GroupMeans(cfg)
        self.depth = cfg.rows // cfg.act_ports * cfg.blocks(cfg.k_max)
        self.latency = self.means_unit.latency + 2
        mean = signed(cfg.shift_width)
        super().__init__(
            {
                "i": In(stream.Signature(act_beat(cfg))),
                "o": Out(stream.Signature(act_beat(cfg))),
                "start": In(1),
                "channels": In(range(cfg.k_max + 1)),
                "enable": In(1),
                "means": Out(data.ArrayLayout(mean, cfg.rows)),
                "mean_valid": Out(1),
                "mean_row": Out(len(self.means_unit.row)),
                "token": Out(len(self.means_unit.token)),
                "mean": Out(mean),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.group_means = means = self.means_unit
        m.submodules.store = store = GroupStore(cfg.act_ports * cfg.block_bits, self.depth)
        phase = Signal(_Phase)
        taken = Signal()
        blocks = Cat(self.i.p[port].dense for port in range(cfg.act_ports))
        m.d.comb += [
            taken.eq(self.enable & self.i.valid & self.i.ready),
            means.start.eq(self.start),
            means.channels.eq(self.channels),
            means.valid.eq(taken),
            means.blocks.as_value().eq(blocks),
            store.start.eq(self.start),
            store.write.eq(taken),
            store.data.eq(blocks),
            store.replay.eq(means.done),
            self.means.eq(means.means),
            self.mean_valid.eq(means.mean_valid),
            self.mean_row.eq(means.row),
            self.token.eq(means.token),
            self.mean.eq(means.mean),
        ]
        with m.If(self.enable):
            m.d.comb += [self.i.ready.eq(phase == _Phase.LOAD), self.o.valid.eq(store.o.valid)]
            m.d.comb += store.o.ready.eq(self.o.ready)
            for port in range(cfg.act_ports):
                block = store.o.payload.word_select(port, cfg.block_bits)
                m.d.comb += self.o.p[port].dense.as_value().eq(block)
        with m.Else():
            m.d.comb += [self.o.valid.eq(self.i.valid), self.o.p.eq(self.i.p), self.i.ready.eq(self.o.ready)]
        with m.If(taken & means.final):
            m.d.sync += phase.eq(_Phase.MEANS)
        with m.If(means.done):
            m.d.sync += phase.eq(_Phase.REPLAY)
        with m.If(self.start | store.sent):
            m.d.sync += phase.eq(_Phase.LOAD)
        return m
