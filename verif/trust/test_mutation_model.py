"""Mutants of the model: what one changes, and which reasons speak of it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from flexnm_tb.mutation import model
from flexnm_tb.mutation.model import EXPLAINED, Outcome, report, retry
from flexnm_tb.mutation.model_change import Change, Reason, Reasons, change, functions

WRITTEN = """
def x_f__mutmut_orig(a):
    if a > 1:
        return a
    return g(a, device=a.device)

def x_f__mutmut_1(a):
    if a >= 1:
        return a
    return g(a, device=a.device)

def x_f__mutmut_2(a):
    if a > 1:
        return a
    return g(a, device=None)

class C:
    def xǁCǁf__mutmut_orig(self):
        y = 1
        return y
    def xǁCǁf__mutmut_1(self):
        y = None
        return y
"""
REASONS = """
[[reason]]
why = "no other device"
equivalent = true
ignoring = [', ?device=(\\w+\\.)?(device|None)']

[[reason]]
why = "never 1"
mutants = ["m.f: if a >= 1:", "m.f: return 7"]
"""


@pytest.fixture
def reasons(tmp_path: Path) -> Reasons:
    file = tmp_path / "explained.toml"
    file.write_text(REASONS)
    return Reasons(file)


def test_what_a_mutant_changes(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(WRITTEN)
    written = functions(file)
    assert change("flexnm_model.m.x_f__mutmut_1", written) == Change("m.f", "if a > 1:", "if a >= 1:")
    assert change("flexnm_model.m.xǁCǁf__mutmut_1", written).identity == "m.C.f: y = None"


def test_reasons_speak_of_changes(reasons: Reasons) -> None:
    assert reasons.find(Change("m.f", "return g(a, device=a.device)", "return g(a, device=None)")) == Reason(
        "no other device", True
    )
    assert reasons.find(Change("m.f", "if a > 1:", "if a >= 1:")) == Reason("never 1", False)
    assert reasons.find(Change("m.g", "if a > 1:", "if a >= 1:")) is None
    assert reasons.find(Change("m.f", "return g(a, device=a.device)", "return g(None, device=a.device)")) is None
    assert reasons.unused == {"m.f: return 7"}


def outcome(status: str, reason: Reason | None = None) -> Outcome:
    return Outcome("select", Change("select.f", "a", "b"), status, reason)


@pytest.mark.parametrize(
    "left, passed",
    [
        ([], True),
        ([outcome("survived", Reason("why", False))], True),
        ([outcome("survived")], False),
        ([outcome("not checked")], False),
        ([outcome("survived", Reason("why", False))] * 2, False),  # 36 of 38 are less than 95 %
        ([outcome("survived", Reason("why", True))] * 9, True),
    ],
)
def test_enough_have_to_be_noticed_and_none_may_be_unexplained(
    left: list[Outcome], passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "CORE", ("select",))
    killed = [outcome("killed")] * 30 + [outcome("timeout")] * (8 if len(left) != 2 else 6)
    assert report(killed + left) == passed


def test_survivors_are_tried_again_when_a_test_has_changed(tmp_path: Path) -> None:
    meta = tmp_path / "mutants" / "flexnm_model" / "select.py.meta"
    for folder in (meta.parent, tmp_path / "tests"):
        folder.mkdir(parents=True)

    def codes() -> dict[str, int | None]:
        return dict(json.loads(meta.read_text())["exit_code_by_key"])

    tried = {"exit_code_by_key": {"killed": 1, "survived": 0}}
    meta.write_text(json.dumps(tried))
    (tmp_path / "tests" / "test_a.py").write_text("a")
    retry(tmp_path)
    assert codes() == {"killed": 1, "survived": None}
    meta.write_text(json.dumps(tried))
    retry(tmp_path)
    assert codes() == {"killed": 1, "survived": 0}
    (tmp_path / "tests" / "test_a.py").write_text("b")
    retry(tmp_path)
    assert codes() == {"killed": 1, "survived": None}


def test_explanations_of_the_repository_can_be_read() -> None:
    """Every reason is a sentence, and every identity names a function of the core."""
    named = {
        f"{file}.{node.name}"
        for file in model.CORE
        for node in ast.walk(ast.parse((Path(model.flexnm_model.__file__).parent / f"{file}.py").read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    reasons = Reasons(EXPLAINED)
    assert all(len(entry["why"]) > 20 for entry in reasons.entries)
    assert {identity.partition(":")[0] for identity in reasons.unused} <= named
