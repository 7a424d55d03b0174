"""What a threshold search has to keep true from digit to digit, and what follows for any two channels.

Between digits a channel is chosen (above the threshold so far), tied (equal to it) or neither. ``check_step`` and
``check_ties`` are asked of the circuits; ``pair_lemma`` shows that they suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Assume, Cat, Module, Value

from flexnm_tb.formal.proof import Circuit, check
from flexnm_tb.formal.rules import beats, implies, named, population

Conditions = list[tuple[str, Value]]
State = tuple[Any, Any]
"""Chosen and tied channels, one bit each."""


class Probed:
    """In front of a selector among the bases of a class: it notes digits, old and new state of every step, and the
    state that the ties are taken from. The subclass calls ``note`` and sets ``final``.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.steps: list[tuple[list[Value], list[Value], list[Value]]] = []
        self.final: list[Value] = []

    def note(self, m: Module, stage: int, digits: Sequence[Any], old: Sequence[Any], new: Sequence[Any]) -> None:
        """Note a step."""
        parts = (("digit", digits), ("old", old), ("new", new))
        digit, before, after = (noted(m, values, f"{name}_{stage}") for name, values in parts)
        self.steps.append((digit, before, after))


def noted(m: Module, values: Sequence[Any], name: str) -> list[Value]:
    """The values as signals, unsigned."""
    return [named(m, Value.cast(value).as_unsigned(), f"{name}_{k}") for k, value in enumerate(values)]


def room(state: State, block: Sequence[int], n: Any) -> Value:
    """The n-th largest score of the block is among the tied ones, and no channel is chosen and tied."""
    chosen, tied = ([bits[i] for i in block] for bits in state)
    apart = ~Cat(a & b for a, b in zip(chosen, tied, strict=True)).any()
    either = [a | b for a, b in zip(chosen, tied, strict=True)]
    return apart & (population(chosen) < n) & (population(either) >= n)


def channel_rules(i: int, old: State, new: State) -> Conditions:
    """How a channel moves at a digit: chosen ones stay, tied ones become chosen, stay tied, or are out."""
    (chosen, tied), (chosen_next, tied_next) = old, new
    return [
        (f"stays_{i}", implies(chosen[i], chosen_next[i])),
        (f"from_tied_{i}", implies(chosen_next[i] & ~chosen[i], tied[i]) & implies(tied_next[i], tied[i])),
        (f"apart_{i}", ~(chosen_next[i] & tied_next[i])),
    ]


def pair_rules(i: int, j: int, old: State, new: State, digits: Sequence[Any]) -> Conditions:
    """Of two tied channels: the digit decides."""
    (_, tied), (above, level) = old, new
    both, higher = tied[i] & tied[j], digits[i] > digits[j]
    return [
        (f"above_{i}_{j}", implies(both & above[i] & ~above[j], higher)),
        (f"equal_{i}_{j}", implies(both & level[i], level[j] == (digits[i] == digits[j]))),
        (f"below_{i}_{j}", implies(both & level[i] & ~level[j] & ~above[j], higher)),
    ]


def tie_rules(i: int, j: int, state: State, mask: Any) -> Conditions:
    """Channel i < j at the end: chosen ones are kept, tied ones from the lowest on, others are not."""
    chosen, tied = state
    found = [(f"kept_{k}_{i}_{j}", implies(chosen[k], mask[k]) & implies(mask[k], chosen[k] | tied[k])) for k in (i, j)]
    return [*found, (f"lowest_{i}_{j}", implies(tied[i] & tied[j] & mask[j], mask[i]))]


def check_step(
    m: Module, blocks: Sequence[Sequence[int]], n: Any, old: State, new: State, digits: Sequence[Any]
) -> None:
    """Assume that the state before the digit is in order, assert the rules and that it is so after it."""
    for k, block in enumerate(blocks):
        m.d.comb += Assume(room(old, block, n))
        check(m, f"room_{k}", room(new, block, n))
        for i in block:
            check_all(m, channel_rules(i, old, new))
            for j in block:
                if i != j:
                    check_all(m, pair_rules(i, j, old, new, digits))


def check_ties(m: Module, blocks: Sequence[Sequence[int]], n: Any, state: State, mask: Any, ready: Value) -> None:
    """Assert exactly n channels of every block, and which."""
    for k, block in enumerate(blocks):
        check(m, f"exactly_n_{k}", ~ready | (population([mask[i] for i in block]) == n))
        for i in block:
            for j in block:
                if i < j:
                    check_all(m, [(name, ~ready | rule) for name, rule in tie_rules(i, j, state, mask)])


def check_all(m: Module, conditions: Conditions) -> None:
    """Assert each of the conditions under its name."""
    for name, condition in conditions:
        check(m, name, condition)


def pair_lemma(digits: int, digit_bits: int) -> Callable[[Module, Circuit], None]:
    """Two channels, states as free as the rules let them be: a kept one beats a dropped one."""

    def describe(m: Module, c: Circuit) -> None:
        states = [(c.free(2, f"chosen_{k}"), c.free(2, f"tied_{k}")) for k in range(digits + 1)]
        scores = [c.free(digits * digit_bits, f"score_{i}") for i in range(2)]
        mask = c.free(2, "mask")
        m.d.comb += Assume((states[0][0] == 0) & (states[0][1] == 3))
        for k in range(digits):
            shift = digit_bits * (digits - 1 - k)
            parts = [score[shift : shift + digit_bits] for score in scores]
            old, new = states[k], states[k + 1]
            rules = channel_rules(0, old, new) + channel_rules(1, old, new)
            rules += pair_rules(0, 1, old, new, parts) + pair_rules(1, 0, old, new, parts)
            m.d.comb += [Assume(rule) for _, rule in rules]
        m.d.comb += [Assume(rule) for _, rule in tie_rules(0, 1, states[-1], mask)]
        for i in range(2):
            check(m, f"kept_{i}", implies(mask[i] & ~mask[1 - i], beats(i, 1 - i, scores)))

    return describe
