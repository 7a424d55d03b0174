"""Selection by a comparator matrix and rank counting."""

from __future__ import annotations

from amaranth.hdl import Module, Signal

from flexnm_rtl.arith import popcount
from flexnm_rtl.selection import SelectorBase


class RankSelector(SelectorBase):
    """Compares every pair of channels once, counts the channels that beat each one, keeps ranks below N.

    Of a pair the lower channel wins a tie, so the ranks are a permutation of 0 .. M-1 and exactly N are below N.
    Latency: 2 cycles (M(M-1)/2 comparators; rank counters).
    """

    def __init__(self, n_keep: int, m_group: int, score_width: int, *, runtime_n: bool = False) -> None:
        super().__init__(n_keep, m_group, score_width, latency=2, runtime_n=runtime_n)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats: dict[tuple[int, int], Signal] = {}
        for high in range(self.m_group):
            for low in range(high):
                beats[low, high] = Signal(name=f"beats_{low}_{high}", reset_less=True)
                with m.If(self.enable[0]):
                    m.d.sync += beats[low, high].eq(self.scores[low] >= self.scores[high])

        kept = Signal(self.m_group, reset_less=True)
        for i in range(self.m_group):
            lost = [beats[j, i] for j in range(i)] + [~beats[i, j] for j in range(i + 1, self.m_group)]
            with m.If(self.enable[1]):
                m.d.sync += kept[i].eq(popcount(lost) < self._keep())
        m.d.comb += self.mask.eq(kept)
        return m
