"""The paper's orderings, checked on the results: which hold here, which do not, and which the data cannot tell.

Source of the claims: arXiv 2509.22166, on models of 4 to 8 B parameters and mean zero-shot accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from flexnm_model.accuracy_statistics import Estimate, Loss
from flexnm_model.methods import Method

HOLDS, UNSURE, FAILS = "holds", "not certain", "does not hold"
_CHAIN = ("16:32", "8:16", "4:8", "2:4")
# "About": a factor counts as met within a quarter of it.
_TOLERANCE = 0.25
Losses = Mapping[str, Loss]


@dataclass(frozen=True)
class Verdict:
    """claim: the paper's. measure: by which loss. verdict: HOLDS, UNSURE or FAILS. evidence: the numbers."""

    claim: str
    measure: str
    verdict: str
    evidence: str


def verdicts(measures: Mapping[str, Losses]) -> list[Verdict]:
    """Verdicts on all claims whose methods were measured. measures: name of a loss -> losses by method.

    An order holds when the measured numbers have it and so has the 95 % interval of each difference, does not hold
    when an interval excludes it, and is not certain otherwise.
    """
    return [verdict for name, losses in measures.items() for check in _CHECKS for verdict in check(name, losses)]


def _chain(measure: str, losses: Losses) -> Iterator[Verdict]:
    known = [pattern for pattern in _CHAIN if pattern in losses]
    if len(known) >= 2:
        steps = [losses[worse].minus(losses[better]) for better, worse in pairwise(known)]
        evidence = " < ".join(f"{pattern} {_number(losses[pattern].value)}" for pattern in known)
        yield Verdict(f"loss of {' < '.join(known)}", measure, _order(steps), evidence)


def _factors(measure: str, losses: Losses) -> Iterator[Verdict]:
    for pattern, factor in (("8:16", 2.0), ("16:32", 2.7)):
        if pattern in losses and "2:4" in losses:
            limits = (factor * (1 - _TOLERANCE), factor * (1 + _TOLERANCE))
            verdict, evidence = _ratio(losses["2:4"], losses[pattern], *limits)
            yield Verdict(f"{pattern} loses about {factor:g} times less than 2:4", measure, verdict, evidence)


def _weights(measure: str, losses: Losses) -> Iterator[Verdict]:
    for name, loss in losses.items():
        activations = name.removeprefix("w")
        if name.startswith("w") and activations in losses:
            found = loss.minus(losses[activations])
            claim = f"pruning activations {activations} loses less than pruning weights {name}"
            yield Verdict(claim, measure, _order([found]), f"{_range(found)} less")


def _mitigations(measure: str, losses: Losses) -> Iterator[Verdict]:
    for name, loss in losses.items():
        method = Method.parse(name)
        base = str(Method(method.pattern, integer=method.integer))
        if name != base and base in losses and base != str(Method(integer=method.integer)):
            found = losses[base].minus(loss)
            score = () if method.score == "act" else (method.score,)
            claim = f"{' with '.join([*score, *method.mitigations])} helps {base}"
            yield Verdict(claim, measure, _order([found]), f"{_range(found)} less")


def _unstructured(measure: str, losses: Losses) -> Iterator[Verdict]:
    if "50%" in losses and "16:32" in losses:
        verdict, evidence = _ratio(losses["16:32"], losses["50%"], 0, 1 + _TOLERANCE)
        yield Verdict("16:32 comes close to unstructured 50 %", measure, verdict, f"{evidence} times its loss")


_CHECKS = (_chain, _factors, _weights, _mitigations, _unstructured)


def _order(differences: Sequence[Estimate]) -> str:
    """Verdict on differences that should all be positive."""
    if any(one.high < 0 for one in differences):
        return FAILS
    return HOLDS if all(one.low > 0 for one in differences) else UNSURE


def _ratio(loss: Loss, other: Loss, low: float, high: float) -> tuple[str, str]:
    """Verdict on whether ``loss`` over ``other`` lies between two limits, and the evidence."""
    if loss.value <= 0 or other.value <= 0:
        return UNSURE, f"losses {_number(loss.value)} and {_number(other.value)}: no ratio"
    found = loss.over(other)
    overlaps = found.low <= high and found.high >= low
    return HOLDS if low <= found.value <= high else UNSURE if overlaps else FAILS, _range(found)


def _range(found: Estimate) -> str:
    return f"{_number(found.value)} ({_number(found.low)} to {_number(found.high)})"


def _number(value: float) -> str:
    # + 0.0: no negative zero.
    return f"{round(value, 2) + 0.0:.2f}"
