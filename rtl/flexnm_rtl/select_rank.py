"""Selection by a comparator matrix and rank counting."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value

from flexnm_rtl.arith import at_least, column_sum
from flexnm_rtl.config import bits_for
from flexnm_rtl.selection import SelectorBase


class RankSelector(SelectorBase):
    """Compares every pair of channels once, counts the channels that beat each one, keeps ranks below N.

    Of a pair the lower channel wins a tie, so the ranks are a permutation of 0 .. M-1 and exactly N are below N.
    Latency: 1 cycle; 2 with ``split``, which registers the M(M-1)/2 comparisons and leaves their form to synthesis, for
    FPGAs with carry chains.
    """

    def __init__(
        self,
        n_keep: int,
        m_group: int,
        score_width: int,
        *,
        score_max: int | None = None,
        runtime_n: bool = False,
        split: bool = False,
    ) -> None:
        self.split = split
        latency = 2 if split else 1
        super().__init__(n_keep, m_group, score_width, score_max=score_max, latency=latency, runtime_n=runtime_n)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats: dict[tuple[int, int], Signal] = {}
        for high in range(self.m_group):
            for low in range(high):
                beats[low, high] = Signal(name=f"beats_{low}_{high}", reset_less=True)
                if self.split:
                    with m.If(self.enable[0]):
                        m.d.sync += beats[low, high].eq(self.scores[low] >= self.scores[high])
                else:
                    wins = at_least(m, self.scores[low], self.scores[high], f"compare_{low}_{high}")
                    m.d.comb += beats[low, high].eq(wins)

        kept = Signal(self.m_group, reset_less=True)
        for i in range(self.m_group):
            lost = [beats[j, i] for j in range(i)] + [~beats[i, j] for j in range(i + 1, self.m_group)]
            with m.If(self.enable[-1]):
                m.d.sync += kept[i].eq(self._rank(m, lost, i) < self._keep())
        m.d.comb += self.mask.eq(kept)
        return m

    def _rank(self, m: Module, lost: list[Value], channel: int) -> Value:
        columns: list[list[Value]] = [lost, *([] for _ in range(bits_for(self.m_group) - 1))]
        return column_sum(m, columns, f"rank_{channel}")
