"""Selection by a threshold that is found digit by digit from the most significant end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value

from flexnm_rtl.arith import any_of, column_sum, count_columns, gate, named
from flexnm_rtl.config import bits_for, ceil_div
from flexnm_rtl.pipeline import delay
from flexnm_rtl.selection import SelectorBase

DIGIT_BITS = 2


class DigitSearch:
    """The state of a threshold search between two digits: which channels are tied, and what is left of the scores.

    A channel is tied as long as its digits equal the threshold's. One that is settled needs no score any more: its
    next digit is put to an end of the scale, where it is counted rightly with the tied ones, and which says whether it
    is chosen or out.

    ``selector``: has ``scores``, ``score_max``, ``digits`` (how many) and ``digit_bits``.
    """

    def __init__(self, selector: Any) -> None:
        self.selector = selector
        self.left = selector.digits
        self.scores = [Value.cast(score) for score in selector.scores]
        self.tied: Value = Const(-1, len(self.scores))
        self.chosen: Value = Const(0, len(self.scores))

    def digit(self) -> tuple[list[Value], int]:
        """The highest digits that are left, and the largest they can be; all ones of a chosen channel, 0 of one that is
        out.
        """
        self.left -= 1
        shift = self.selector.digit_bits * self.left
        digits = [score[shift:] for score in self.scores]
        self.scores = [score[:shift] for score in self.scores]
        return digits, min((1 << len(digits[0])) - 1, self.selector.score_max >> shift)

    def settle(self, m: Module, chosen: Value, tied: Value) -> None:
        """The state after a digit."""
        self.chosen, self.tied = named(m, chosen, f"above_{self.left}"), named(m, tied, f"level_{self.left}")
        if self.left:
            shift = self.selector.digit_bits * (self.left - 1)
            states = enumerate(zip(self.chosen, self.tied, self.scores, strict=True))
            self.scores = [
                Cat(score[:shift], named(m, _at_end(chosen, tied, score[shift:]), f"next_{i}_{self.left}"))
                for i, (chosen, tied, score) in states
            ]

    def store(self, m: Module, enable: Value, name: str) -> None:
        """The state after a register."""
        self.tied = delay(m, enable, self.tied, f"tied_{name}")
        if self.left:
            self.scores = [delay(m, enable, score, f"rest_{i}_{name}") for i, score in enumerate(self.scores)]
            settled = Cat(~tied & score[-1] for tied, score in zip(self.tied, self.scores, strict=True))
            self.chosen = named(m, settled, f"chosen_{name}")
        else:
            self.chosen = delay(m, enable, self.chosen, f"chosen_{name}")


def _at_end(chosen: Value, tied: Value, digit: Value) -> Value:
    """``digit``, or the end of the scale for a channel that is settled."""
    return chosen.replicate(len(digit)) | gate(tied, digit)


def reaches(digit: Value, d: int, largest: int) -> Value:
    """``digit >= d`` of a digit that does not exceed ``largest``."""
    return digit[d.bit_length() - 1] if d == largest and d & (d - 1) == 0 else digit >= d


def after_digit(
    chosen: Value, tied: Value, reached: Sequence[Sequence[Value]], enough: Sequence[Sequence[Value]]
) -> tuple[Value, Value]:
    """Chosen and tied channels after a digit.

    ``reached[d - 1][i]``: the digit of channel i is d or above, digits being those of ``DigitSearch``.
    ``enough[d - 1][g]``: so is that of N channels or more of the block of group g, the groups being of equal size. The
    threshold's digit is the largest such d: channels above it are chosen, channels equal to it stay tied.
    """
    size = len(tied) // len(enough[0]) if enough else len(tied)
    levels = [_levels(verdicts) for verdicts in zip(*enough, strict=True)] or [[Const(1)]]
    next_chosen, next_tied = [], []
    for i in range(len(tied)):
        ups = [above[i] for above in reached]
        short = [~row[i // size] for row in enough]
        over = any_of([Const(0), *(bit & few for bit, few in zip(ups, short, strict=True))])
        same = any_of([hit & at for hit, at in zip(_levels(ups), levels[i // size], strict=True)])
        next_chosen.append(chosen[i] | over)
        next_tied.append(tied[i] & same)
    return Cat(next_chosen), Cat(next_tied)


def _levels(reached: Sequence[Value]) -> list[Value]:
    """One bit for each digit: it is d, if ``reached[d - 1]`` says that it is d or above."""
    return [a & ~b for a, b in zip([Const(1), *reached], [*reached, Const(0)], strict=True)]


class RadixSelector(SelectorBase):
    """Walks the score two bits at a time from the top, one digit a cycle (``DigitSearch``).

    For every digit value d at once, it counts the channels whose digit is at least d, on top of -N: the sign says
    whether there are fewer than N. In the end the lowest tied channels fill up: whole groups of channels in one
    cycle, the last group's channels in another. Cost grows linearly with M.
    Latency: ``latency`` cycles (one a digit, ties 1 for M <= 8, else 2).
    """

    digit_bits = DIGIT_BITS
    digits_a_cycle = 1

    def __init__(
        self, n_keep: int, m_group: int, score_width: int, *, score_max: int | None = None, runtime_n: bool = False
    ) -> None:
        self.digits = ceil_div(score_width, self.digit_bits)
        self.group = m_group if m_group <= 8 else 4 if m_group <= 16 else 8
        latency = ceil_div(self.digits, self.digits_a_cycle) + (1 if self.group == m_group else 2)
        super().__init__(n_keep, m_group, score_width, score_max=score_max, latency=latency, runtime_n=runtime_n)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        start = Signal(bits_for(self.m_group) + 1, name="start")
        m.d.comb += start.eq(-self._keep())
        search = DigitSearch(self)
        missing: Value = start
        for k in range(self.digits):
            before = search.chosen
            digits, largest = search.digit()
            chosen, tied, sums = self._narrow(m, k, digits, largest, (before, search.tied), start)
            search.settle(m, chosen, tied)
            if not search.left:
                missing = self._missing(m, before, start, sums)
            if k % self.digits_a_cycle == self.digits_a_cycle - 1 or not search.left:
                stage = k // self.digits_a_cycle
                enable = self.enable[stage : stage + 1]
                search.store(m, enable, f"{stage}")
                missing = delay(m, enable, missing, f"missing_{stage}") if not search.left else missing
        kept = delay(m, self.enable[-1:], self._ties(m, search.chosen, search.tied, missing), "kept")
        m.d.comb += self.mask.eq(kept)
        return m

    def _narrow(
        self, m: Module, stage: int, digits: list[Value], largest: int, state: tuple[Value, Value], start: Value
    ) -> tuple[Value, Value, list[Value]]:
        """One digit, whose values go up to ``largest``: chosen, tied, and the sums of all values, on top of -N."""
        reached = [[reaches(digit, d, largest) for digit in digits] for d in range(1, largest + 1)]
        sums: list[Value] = []
        for d, above in enumerate(reached, 1):
            total = Signal(len(start), name=f"sum_{stage}_{d}")
            m.d.comb += total.eq(column_sum(m, count_columns(above, start), f"count_{stage}_{d}"))
            sums.append(total)
        chosen, tied = after_digit(*state, reached, [[~total[-1]] for total in sums])
        return chosen, tied, sums

    def _missing(self, m: Module, before: Value, start: Value, sums: list[Value]) -> Value:
        """Chosen channels after the last digit minus N: those above its threshold, and those chosen before it."""
        fewest = column_sum(m, count_columns(list(before), start), "chosen_before")
        levels = _levels([~total[-1] for total in sums])
        return any_of([gate(hit, total) for hit, total in zip(levels, [*sums, fewest], strict=True)])

    def _ties(self, m: Module, chosen: Value, tied: Value, missing: Value) -> Value:
        """The mask: chosen channels, and the lowest ``-missing`` tied ones."""
        if self.group == self.m_group:
            return chosen | self._lowest(m, tied, missing)
        size = self.group
        starts = range(0, self.m_group, size)
        sums = [column_sum(m, count_columns(tied[:start], missing), f"tied_below_{start}") for start in starts]
        room = [*(total[-1] for total in sums), Const(0)]  # room[g]: group g begins before all N are found
        whole, last, rest, group = [], [], [], []
        for g, start in enumerate(starts):
            members = tied[start : start + size]
            here = Signal(name=f"ends_in_{g}")
            m.d.comb += here.eq(room[g] & ~room[g + 1])
            whole.append(gate(room[g + 1], members))
            last.append(here)
            rest.append(gate(here, sums[g][: bits_for(size) + 1]))
            group.append(gate(here, members))
        enable = self.enable[-2:-1]
        sure = delay(m, enable, chosen | Cat(whole), "sure")
        ends = delay(m, enable, Cat(last), "ends")
        found = self._lowest(m, delay(m, enable, any_of(group), "group"), delay(m, enable, any_of(rest), "rest"))
        spread = Cat(gate(end, found) for end in ends)[: self.m_group]
        return sure | spread

    def _lowest(self, m: Module, tied: Value, missing: Value) -> Value:
        """The lowest ``-missing`` of the tied channels."""
        sums = (column_sum(m, count_columns(tied[:i], missing), f"place_{i}") for i in range(len(tied)))
        return Cat(bit & total[-1] for bit, total in zip(tied, sums, strict=True))
