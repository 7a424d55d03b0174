"""The first part of every unit that prunes: which channels of a block are kept."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.arith import gate, magnitude
from flexnm_rtl.config import Config
from flexnm_rtl.pipeline import StageControl, delay
from flexnm_rtl.selection import make_selector


class BlockSelection(wiring.Component):
    """Marks exactly N of every M channels: those of largest magnitude, the lower channel first among equals.

    ``i``: stream of ``layouts.dense_in``. Channels whose ``keep`` bit is clear count as 0; being the highest ones of
    the block they lose every tie, so padding is never kept before a real channel. ``o``: stream of
    ``layouts.marked``: the values, not pruned, and the mask. ``runtime_n``: N is the port ``n``, 1 .. M, stable while
    blocks are under way. Throughput: a block a cycle. Latency: ``latency`` cycles (magnitudes 1, selection).
    """

    def __init__(self, cfg: Config, *, runtime_n: bool = False) -> None:
        self.cfg = cfg
        self.runtime_n = runtime_n
        self.selector = make_selector(cfg, runtime_n=runtime_n)
        self.latency = 1 + self.selector.latency
        ports: dict[str, Any] = {
            "i": In(stream.Signature(layouts.dense_in(cfg))),
            "o": Out(stream.Signature(layouts.marked(cfg))),
        }
        super().__init__(ports | ({"n": In(range(cfg.m_group + 1))} if runtime_n else {}))

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
            selector.enable.eq(control.enable[1:]),
        ]
        if self.runtime_n:
            m.d.comb += selector.n.eq(self.n)
        self._score(m, control.enable[0])
        dense = Signal(cfg.block_bits)
        m.d.comb += dense.eq(Cat(gate(keep, value) for keep, value in zip(self.i.p.keep, self.i.p.values, strict=True)))
        m.d.comb += [
            Value.cast(self.o.p["values"]).eq(delay(m, control.enable, dense, "values")),
            self.o.p.mask.eq(selector.mask),
            self.o.p.last.eq(delay(m, control.enable, self.i.p.last, "last")),
        ]
        return m

    def _score(self, m: Module, enable: Signal) -> None:
        """Register the score of every channel. The score is its magnitude; a padding channel scores 0."""
        for i, value in enumerate(self.i.p["values"]):
            score = Signal(self.cfg.score_width, name=f"score_{i}", reset_less=True)
            with m.If(enable):
                m.d.sync += score.eq(gate(self.i.p.keep[i], magnitude(value)))
            m.d.comb += self.selector.scores[i].eq(score)
