"""The compression unit: dense blocks in, the N largest of every M channels out."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.arith import any_of, gate, magnitude
from flexnm_rtl.config import Config
from flexnm_rtl.pipeline import StageControl, delay
from flexnm_rtl.positions import metadata_of, one_hot_sources
from flexnm_rtl.selection import make_selector


class Compressor(wiring.Component):
    """Keeps exactly N of every M channels: those of largest magnitude, the lower channel first among equals.

    ``i``: stream of ``layouts.dense_in``. Channels whose ``keep`` bit is clear count as 0; being the highest ones of
    the block they lose every tie, so padding is never kept before a real channel.
    ``o``: stream of ``layouts.compressed``: kept values in ascending channel order, metadata, ``last``.
    Throughput: a block a cycle. Latency: ``latency`` cycles from the transfer at ``i`` to ``valid`` at ``o``
    (registering and magnitudes 1, selection, compaction 1).
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.selector = make_selector(cfg)
        self.latency = 1 + self.selector.latency + 1
        super().__init__(
            {
                "i": In(stream.Signature(layouts.dense_in(cfg))),
                "o": Out(stream.Signature(layouts.compressed(cfg))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.control = control = StageControl(self.latency)
        m.submodules.selector = selector = self.selector
        m.d.comb += [
            control.i_valid.eq(self.i.valid),
            self.i.ready.eq(control.i_ready),
            self.o.valid.eq(control.o_valid),
            control.o_ready.eq(self.o.ready),
            selector.enable.eq(control.enable[1:-1]),
        ]
        self._score(m, control.enable[0])

        dense = Signal(cfg.block_bits)
        m.d.comb += dense.eq(Cat(gate(keep, value) for keep, value in zip(self.i.p.keep, self.i.p.values, strict=True)))
        dense = delay(m, control.enable[:-1], dense, "values")
        last = delay(m, control.enable, self.i.p.last, "last")

        sources = one_hot_sources(m, cfg, selector.mask, "source")
        values = [dense.word_select(i, cfg.act_width) for i in range(cfg.m_group)]
        kept = Cat(any_of([gate(hit, values[n + d]) for d, hit in enumerate(row)]) for n, row in enumerate(sources))
        m.d.comb += self.o.p.last.eq(last)
        for field, value in (("values", kept), ("metadata", metadata_of(cfg, selector.mask, sources))):
            register = delay(m, control.enable[-1:], value, f"out_{field}")
            m.d.comb += self.o.p.block[field].eq(register)
        return m

    def _score(self, m: Module, enable: Signal) -> None:
        """Register the score of every channel. The score is its magnitude; a padding channel scores 0."""
        for i, value in enumerate(self.i.p.values):
            score = Signal(self.cfg.score_width, name=f"score_{i}", reset_less=True)
            with m.If(enable):
                m.d.sync += score.eq(gate(self.i.p.keep[i], magnitude(value)))
            m.d.comb += self.selector.scores[i].eq(score)
