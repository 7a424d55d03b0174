"""Small selectors as a whole, with no decomposition: the rule itself, and the same mask from all of them."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Cat, Module, Mux, Value
from flexnm_rtl.config import Config, Selector
from flexnm_rtl.selection import SelectorBase, make_selector

from flexnm_tb.formal.proof import FORWARD, Circuit, Proof, check
from flexnm_tb.formal.rules import beats, history, implies, named, population, settled

WIDTH = 8
KINDS = (Selector.RANK, Selector.RANK2, Selector.RADIX)
DEPTH = 6
"""One more than the cycles of the slowest selector of these proofs."""


def selector_of(kind: Selector, n: int, m: int) -> SelectorBase:
    """The one that a design of this pattern has."""
    return make_selector(Config(n_keep=n, m_group=m, act_width=WIDTH, lanes=1, selector=kind))


def _scores(m: Module, c: Circuit, channels: int) -> list[Value]:
    """Free magnitudes: no score exceeds that of the most negative number."""
    largest = 1 << (WIDTH - 1)
    free = [c.free(WIDTH, f"free_{i}") for i in range(channels)]
    return [named(m, Mux(score > largest, largest, score)[:WIDTH], f"score_{i}") for i, score in enumerate(free)]


def _feed(m: Module, selector: SelectorBase, scores: list[Value]) -> None:
    m.d.comb += [Value.cast(selector.scores).eq(Cat(scores)), selector.enable.eq(-1)]


def rule(kind: Selector, n: int, channels: int, *, whole: bool = True, made: SelectorBase | None = None) -> Circuit:
    """Exactly N; with ``whole`` also which."""

    def describe(m: Module, c: Circuit) -> None:
        m.submodules.selector = selector = made or selector_of(kind, n, channels)
        scores = _scores(m, c, channels)
        _feed(m, selector, scores)
        ready = settled(m, selector.latency)
        check(m, "exactly_n", ~ready | (population(selector.mask) == n))
        if whole:
            late = [history(m, score, selector.latency, f"score_{i}") for i, score in enumerate(scores)]
            for i in range(channels):
                for j in range(channels):
                    if i != j:
                        better = implies(selector.mask[i] & ~selector.mask[j], beats(i, j, late))
                        check(m, f"kept_{i}_dropped_{j}", ~ready | better)

    return Circuit(describe)


def _same(n: int, channels: int) -> Circuit:
    """All kinds side by side on the same scores; the quicker ones' masks wait for the slowest."""

    def describe(m: Module, c: Circuit) -> None:
        scores = _scores(m, c, channels)
        selectors = [selector_of(kind, n, channels) for kind in KINDS]
        slowest = max(selector.latency for selector in selectors)
        masks = []
        for kind, selector in zip(KINDS, selectors, strict=True):
            m.submodules[kind.value] = selector
            _feed(m, selector, scores)
            masks.append(history(m, selector.mask, slowest - selector.latency, kind.value))
        for kind, mask in zip(KINDS[1:], masks[1:], strict=True):
            check(m, f"{kind.value}_as_{KINDS[0].value}", ~settled(m, slowest) | (mask == masks[0]))

    return Circuit(describe)


def proofs() -> list[Proof]:
    """2:4 as a whole, how many are kept for 4:8, and the selectors against each other for 2:4."""
    found = [
        Proof(
            name=f"select/{kind.value}/2:4/whole",
            claim="Exactly N channels are kept, and each of them beats each dropped one: a higher score, or an equal "
            "one and a lower number (k-induction longer than the pipeline, all scores up to 128).",
            build=partial(rule, kind, 2, 4),
            depth=DEPTH,
        )
        for kind in KINDS
    ]
    found += [
        Proof(
            name=f"select/{kind.value}/4:8/how_many",
            claim="Exactly N channels are kept (abc pdr, all scores up to 128, the whole selector).",
            build=partial(rule, kind, 4, 8, whole=False),
            engine="abc pdr",
        )
        for kind in (Selector.RANK, Selector.RANK2)
    ]
    found.append(
        Proof(
            name="select/equivalence/2:4",
            claim="rank, rank2 and radix give the same mask, when their latencies are made equal "
            "(all scores up to 128, by canonical forms).",
            build=partial(_same, 2, 4),
            engine=FORWARD,
        )
    )
    return found
