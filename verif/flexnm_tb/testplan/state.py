"""What is known of each promise: from the tests of this run, and from the reports of earlier campaigns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexnm_tb.testplan.plan import Plan, Promise

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
_WORST = (FAILED, NOT_RUN, PASSED)

REPORTS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "formal": ("formal/report.json", lambda data: all(proof["result"] == "proved" for proof in data["proofs"])),
    "mutate": (
        "mutation/mutation.json",
        lambda data: all(row["rate"] >= 0.95 and not row["unexplained"] for row in data),
    ),
    "coverage": (
        "coverage/coverage.json",
        lambda data: all(row["line_and_branch_rate"] >= 0.98 for row in data["designs"]),
    ),
    "fuzz": ("fuzz/report.json", lambda data: data["failure"] is None),
    "soak": ("soak/report.json", lambda data: data["failure"] is None),
    "llm": ("llm/llm.json", lambda data: bool(data["identical_to_model"]) and not data["totals"]["mismatches"]),
    "decode": ("decode/decode.json", lambda data: bool(data["identical_to_model"]) and not data["mismatches"]),
}
"""Where a make target leaves its result below ``build``, and whether it is a good one."""


@dataclass(frozen=True)
class Holder:
    """A test, proof or campaign, and what is known of it. hint: why it was not run, or what to look at."""

    name: str
    state: str
    hint: str = ""


@dataclass(frozen=True)
class Held:
    """A promise with its holders."""

    promise: Promise
    holders: tuple[Holder, ...]

    @property
    def state(self) -> str:
        """Failed if anything failed; passed if every test did, or, without tests, every proof and campaign."""
        if any(holder.state == FAILED for holder in self.holders):
            return FAILED
        deciding = self.holders[: len(self.promise.tests)] or self.holders
        return min((holder.state for holder in deciding), key=_WORST.index, default=NOT_RUN)


def from_reports(reports: Iterable[tuple[str, str]]) -> dict[str, str]:
    """State of every test by its name without parameters, from ``(category, node id)`` of pytest's terminal reporter.

    Failed if one of its cases failed; passed if one passed and none failed, so skipped cases do not count.
    """
    states: dict[str, str] = {}
    for category, node in reports:
        name = node.partition("[")[0]
        if category in ("failed", "error"):
            states[name] = FAILED
        elif category == "passed":
            states.setdefault(name, PASSED)
    return states


def evaluate(plan: Plan, tests: Mapping[str, str], build: Path, proofs: list[str]) -> list[Held]:
    """All promises with what is known. ``tests``: by ``from_reports``; ``build``: where campaigns leave reports."""
    shown = _proofs(build)
    made = {target: _campaign(target, build) for target in REPORTS}

    def held(promise: Promise) -> Held:
        holders = [Holder(name, _test(name, tests)) for name in promise.tests]
        holders += [_prefix(prefix, proofs, shown) for prefix in promise.proofs]
        by_hand = ((name, f"by hand: make {name.replace('bench:', 'bench NAME=')}") for name in promise.campaigns)
        holders += [made.get(name) or Holder(name, NOT_RUN, hint) for name, hint in by_hand]
        return Held(promise, tuple(holders))

    return [held(promise) for promise in plan.promises]


def _test(name: str, tests: Mapping[str, str]) -> str:
    if "::" in name:
        return tests.get(name, NOT_RUN)
    states = [state for test, state in tests.items() if test.startswith(f"{name}::")]
    return FAILED if FAILED in states else PASSED if states else NOT_RUN


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _proofs(build: Path) -> dict[str, str]:
    """Results by name of proof."""
    try:
        return {proof["name"]: proof["result"] for proof in _read(build / REPORTS["formal"][0])["proofs"]}
    except (KeyError, TypeError):
        return {}


def _prefix(prefix: str, proofs: list[str], shown: Mapping[str, str]) -> Holder:
    """All proofs whose names begin alike: passed if each of today's proofs is proved."""
    results = [shown.get(name) for name in proofs if name.startswith(prefix)]
    if any(result not in (None, "proved") for result in results):
        return Holder(prefix, FAILED, "see build/formal")
    if not results or None in results:
        return Holder(prefix, NOT_RUN, "not run here: make formal")
    return Holder(prefix, PASSED, f"{len(results)} proofs")


def _campaign(target: str, build: Path) -> Holder:
    name, good = REPORTS[target]
    data = _read(build / name)
    if data is None:
        return Holder(target, NOT_RUN, f"not run here: make {target}")
    try:
        return Holder(target, PASSED if good(data) else FAILED, f"build/{name}")
    except (KeyError, TypeError):
        return Holder(target, NOT_RUN, f"build/{name} is none of this version: make {target}")
