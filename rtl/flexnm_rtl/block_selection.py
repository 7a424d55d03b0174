"""The first part of every unit that prunes: which channels of a block are kept."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl import layouts
from flexnm_rtl.arith import gate, magnitude, shift_up
from flexnm_rtl.config import Config, ScoreFactor
from flexnm_rtl.pipeline import StageControl, delay
from flexnm_rtl.selection import make_flexible, make_selector


class BlockSelection(wiring.Component):
    """Marks exactly N of every M channels: those of largest score, the lower channel first among equals.

    The score is the magnitude; in a design with ``score_factor`` it is the magnitude times the channel's factor, or
    shifted left by it.
    ``i``: stream of ``layouts.scored_in``. Channels whose ``keep`` bit is clear count as 0; being the highest ones of
    the block they lose every tie, so padding is never kept before a real channel. ``o``: stream of
    ``layouts.marked``: the values, not pruned, and the mask. ``pattern``: in a flexible design, N and the blocks' size
    (``layouts.pattern``), stable while blocks are under way. ``runtime_n``: N is the port ``n``, 1 .. M, stable while
    blocks are under way. Throughput: a block a cycle. Latency: ``latency`` cycles (magnitudes 1, factors 1 where there
    are any, selection).
    """

    def __init__(self, cfg: Config, *, runtime_n: bool = False) -> None:
        self.cfg = cfg
        self.runtime_n = runtime_n
        self.selector = make_flexible(cfg) if cfg.flexible else make_selector(cfg, runtime_n=runtime_n)
        self.score_stages = 1 if cfg.score_factor is ScoreFactor.NONE else 2
        self.latency = self.score_stages + self.selector.latency
        ports: dict[str, Any] = {
            "i": In(stream.Signature(layouts.scored_in(cfg))),
            "o": Out(stream.Signature(layouts.marked(cfg))),
        }
        super().__init__(
            ports | ({"n": In(range(cfg.m_group + 1))} if runtime_n else {}) | layouts.pattern_port(cfg),
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
            selector.enable.eq(control.enable[self.score_stages :]),
        ]
        if self.runtime_n:
            m.d.comb += selector.n.eq(self.n)
        if cfg.flexible:
            m.d.comb += [selector.n.eq(self.pattern.n), selector.level.eq(self.pattern.level)]
        self._score(m, control.enable)
        dense = Signal(cfg.m_group * cfg.value_width)
        m.d.comb += dense.eq(Cat(gate(keep, value) for keep, value in zip(self.i.p.keep, self.i.p.values, strict=True)))
        m.d.comb += [
            Value.cast(self.o.p["values"]).eq(delay(m, control.enable, dense, "values")),
            self.o.p.mask.eq(selector.mask),
            self.o.p.last.eq(delay(m, control.enable, self.i.p.last, "last")),
        ]
        return m

    def _score(self, m: Module, enable: Value) -> None:
        """Register the score of every channel; a padding channel scores 0."""
        for i, value in enumerate(self.i.p["values"]):
            score: Value = Signal(self.cfg.value_width, name=f"magnitude_{i}")
            m.d.comb += score.eq(gate(self.i.p.keep[i], magnitude(value)))
            score = delay(m, enable[:1], score, f"score_{i}")
            if self.cfg.score_factor is not ScoreFactor.NONE:
                factor = delay(m, enable[:1], self.i.p.factors[i], f"factor_{i}")
                weighted = Signal(self.cfg.score_width, name=f"weighted_{i}")
                shifts = self.cfg.score_factor is ScoreFactor.SHIFT
                m.d.comb += weighted.eq(shift_up(score, factor, len(weighted)) if shifts else score * factor)
                score = delay(m, enable[1:2], weighted, f"weighted_{i}")
            m.d.comb += self.selector.scores[i].eq(score)
