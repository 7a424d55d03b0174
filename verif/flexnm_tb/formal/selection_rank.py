"""Rank selectors: every comparison is the rule, and a channel is kept when fewer than N others beat it."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

from amaranth.hdl import Cat, Const, Fragment, Module, Signal, Value
from flexnm_rtl.select_rank import RankSelector

from flexnm_tb.formal.counts import sums_cut
from flexnm_tb.formal.proof import FORWARD, Circuit, Proof, check
from flexnm_tb.formal.rules import beats, history, named, settled

WIDTH = 8
PATTERNS = ((2, 4), (4, 8), (8, 16), (16, 32))
AT_ONCE = 8
"""Channels whose registered comparisons are one proof."""

_KINDS = {"rank": False, "rank2": True}


class _Compared(RankSelector):
    """Notes what is to be counted for each channel, bit by bit, and counts nothing."""

    def __init__(self, n: int, m: int, split: bool) -> None:
        super().__init__(n, m, WIDTH, split=split)
        self.lost: list[list[Value]] = []

    def _rank(self, m: Module, lost: list[Value], channel: int) -> Value:
        self.lost.append([named(m, bit, f"lost_{channel}_{k}") for k, bit in enumerate(lost)])
        return Const(0)


class _Counted(RankSelector):
    """Counts free bits in the place of the comparisons, which are then not used."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__(n, m, WIDTH)
        self.free: list[list[Signal]] = []

    def _rank(self, m: Module, lost: list[Value], channel: int) -> Value:
        self.free.append([Signal(name=f"lost_{channel}_{k}") for k in range(len(lost))])
        return super()._rank(m, list(self.free[-1]), channel)


def _at_least(m: Module, a: Any, b: Any, name: str) -> Value:
    """What the comparison chain says, by its lemma."""
    return Value.cast(a) >= Value.cast(b)


def _comparisons(n: int, channels: int, split: bool, asked: range) -> Circuit:
    """The bits that are counted for channel i say, for the others in turn, whether they beat it.

    Of the channels ``asked``. For higher channels: whether i does not beat them, which is the same by
    ``select/lemma/order``.
    """

    def describe(m: Module, c: Circuit) -> None:
        selector = _Compared(n, channels, split)
        with patch("flexnm_rtl.select_rank.at_least", _at_least):
            m.submodules.selector = Fragment.get(selector, None)
        scores = [c.free(WIDTH, f"score_{i}") for i in range(channels)]
        m.d.comb += [selector.enable.eq(-1), Value.cast(selector.scores).eq(Cat(scores))]
        ready = settled(m, int(split))
        for i in asked:
            lost = selector.lost[i]
            others = [j for j in range(channels) if j != i]
            for j, bit in zip(others, lost, strict=True):
                rule = beats(j, i, scores) if j < i else ~beats(i, j, scores)
                check(m, f"{j}_beats_{i}", ~ready | (bit == history(m, rule, int(split), f"rule_{j}_{i}")))

    return Circuit(describe)


def _counts(n: int, channels: int) -> Circuit:
    """Whatever the comparisons say, a channel is kept when the sum of its bits is below N."""

    def describe(m: Module, c: Circuit) -> None:
        selector = _Counted(n, channels)
        with sums_cut(c, "select_rank") as cut:
            m.submodules.selector = Fragment.get(selector, None)
        m.d.comb += selector.enable.eq(-1)
        c.ports += [bit for bits in selector.free for bit in bits]
        ready = settled(m, 1)
        for i, (bits, total, columns) in enumerate(zip(selector.free, cut.sums, cut.columns, strict=True)):
            check(m, f"counted_{i}", Cat(columns[0]) == Cat(bits))
            check(m, f"kept_{i}", ~ready | (selector.mask[i] == history(m, total < n, 1, f"few_{i}")))

    return Circuit(describe)


def proofs() -> list[Proof]:
    """Comparisons for both kinds, and counting, for every pattern."""
    found = []
    for n, m in PATTERNS:
        for kind, split in _KINDS.items():
            step = AT_ONCE if split else m
            found += [
                Proof(
                    name=f"select/{kind}/{n}:{m}/comparisons" + (f"/from_{start}" if step < m else ""),
                    claim="Each bit that the rank of a channel counts says whether one other channel beats it: a "
                    "higher score, or an equal one and a lower number (all scores; comparison chains by their lemma).",
                    build=partial(_comparisons, n, m, split, range(start, min(start + step, m))),
                    engine="abc pdr" if split else FORWARD,
                )
                for start in range(0, m, step)
            ]
        found.append(
            Proof(
                name=f"select/rank/{n}:{m}/counting",
                claim="A channel is kept exactly when fewer than N of its bits are set, whatever the bits are "
                "(abc pdr, comparisons cut to free inputs, sums by their lemma; the same circuit in rank and rank2).",
                build=partial(_counts, n, m),
                engine="abc pdr",
            )
        )
    return found
