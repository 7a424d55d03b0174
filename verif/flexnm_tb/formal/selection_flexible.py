"""The flexible selector, as the radix ones: each step alone, for every size of block and every N at once.

N is a free number in these proofs, not a setting. Blocks up to 8 channels: a unit of 8, and so only patterns with M of
4 and 8.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Assume, Cat, Fragment, Module, Signal, Value
from flexnm_rtl.pipeline import delay
from flexnm_rtl.select_flexible import SMALLEST, FlexibleSelector
from flexnm_rtl.select_radix import DIGIT_BITS

from flexnm_tb.formal.proof import Circuit, Proof, check
from flexnm_tb.formal.rules import bare, history, named, settled
from flexnm_tb.formal.selection_radix import REST, TOP, check_wiring, free_digits, free_state
from flexnm_tb.formal.threshold import Probed, check_step, check_ties, noted, room

SCORE_WIDTH, SCORE_MAX = 8, 128
UNIT = 8


class _Probed(Probed, FlexibleSelector):
    """Notes what goes into every step and what comes out; nothing changes."""

    def _narrow(self, m: Module, stage: int, digits: list[Value], *rest: Any) -> tuple[Value, Value]:
        result = super()._narrow(m, stage, digits, *rest)
        self.note(m, stage, digits, rest[1], result)
        return result

    def _ties(self, m: Module, chosen: Value, tied: Value, is_level: list[Signal]) -> Value:
        self.final = noted(m, (chosen, tied), "final")
        return super()._ties(m, chosen, tied, is_level)


def _blocks(width: int, level: int) -> list[range]:
    size = SMALLEST << level
    return [range(start, start + size) for start in range(0, width, size)]


def _selector(m: Module, c: Circuit, width: int, level: int) -> tuple[FlexibleSelector, list[Signal], Value]:
    """A selector of which only methods are used; which level it is at; N, the same in all cycles."""
    selector = bare(FlexibleSelector(width, SCORE_WIDTH, score_max=SCORE_MAX))
    n = c.constant(m, range(width + 1), "n")
    m.d.comb += [selector.n.eq(n), selector.enable.eq(-1), Assume((n >= 1) & (n <= SMALLEST << level))]
    is_level = [Signal(name=f"is_level_{k}") for k in range(selector.levels)]
    m.d.comb += [hit.eq(k == level) for k, hit in enumerate(is_level)]
    return selector, is_level, n


def _step(width: int, level: int, stage: int) -> Circuit:
    def describe(m: Module, c: Circuit) -> None:
        selector, is_level, n = _selector(m, c, width, level)
        old = free_state(m, c, width, stage)
        largest = min((1 << DIGIT_BITS) - 1, SCORE_MAX >> (DIGIT_BITS * (selector.digits - 1 - stage)))
        digits = free_digits(m, c, old, largest)
        above, level_ = selector._narrow(m, stage, digits, largest, old, is_level)
        new = (named(m, above, "above"), named(m, level_, "level"))
        check_step(m, _blocks(width, level), n, old, new, digits)

    return Circuit(describe)


def _last(width: int, level: int) -> Circuit:
    def describe(m: Module, c: Circuit) -> None:
        selector, is_level, n = _selector(m, c, width, level)
        state = (c.free(width, "chosen"), c.free(width, "tied"))
        m.d.comb += [Assume(room(state, block, n)) for block in _blocks(width, level)]
        mask = delay(m, selector.enable[-1:], selector._ties(m, *state, is_level), "kept")
        late = (history(m, state[0], 2, "chosen"), history(m, state[1], 2, "tied"))
        check_ties(m, _blocks(width, level), n, late, mask, settled(m, 2))

    return Circuit(describe)


def _wiring(width: int) -> Circuit:
    """What the steps are given is what the steps before them gave, a register later."""

    def describe(m: Module, c: Circuit) -> None:
        selector = _Probed(width, SCORE_WIDTH, score_max=SCORE_MAX)
        m.submodules.selector = Fragment.get(selector, None)
        scores = [c.free(SCORE_WIDTH, f"score_{i}") for i in range(width)]
        m.d.comb += [selector.enable.eq(-1), Value.cast(selector.scores).eq(Cat(scores))]
        c.ports += [selector.n, selector.level]
        first = selector.steps[0][1]
        check(m, "start", (first[0] == 0) & (first[1] == (1 << width) - 1))
        check_wiring(m, selector, scores)

    return Circuit(describe)


def proofs() -> list[Proof]:
    """For every size of block the first digit, the others and the ties; the wiring once."""
    found = [
        Proof(
            name=f"select/flexible/unit_{UNIT}/wiring",
            claim="Every step works on the state that the step before it gave, and on its digit of the scores of the "
            "same block, at an end of the scale for a channel that is not tied (abc pdr, all scores).",
            build=partial(_wiring, UNIT),
            engine="abc pdr",
        )
    ]
    for level in range((UNIT // SMALLEST).bit_length()):
        parts = {
            "top_digit": partial(_step, UNIT, level, TOP),
            "digit": partial(_step, UNIT, level, REST),
            "exactly_n": partial(_last, UNIT, level),
        }
        found += [
            Proof(
                name=f"select/flexible/unit_{UNIT}/blocks_of_{SMALLEST << level}/{name}",
                claim="In a flexible unit of 8 channels, for every N and from any state in order, the step keeps the "
                "rules of the threshold search in each block; after the ties exactly N are kept (abc pdr).",
                build=build,
                engine="abc pdr",
            )
            for name, build in parts.items()
        ]
    return found
