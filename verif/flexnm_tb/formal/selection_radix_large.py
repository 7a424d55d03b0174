"""Radix selectors of 16 and 32 channels: as ``selection_radix``, with the sums cut to free numbers as well.

What the sums say about sets of channels comes from lemmas by induction over the channels.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from amaranth.hdl import Assume, Cat, Module, Value
from flexnm_rtl.pipeline import delay

from flexnm_tb.formal.counts import sums_cut
from flexnm_tb.formal.proof import FORWARD, Circuit, Proof, check
from flexnm_tb.formal.rules import bare, history, implies, named, population, settled
from flexnm_tb.formal.selection_radix import (
    LARGE,
    REST,
    TOP,
    free_digits,
    free_state,
    largest_of,
    selector_of,
    start_of,
)


def _step(n: int, channels: int, stage: int) -> Circuit:
    """What is counted, and what becomes of each channel when the verdicts are any that come in order."""

    def describe(m: Module, c: Circuit) -> None:
        selector = bare(selector_of(n, channels))
        (chosen, tied), start = free_state(m, c, channels, stage), start_of(m, n, channels)
        largest = largest_of(selector, stage)
        digits = free_digits(m, c, (chosen, tied), largest)
        with sums_cut(c, "select_radix") as cut:
            above, level, sums = selector._narrow(m, stage, digits, largest, (chosen, tied), start)
            missing = selector._missing(m, chosen, start, sums)
        few = [total[-1] for total in cut.sums[:largest]]
        m.d.comb += [Assume(implies(low, high)) for low, high in pairwise(few)]
        threshold = named(m, largest - population(few), "threshold")
        counted = [*([digit >= d for digit in digits] for d in range(1, largest + 1)), list(chosen)]
        for d, (columns, bits) in enumerate(zip(cut.columns, counted, strict=True), 1):
            check(m, f"counted_{d}", Cat(columns[0][1:]) == Cat(bits))
            check(m, f"start_{d}", Cat(columns[0][0], *(bit for column in columns[1:] for bit in column)) == start)
        for i, digit in enumerate(digits):
            # What stays chosen is counted at every digit value: all ones.
            check(m, f"chosen_{i}", above[i] == (chosen[i] | (tied[i] & (digit > threshold))))
            check(m, f"tied_{i}", level[i] == (tied[i] & (digit == threshold)))
        for d in range(largest + 1):
            check(m, f"missing_{d}", implies(threshold == d, missing[: len(start)] == cut.sums[d]))

    return Circuit(describe)


def _last(n: int, channels: int) -> Circuit:
    """The mask, channel by channel, from any state in order."""

    def describe(m: Module, c: Circuit) -> None:
        selector = bare(selector_of(n, channels))
        m.d.comb += selector.enable.eq(-1)
        chosen, tied = c.free(channels, "chosen"), c.free(channels, "tied")
        width = (channels - 1).bit_length() + 1
        missing = c.free(width, "missing")
        mask = delay(m, selector.enable[-1:], selector._ties(m, chosen, tied, missing), "kept")
        cycles = selector.latency - selector.digits
        late_chosen, late_tied, late = (
            history(m, value, cycles, name)
            for value, name in ((chosen, "chosen"), (tied, "tied"), (missing, "missing"))
        )
        places = named(m, (-late)[:width], "places")
        enough = (places >= 1) & (places <= n) & (population(list(late_tied)) >= places)
        ready = named(m, settled(m, cycles) & enough, "ready")
        for i in range(channels):
            before: Value | int = population(list(late_tied[:i])) if i else 0
            expected = late_chosen[i] | (late_tied[i] & (before < places))
            check(m, f"kept_{i}", ~ready | (mask[i] == expected))

    return Circuit(describe)


def proofs() -> list[Proof]:
    """For the patterns that ``selection_radix`` leaves out."""
    found = []
    for n, m in LARGE:
        found += [
            Proof(
                name=f"select/radix/{n}:{m}/{name}",
                claim="A digit counts the channels that reach each value, chosen ones included, on top of -N; those "
                "above the threshold become chosen, those at it stay tied, and `missing` is the sum above it (abc pdr, "
                "all states and digits, sums cut to numbers whose verdicts are in order).",
                build=partial(_step, n, m, stage),
                engine="abc pdr",
            )
            for name, stage in (("top_digit", TOP), ("digit", REST))
        ]
        found.append(
            Proof(
                name=f"select/radix/{n}:{m}/ties",
                claim="A channel is kept when it is chosen, or tied with fewer tied channels below it than places are "
                "missing (all states with 1 .. N missing places and as many tied channels, by canonical forms).",
                build=partial(_last, n, m),
                engine=FORWARD,
            )
        )
    return found
