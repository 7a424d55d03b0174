"""Dense mode of the array: a dense block as a few compressed beats."""

from __future__ import annotations

import math

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.arith import gate
from flexnm_rtl.config import Config, Metadata


def beat_base(cfg: Config, beat: int) -> int:
    """First channel of beat ``beat`` of a dense block: steps of N, the last beat moved down to end at M."""
    return min(beat * cfg.n_keep, cfg.m_group - cfg.n_keep)


def beat_metadata(cfg: Config, beat: int) -> int:
    """Metadata of beat ``beat`` of a dense block: N consecutive channels from ``beat_base``."""
    base = beat_base(cfg, beat)
    if cfg.metadata is Metadata.ENUMERATIVE:
        return sum(math.comb(base + n, n + 1) for n in range(cfg.n_keep))
    if cfg.metadata is Metadata.BITMASK:
        return ((1 << cfg.n_keep) - 1) << base
    return sum((base + n) << (n * cfg.index_width) for n in range(cfg.n_keep))


class DenseSplitter(wiring.Component):
    """Sends a dense block as ``dense_beats`` = ceil(M/N) beats of N consecutive channels, nothing dropped.

    ``i``: stream of ``layouts.dense_in``; channels whose ``keep`` bit is clear count as 0. ``o``: stream of
    ``layouts.dense_beat``; all beats of a block but its last carry ``hold``, ``last`` comes with the last beat.
    When N does not divide M the last beat starts at channel M-N, and its channels already sent are 0.
    Throughput: a beat a cycle. Latency: 1 cycle to the first beat.
    """

    latency = 1

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        super().__init__(
            {
                "i": In(stream.Signature(layouts.dense_in(cfg))),
                "o": Out(stream.Signature(layouts.dense_beat(cfg))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        dense = Signal(cfg.m_group * cfg.value_width, reset_less=True)
        last = Signal(reset_less=True)
        valid = Signal()
        beat = Signal(range(cfg.dense_beats))
        final = Signal()
        sent = Signal()
        m.d.comb += [
            final.eq(beat == cfg.dense_beats - 1),
            sent.eq(valid & self.o.ready),
            self.i.ready.eq(~valid | (sent & final)),
            self.o.valid.eq(valid),
            self.o.p.hold.eq(~final),
            self.o.p.last.eq(last & final),
        ]
        with m.If(sent):
            m.d.sync += beat.eq(beat + 1)
            with m.If(final):
                m.d.sync += [beat.eq(0), valid.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            padded = Cat(gate(keep, value) for keep, value in zip(self.i.p.keep, self.i.p.values, strict=True))
            m.d.sync += [dense.eq(padded), last.eq(self.i.p.last), valid.eq(1)]

        with m.Switch(beat):
            for b in range(cfg.dense_beats):
                with m.Case(b) if b < cfg.dense_beats - 1 else m.Default():
                    m.d.comb += [
                        Value.cast(self.o.p.block["values"]).eq(self._values(dense, b)),
                        self.o.p.block.metadata.eq(beat_metadata(cfg, b)),
                    ]
        return m

    def _values(self, dense: Signal, beat: int) -> Value:
        base = beat_base(self.cfg, beat)
        repeated = beat * self.cfg.n_keep - base
        channels = [dense.word_select(base + n, self.cfg.value_width) for n in range(self.cfg.n_keep)]
        zeros = [Const(0, self.cfg.value_width)] * repeated
        return Cat(*zeros, *channels[repeated:])
