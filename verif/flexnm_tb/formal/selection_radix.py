"""Radix selectors, digit by digit: each step alone, with what comes before it cut to free inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from amaranth.hdl import Assume, Cat, Fragment, Module, Mux, Signal, Value
from flexnm_rtl.arith import gate
from flexnm_rtl.config import Config
from flexnm_rtl.pipeline import delay
from flexnm_rtl.select_radix import DIGIT_BITS, RadixSelector

from flexnm_tb.formal.proof import Circuit, Proof, check
from flexnm_tb.formal.rules import bare, history, named, population, settled
from flexnm_tb.formal.selection_rank import PATTERNS, WIDTH
from flexnm_tb.formal.threshold import Probed, State, check_step, check_ties, noted, pair_lemma, room

LARGE = ((8, 16), (16, 32))
"""Steps of these patterns are in ``selection_radix_large``."""

TOP, REST = 0, 1
"""Digits that differ in how far they go: magnitudes of 8 bits end at 128."""


class _Probed(Probed, RadixSelector):
    """Notes what goes into every step and what comes out; nothing changes."""

    def _narrow(
        self, m: Module, stage: int, digits: list[Value], largest: int, state: State, start: Value
    ) -> tuple[Value, Value, list[Value]]:
        chosen, tied, sums = super()._narrow(m, stage, digits, largest, state, start)
        self.note(m, stage, digits, state, (chosen, tied))
        return chosen, tied, sums

    def _missing(self, m: Module, before: Value, start: Value, sums: list[Value]) -> Value:
        self.start = named(m, start, "noted_start")
        self.missing = named(m, super()._missing(m, before, start, sums), "noted_missing")
        return self.missing

    def _ties(self, m: Module, chosen: Value, tied: Value, missing: Value) -> Value:
        self.final = noted(m, (chosen, tied), "final")
        self.final_missing = named(m, missing, "final_missing")
        return super()._ties(m, chosen, tied, missing)


def selector_of(n: int, m: int, kind: type[RadixSelector] = RadixSelector) -> RadixSelector:
    """The one that a design of this pattern has."""
    cfg = Config(n_keep=n, m_group=m, act_width=WIDTH, lanes=1)
    return kind(n, m, cfg.score_width, score_max=cfg.score_max)


def largest_of(selector: RadixSelector, stage: int) -> int:
    """The largest digit at a stage."""
    shift = DIGIT_BITS * (selector.digits - 1 - stage)
    return min((1 << DIGIT_BITS) - 1, selector.score_max >> shift)


def free_digits(m: Module, c: Circuit, state: State, largest: int) -> list[Value]:
    """Digits as ``DigitSearch`` has them: at an end of the scale for a channel that is not tied."""
    free = [c.free(DIGIT_BITS, f"digit_{i}") for i in range(len(state[0]))]
    m.d.comb += [Assume(digit <= largest) for digit in free]
    return [
        named(m, Mux(tied, digit, chosen.replicate(DIGIT_BITS)), f"seen_{i}")
        for i, (chosen, tied, digit) in enumerate(zip(*state, free, strict=True))
    ]


def free_state(m: Module, c: Circuit, channels: int, stage: int) -> State:
    """Any chosen and tied channels, none of them both; before the top digit all are tied."""
    chosen, tied = c.free(channels, "chosen"), c.free(channels, "tied")
    m.d.comb += Assume((chosen & tied) == 0)
    if stage == TOP:
        m.d.comb += Assume(tied == (1 << channels) - 1)
    return chosen, tied


def start_of(m: Module, n: int, channels: int) -> Signal:
    """-N, as the selector has it."""
    start = Signal((channels - 1).bit_length() + 1, name="start")
    m.d.comb += start.eq(-n)
    return start


def _step(n: int, channels: int, stage: int) -> Circuit:
    def describe(m: Module, c: Circuit) -> None:
        selector = bare(selector_of(n, channels))
        old, start = free_state(m, c, channels, stage), start_of(m, n, channels)
        largest = largest_of(selector, stage)
        digits = free_digits(m, c, old, largest)
        above, level, sums = selector._narrow(m, stage, digits, largest, old, start)
        new = (named(m, above, "above"), named(m, level, "level"))
        check_step(m, [range(channels)], n, old, new, digits)
        missing = selector._missing(m, old[0], start, sums)[: len(start)]
        check(m, "missing", missing == (population(new[0]) - n)[: len(start)])

    return Circuit(describe)


def _last(n: int, channels: int) -> Circuit:
    def describe(m: Module, c: Circuit) -> None:
        selector = bare(selector_of(n, channels))
        m.d.comb += selector.enable.eq(-1)
        state = (c.free(channels, "chosen"), c.free(channels, "tied"))
        missing = start_of(m, n, channels) + population(state[0])
        m.d.comb += Assume(room(state, range(channels), n))
        width = (channels - 1).bit_length() + 1
        mask = delay(m, selector.enable[-1:], selector._ties(m, *state, named(m, missing[:width], "missing")), "kept")
        cycles = selector.latency - selector.digits
        late = (history(m, state[0], cycles, "chosen"), history(m, state[1], cycles, "tied"))
        check_ties(m, [range(channels)], n, late, mask, settled(m, cycles))

    return Circuit(describe)


def _wiring(n: int, channels: int) -> Circuit:
    """What the steps are given is what the steps before them gave, a register later."""

    def describe(m: Module, c: Circuit) -> None:
        selector = selector_of(n, channels, _Probed)
        assert isinstance(selector, _Probed)
        m.submodules.selector = Fragment.get(selector, None)
        scores = [c.free(WIDTH, f"score_{i}") for i in range(channels)]
        m.d.comb += [selector.enable.eq(-1), Value.cast(selector.scores).eq(Cat(scores))]
        everything: Sequence[Any] = [0, (1 << channels) - 1]
        _same(m, "start", selector.steps[0][1], everything, settled(m, 0))
        check(m, "minus_n", selector.start == (-n) % (1 << len(selector.start)))
        check_wiring(m, selector, scores)
        late = history(m, selector.missing, 1, "missing")
        check(m, "missing", ~settled(m, selector.digits) | (selector.final_missing == late))

    return Circuit(describe)


def check_wiring(m: Module, selector: Any, scores: Sequence[Value]) -> None:
    """Assert what every step of a probed selector is given: the last state, and a digit of the same block's scores.

    The digit is taken as the register has it: the score's where a channel is tied, and an end of the scale elsewhere,
    as no step makes a channel chosen and tied.
    """
    follows = [*(old for _, old, _ in selector.steps[1:]), selector.final]
    for stage, ((_, _, (above, level)), after) in enumerate(zip(selector.steps, follows, strict=True)):
        final = stage == len(follows) - 1
        kept = [above if final else above & ~level, level]
        late = [history(m, value, 1, f"new_{stage}_{k}") for k, value in enumerate(kept)]
        _same(m, f"state_{stage}", after, late, settled(m, stage + 1))
    for stage, (digits, _, _) in enumerate(selector.steps):
        shift = DIGIT_BITS * (selector.digits - 1 - stage)
        for i, (digit, score) in enumerate(zip(digits, scores, strict=True)):
            seen: Value = history(m, score[shift : shift + DIGIT_BITS], max(0, stage - 1), f"seen_{i}_{stage}")
            if stage:
                above, level = (state[i] for state in selector.steps[stage - 1][2])
                end = above.replicate(DIGIT_BITS) | gate(level, seen)
                seen = history(m, end, 1, f"held_{i}_{stage}")
            check(m, f"digit_{stage}_{i}", ~settled(m, stage) | (digit == seen))


def _same(m: Module, name: str, found: Sequence[Any], expected: Sequence[Any], ready: Value) -> None:
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        check(m, f"{name}_{k}", ~ready | (a == b))


def proofs() -> list[Proof]:
    """For every pattern the first digit, the others, the ties, the wiring; and the lemma."""
    found = [
        Proof(
            name="select/lemma/threshold",
            claim="If two channels follow the rules of the steps and of the ties, and one of them is kept, the other "
            "dropped, then the kept one beats the dropped one (all scores of 8 bits, four digits).",
            build=lambda: Circuit(pair_lemma(WIDTH // DIGIT_BITS, DIGIT_BITS)),
            engine="abc pdr",
        )
    ]
    found += [
        Proof(
            name=f"select/radix/{n}:{m}/wiring",
            claim="Every step works on the state that the step before it gave, and on its digit of the scores of "
            "the same block, at an end of the scale for a channel that is not tied (abc pdr, all scores).",
            build=partial(_wiring, n, m),
            engine="abc pdr",
        )
        for n, m in PATTERNS
    ]
    for n, m in PATTERNS:
        if (n, m) in LARGE:
            continue
        steps = {
            "top_digit": partial(_step, n, m, TOP),
            "digit": partial(_step, n, m, REST),
        }
        found += [
            Proof(
                name=f"select/radix/{n}:{m}/{name}",
                claim="From any state in order, a digit moves channels by the rules, the N-th largest score is tied "
                "afterwards, and `missing` is right where it is the last (abc pdr, all states and digits).",
                build=build,
                engine="abc pdr",
            )
            for name, build in steps.items()
        ]
        found += [
            Proof(
                name=f"select/radix/{n}:{m}/exactly_n",
                claim="From any state in order, the mask has exactly N bits set: all chosen channels and the lowest "
                "tied ones (abc pdr, all states).",
                build=partial(_last, n, m),
                engine="abc pdr",
            ),
        ]
    return found
