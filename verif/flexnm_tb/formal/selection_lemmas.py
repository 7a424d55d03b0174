"""The steps of the argument about selections that need no RTL, each shown by induction or for all values.

Sets are given one channel a cycle, so these hold for any number of channels that the counters can count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Assume, Const, Module, Mux, Signal, Value
from flexnm_rtl.config import MAX_GROUP, bits_for

from flexnm_tb.formal.proof import Circuit, Proof, check
from flexnm_tb.formal.rules import beats, implies
from flexnm_tb.formal.threshold import channel_rules, check_all, pair_rules, tie_rules

_COUNT = bits_for(MAX_GROUP + 1)


def _subset(m: Module, c: Circuit) -> None:
    """A is within B: count both, channel by channel."""
    here = {name: c.free(1, name) for name in ("a", "b")}
    count = {name: Signal(_COUNT, name=f"count_{name}") for name in here}
    channels, differ = Signal(_COUNT), Signal()
    m.d.comb += Assume(implies(here["a"], here["b"]))
    with m.If(channels != MAX_GROUP):
        m.d.sync += channels.eq(channels + 1)
        m.d.sync += [count[name].eq(count[name] + bit) for name, bit in here.items()]
        m.d.sync += differ.eq(differ | (here["a"] != here["b"]))
    check(m, "range", (channels <= MAX_GROUP) & (count["b"] <= channels))
    check(m, "fewer", (count["a"] <= count["b"]) & (differ == (count["a"] != count["b"])))


def _counters(m: Module, bits: dict[str, Any]) -> dict[str, Signal]:
    """How often each bit was set, and of how many channels, at most 32."""
    channels = Signal(_COUNT, name="channels")
    counts = {name: Signal(_COUNT, name=f"count_{name}") for name in bits}
    with m.If(channels != MAX_GROUP):
        m.d.sync += channels.eq(channels + 1)
        m.d.sync += [counts[name].eq(counts[name] + bit) for name, bit in bits.items()]
    check(m, "channels", channels <= MAX_GROUP)
    for name, count in counts.items():
        check(m, f"range_{name}", count <= channels)
    return counts | {"channels": channels}


def _moved(chosen: Value, tied: Value, digit: Value, threshold: Value) -> tuple[Value, Value]:
    """A channel after a digit."""
    return chosen | (tied & (digit > threshold)), tied & (digit == threshold)


def _digit(m: Module, c: Circuit) -> None:
    """Counts of a block before and after a digit, and what the largest digit value with N or more channels means."""
    top = 3
    n, threshold = c.constant(m, range(MAX_GROUP + 1), "n"), c.constant(m, range(top + 1), "threshold")
    chosen, tied, digit = c.free(1, "chosen"), c.free(1, "tied"), c.free(range(top + 1), "digit")
    m.d.comb += Assume(~(chosen & tied))
    above, level = _moved(chosen, tied, digit, threshold)
    bits = {"chosen": chosen, "above": above, "either": above | level}
    bits |= {f"reached_{d}": tied & (digit >= d) for d in range(top + 1)}
    counts = _counters(m, bits)
    check(m, "apart", counts["chosen"] + counts["reached_0"] <= counts["channels"])
    reached: Sequence[Any] = [*(counts[f"reached_{d}"] for d in range(top + 1)), Const(0)]
    for d in range(top + 1):
        check(m, f"fewer_{d}", reached[d] >= reached[d + 1])
        here = threshold == d
        check(m, f"above_{d}", implies(here, counts["above"] == counts["chosen"] + reached[d + 1]))
        check(m, f"either_{d}", implies(here, counts["either"] == counts["chosen"] + reached[d]))
        largest = (counts["chosen"] + reached[d] >= n) & (counts["chosen"] + reached[d + 1] < n)
        check(m, f"room_{d}", implies(here & largest, (counts["above"] < n) & (counts["either"] >= n)))


def _digit_rules(m: Module, c: Circuit) -> None:
    """Two channels at a digit: what the threshold makes of them follows the rules of the search."""
    chosen, tied, threshold = c.free(2, "chosen"), c.free(2, "tied"), c.free(2, "threshold")
    digits = [c.free(2, f"digit_{i}") for i in range(2)]
    m.d.comb += Assume((chosen & tied) == 0)
    moved = [_moved(chosen[i], tied[i], digits[i], threshold) for i in range(2)]
    new = ([above for above, _ in moved], [level for _, level in moved])
    for i in range(2):
        check_all(m, channel_rules(i, (chosen, tied), new))
        check_all(m, pair_rules(i, 1 - i, (chosen, tied), new, digits))


def _ties(m: Module, c: Circuit) -> None:
    """The mask of a block whose chosen channels are ``all_chosen``, channel by channel."""
    n, all_chosen = c.constant(m, range(MAX_GROUP + 1), "n"), c.constant(m, range(MAX_GROUP + 1), "all_chosen")
    chosen, tied = c.free(1, "chosen"), c.free(1, "tied")
    bits = {"chosen": chosen, "tied": tied, "kept": Signal(name="kept")}
    counts = _counters(m, bits)
    m.d.comb += [
        Assume(~(chosen & tied) & (all_chosen < n)),
        bits["kept"].eq(chosen | (tied & (all_chosen + counts["tied"] < n))),
    ]
    places = n - all_chosen
    filled = Mux(counts["tied"] < places, counts["tied"], places)
    check(m, "apart", counts["chosen"] + counts["tied"] <= counts["channels"])
    check(m, "kept", counts["kept"] == counts["chosen"] + filled)
    whole = (counts["chosen"] == all_chosen) & (all_chosen + counts["tied"] >= n)
    check(m, "exactly_n", implies(whole, counts["kept"] == n))


def _tie_rules(m: Module, c: Circuit) -> None:
    """Two channels, with any numbers of tied ones below them that can be."""
    chosen, tied = c.free(2, "chosen"), c.free(2, "tied")
    before = [c.free(_COUNT, f"before_{i}") for i in range(2)]
    places = c.free(_COUNT, "places")
    m.d.comb += Assume(((chosen & tied) == 0) & (before[0] <= before[1]))
    mask = [chosen[i] | (tied[i] & (before[i] < places)) for i in range(2)]
    check_all(m, tie_rules(0, 1, (chosen, tied), mask))


def _order(m: Module, c: Circuit) -> None:
    """Three channels, all scores: the rule is an order in which one of any two comes first."""
    scores = [c.free(8, f"score_{i}") for i in range(3)]
    for i in range(3):
        for j in range(3):
            if i == j:
                continue
            k = 3 - i - j
            check(m, f"one_of_{i}_{j}", beats(i, j, scores) ^ beats(j, i, scores))
            both = beats(i, j, scores) & beats(j, k, scores)
            check(m, f"chain_{i}_{j}_{k}", implies(both, beats(i, k, scores)))


def proofs() -> list[Proof]:
    """All of them."""
    return [
        Proof(
            name="select/lemma/subset",
            claim="Of two sets of channels, one within the other, the smaller has fewer elements unless they are equal "
            "(induction over the channels, up to 32).",
            build=lambda: Circuit(_subset),
        ),
        Proof(
            name="select/lemma/order",
            claim="Of two channels exactly one beats the other, and if i beats j and j beats k then i beats k "
            "(all scores of 8 bits, whatever the order of the three channels).",
            build=lambda: Circuit(_order),
            depth=1,
        ),
        Proof(
            name="select/lemma/digit/counts",
            claim="Fewer channels reach a higher digit; with the largest digit that N or more channels reach as the "
            "threshold, fewer than N are chosen afterwards, and N or more chosen or tied (induction over the channels, "
            "up to 32).",
            build=lambda: Circuit(_digit),
        ),
        Proof(
            name="select/lemma/digit/rules",
            claim="Channels that a threshold moves follow the rules of the steps (all pairs of channels and digits).",
            build=lambda: Circuit(_digit_rules),
            depth=1,
        ),
        Proof(
            name="select/lemma/ties/counts",
            claim="Chosen channels and the lowest tied ones for the places that are missing are exactly N (induction "
            "over the channels, up to 32).",
            build=lambda: Circuit(_ties),
        ),
        Proof(
            name="select/lemma/ties/rules",
            claim="Channels that are kept in this way follow the rules of the ties (all pairs of channels).",
            build=lambda: Circuit(_tie_rules),
            depth=1,
        ),
    ]
