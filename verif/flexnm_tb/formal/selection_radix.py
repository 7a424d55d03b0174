"""Radix selectors, digit by digit: each step alone, with what comes before it cut to free inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from amaranth.hdl import Assume, Cat, Fragment, Module, Signal, Value
from flexnm_rtl.config import Config
from flexnm_rtl.pipeline import delay
from flexnm_rtl.select_radix import DIGIT_BITS, RadixSelector, _State

from flexnm_tb.formal.proof import Circuit, Proof, check
from flexnm_tb.formal.rules import bare, history, named, population, settled
from flexnm_tb.formal.selection_rank import PATTERNS, WIDTH
from flexnm_tb.formal.threshold import Probed, check_step, check_ties, noted, pair_lemma, room

LARGE = ((8, 16), (16, 32))
"""Steps of these patterns are in ``selection_radix_large``."""

TOP, REST = 0, 1
"""Digits that differ in how far they go: magnitudes of 8 bits end at 128."""


class _Probed(Probed, RadixSelector):
    """Notes what goes into every step and what comes out; nothing changes."""

    def _narrow(self, m: Module, stage: int, digits: list[Value], largest: int, state: _State) -> _State:
        result = super()._narrow(m, stage, digits, largest, state)
        self.note(m, stage, digits, _parts(state), _parts(result))
        return result

    def _ties(self, m: Module, state: _State) -> Value:
        self.final = noted(m, _parts(state), "final")
        return super()._ties(m, state)


def _parts(state: _State) -> list[Value]:
    return [state.chosen, state.tied, state.missing]


def selector_of(n: int, m: int, kind: type[RadixSelector] = RadixSelector) -> RadixSelector:
    """The one that a design of this pattern has."""
    cfg = Config(n_keep=n, m_group=m, act_width=WIDTH, lanes=1)
    return kind(n, m, cfg.score_width, score_max=cfg.score_max)


def largest_of(selector: RadixSelector, stage: int) -> int:
    """The largest digit at a stage."""
    shift = DIGIT_BITS * (selector.digits - 1 - stage)
    return min((1 << DIGIT_BITS) - 1, selector.score_max >> shift)


def _free_state(m: Module, c: Circuit, n: int, channels: int) -> _State:
    """Any state in order; the places that are missing are counted from it."""
    chosen, tied = c.free(channels, "chosen"), c.free(channels, "tied")
    missing = Signal((channels - 1).bit_length() + 1, name="missing")
    m.d.comb += missing.eq(population(chosen) - n)
    return _State(chosen, tied, missing)


def _step(n: int, channels: int, stage: int) -> Circuit:
    def describe(m: Module, c: Circuit) -> None:
        selector = bare(selector_of(n, channels))
        old = _free_state(m, c, n, channels)
        largest = largest_of(selector, stage)
        digits = [c.free(DIGIT_BITS, f"digit_{i}") for i in range(channels)]
        m.d.comb += [Assume(digit <= largest) for digit in digits]
        found = selector._narrow(m, stage, digits, largest, old)
        new = tuple(named(m, bits, name) for bits, name in ((found.chosen, "above"), (found.tied, "level")))
        check_step(m, [range(channels)], n, (old.chosen, old.tied), (new[0], new[1]), digits)
        width = len(old.missing)
        check(m, "missing", found.missing[:width] == (population(new[0]) - n)[:width])

    return Circuit(describe)


def _last(n: int, channels: int) -> Circuit:
    def describe(m: Module, c: Circuit) -> None:
        selector = bare(selector_of(n, channels))
        m.d.comb += selector.enable.eq(-1)
        state = _free_state(m, c, n, channels)
        m.d.comb += Assume(room((state.chosen, state.tied), range(channels), n))
        mask = delay(m, selector.enable[-1:], selector._ties(m, state), "kept")
        cycles = selector.latency - selector.digits
        late = [history(m, bits, cycles, name) for bits, name in ((state.chosen, "chosen"), (state.tied, "tied"))]
        check_ties(m, [range(channels)], n, (late[0], late[1]), mask, settled(m, cycles))

    return Circuit(describe)


def _wiring(n: int, channels: int) -> Circuit:
    """What the steps are given is what the steps before them gave, a register later."""

    def describe(m: Module, c: Circuit) -> None:
        selector = selector_of(n, channels, _Probed)
        assert isinstance(selector, _Probed)
        m.submodules.selector = Fragment.get(selector, None)
        scores = [c.free(WIDTH, f"score_{i}") for i in range(channels)]
        m.d.comb += [selector.enable.eq(-1), Value.cast(selector.scores).eq(Cat(scores))]
        width = len(selector.steps[0][1][2])
        start: Sequence[Any] = [0, (1 << channels) - 1, (1 << width) - n]
        _same(m, "start", selector.steps[0][1], start, settled(m, 0))
        follows = [*(old for _, old, _ in selector.steps[1:]), selector.final]
        for stage, ((digits, _, new), after) in enumerate(zip(selector.steps, follows, strict=True)):
            ready = settled(m, stage + 1)
            _same(m, f"state_{stage}", after, [history(m, v, 1, f"new_{stage}_{k}") for k, v in enumerate(new)], ready)
            shift = DIGIT_BITS * (selector.digits - 1 - stage)
            seen = [
                history(m, score[shift : shift + DIGIT_BITS], stage, f"d_{i}_{stage}") for i, score in enumerate(scores)
            ]
            _same(m, f"digit_{stage}", digits, seen, settled(m, stage))

    return Circuit(describe)


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
            "the same block (abc pdr, all scores).",
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
                claim="From any state in order, a digit moves channels by the rules, and the N-th largest score is "
                "tied afterwards (abc pdr, all states and digits).",
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
