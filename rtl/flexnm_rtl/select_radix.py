"""Selection by a threshold that is found digit by digit from the most significant end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value

from flexnm_rtl.arith import any_of, column_sum, count_columns, gate
from flexnm_rtl.config import bits_for, ceil_div
from flexnm_rtl.pipeline import delay
from flexnm_rtl.selection import SelectorBase

DIGIT_BITS = 2


def digits_of(m: Module, selector: Any, stage: int) -> tuple[list[Value], int]:
    """The digits of all scores, from the top, that ``stage`` of a selector looks at, and the largest they can be."""
    shift = DIGIT_BITS * (selector.digits - 1 - stage)
    digits = [
        delay(m, selector.enable[:stage], score[shift : shift + DIGIT_BITS], f"digit_{i}_{stage}")
        for i, score in enumerate(selector.scores)
    ]
    return digits, min((1 << len(digits[0])) - 1, selector.score_max >> shift)


def reaches(digit: Value, d: int, largest: int) -> Value:
    """``digit >= d`` of a digit that does not exceed ``largest``."""
    return digit[d.bit_length() - 1] if d == largest and d & (d - 1) == 0 else digit >= d


@dataclass(frozen=True)
class _State:
    """Between two digits: ``chosen`` channels are above the threshold so far, ``tied`` ones equal it.

    ``missing``: chosen channels minus N, two's complement; never 0 or more, for the N-th largest score is tied.
    """

    chosen: Value
    tied: Value
    missing: Value

    def delayed(self, m: Module, enable: Value, name: str) -> _State:
        """After one register."""
        fields = (("chosen", self.chosen), ("tied", self.tied), ("missing", self.missing))
        return _State(*(delay(m, enable, value, f"{field}_{name}") for field, value in fields))


class RadixSelector(SelectorBase):
    """Walks the score two bits at a time from the top, one digit a cycle.

    For every digit value d at once, it counts the tied channels whose digit is at least d, on top of ``missing``: the
    sign says whether there are fewer than N. The threshold's digit is the largest d with N or more; channels above
    it are chosen, channels equal to it stay tied. Then the lowest tied channels fill up: whole groups of channels in
    one cycle, the last group's channels in another. Cost grows linearly with M.
    Latency: ``latency`` cycles (one a digit, ties 1 for M <= 8, else 2).
    """

    def __init__(
        self, n_keep: int, m_group: int, score_width: int, *, score_max: int | None = None, runtime_n: bool = False
    ) -> None:
        self.digits = ceil_div(score_width, DIGIT_BITS)
        self.group = m_group if m_group <= 8 else 4 if m_group <= 16 else 8
        latency = self.digits + (1 if self.group == m_group else 2)
        super().__init__(n_keep, m_group, score_width, score_max=score_max, latency=latency, runtime_n=runtime_n)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        missing = Signal(bits_for(self.m_group) + 1, name="missing_start")
        m.d.comb += missing.eq(-self._keep())
        state = _State(Const(0, self.m_group), Const(-1, self.m_group), missing)
        for stage in range(self.digits):
            digits, largest = digits_of(m, self, stage)
            state = self._narrow(m, stage, digits, largest, state)
            state = state.delayed(m, self.enable[stage : stage + 1], f"{stage}")
        kept = delay(m, self.enable[-1:], self._ties(m, state), "kept")
        m.d.comb += self.mask.eq(kept)
        return m

    def _narrow(self, m: Module, stage: int, digits: list[Value], largest: int, state: _State) -> _State:
        """One digit, whose values go up to ``largest``."""
        above = [[reaches(digit, d, largest) for digit in digits] for d in range(1, largest + 1)]
        few: list[Value] = []
        sums: list[Value] = []
        for d, reached in enumerate(above, 1):
            bits = [gate(tied, bit) for tied, bit in zip(state.tied, reached, strict=True)]
            total = Signal.like(state.missing, name=f"missing_{stage}_{d}")
            m.d.comb += total.eq(column_sum(m, count_columns(bits, state.missing), f"count_{stage}_{d}"))
            sums.append(total)
            few.append(total[-1])
        # few[d-1] is set from the first digit value on that the threshold's digit is below.
        equal = [a & ~b for a, b in zip([*few, Const(1)], [Const(0), *few], strict=True)]
        chosen, tied = [], []
        for i in range(self.m_group):
            over = any_of([Const(0), *(gate(short, above[d][i]) for d, short in enumerate(few))])
            same = any_of([gate(hit, self._equals(above, d, i)) for d, hit in enumerate(equal)])
            chosen.append(state.chosen[i] | (state.tied[i] & over))
            tied.append(state.tied[i] & same)
        missing = any_of([gate(hit, total) for hit, total in zip(equal, [*sums, state.missing], strict=True)])
        return _State(Cat(chosen), Cat(tied), missing)

    def _equals(self, above: list[list[Value]], d: int, channel: int) -> Value:
        """The channel's digit is d."""
        reached = above[d - 1][channel] if d else Const(1)
        return reached & ~above[d][channel] if d < len(above) else reached

    def _ties(self, m: Module, state: _State) -> Value:
        """The mask: chosen channels, and the lowest ``-missing`` tied ones."""
        if self.group == self.m_group:
            return state.chosen | self._lowest(m, state.tied, state.missing)
        size = self.group
        starts = range(0, self.m_group, size)
        sums = [
            column_sum(m, count_columns(state.tied[:start], state.missing), f"tied_below_{start}") for start in starts
        ]
        room = [*(total[-1] for total in sums), Const(0)]  # room[g]: group g begins before all N are found
        whole, last, rest, group = [], [], [], []
        for g, start in enumerate(starts):
            members = state.tied[start : start + size]
            here = Signal(name=f"ends_in_{g}")
            m.d.comb += here.eq(room[g] & ~room[g + 1])
            whole.append(gate(room[g + 1], members))
            last.append(here)
            rest.append(gate(here, sums[g][: bits_for(size) + 1]))
            group.append(gate(here, members))
        enable = self.enable[-2:-1]
        sure = delay(m, enable, state.chosen | Cat(whole), "sure")
        ends = delay(m, enable, Cat(last), "ends")
        found = self._lowest(m, delay(m, enable, any_of(group), "group"), delay(m, enable, any_of(rest), "rest"))
        spread = Cat(gate(end, found) for end in ends)[: self.m_group]
        return sure | spread

    def _lowest(self, m: Module, tied: Value, missing: Value) -> Value:
        """The lowest ``-missing`` of the tied channels."""
        sums = (column_sum(m, count_columns(tied[:i], missing), f"place_{i}") for i in range(len(tied)))
        return Cat(bit & total[-1] for bit, total in zip(tied, sums, strict=True))
