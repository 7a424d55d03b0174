"""The plan of promises against documents, tests, proofs and Makefile; every kind of planted error is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from flexnm_rtl.config import ConfigError
from flexnm_tb.formal.catalogue import all_proofs
from flexnm_tb.testplan.check import errors, sections
from flexnm_tb.testplan.plan import FOLDER, load
from testplan_tools import PROOFS, README, project

ROOT = Path(__file__).parents[2]


def found(folder: Path) -> list[str]:
    """Errors of a project."""
    return errors(load(folder / FOLDER), folder, PROOFS)


def test_every_promise_of_the_project_is_held() -> None:
    """The rules of the plan, on the plan."""
    plan = load(ROOT / FOLDER)
    assert errors(plan, ROOT, [proof.name for proof in all_proofs()]) == []
    assert len(plan.promises) > 100


def test_sections_are_told_apart() -> None:
    """By the heading above where they are called alike; whitespace is one blank."""
    assert sections(README) == {
        "Title": "Words in front.",
        "Speed": "It is very fast, `always`.",
        "Speed / Parts": "One part.",
        "Limits": "",
        "Limits / Parts": "Another part.",
    }


def test_a_good_plan_has_no_errors(tmp_path: Path) -> None:
    """So what is found below is what was planted."""
    assert found(project(tmp_path)) == []


PLANTED = [
    ('"parts.first"', '"speed"', "speed: 2 promises have this id"),
    ('"parts.first"', '"Parts First"', "Parts First: an id is small letters"),
    ('section = "Speed"', 'section = "Sped"', "speed: README.md has no section Sped"),
    ('section = "Speed"', 'section = "Sped"', "README.md, Speed: no promise, and not said to be silent"),
    ('document = "README.md"', 'document = "docs/none.md"', "speed: there is no document docs/none.md"),
    ('section = "Limits / Parts"', 'section = "Limits"', "README.md, Limits / Parts: no promise"),
    ('section = "Limits"', 'section = "Speed"', "README.md, Speed: said to be silent, but there is a promise"),
    ("very fast", "fast", "speed: README.md, Speed does not say: It is fast"),
    ('"One part."', '"Another part."', "parts.first: README.md, Speed / Parts does not say: Another part."),
    ('proofs = ["select/rank"]', "", "parts.first: no test, proof or campaign holds it"),
    ('proofs = ["select/rank"]', 'benches = ["bus.jobs"]', "parts.first: benches, but no test that runs them"),
    ("::test_fast", "::test_slow", "speed: verif/unit/test_fast.py has no test_slow"),
    ("test_fast.py::", "test_slow.py::", "speed: there is no file verif/unit/test_slow.py"),
    ('"verif/unit/test_fast.py"', '"verif/unit/fake_unit.py"', "speed: verif/unit/fake_unit.py has no test"),
    ("bus.jobs", "bus.errors", "speed: verif/flexnm_tb/benches/bus.py has no errors"),
    ("bus.jobs", "bus", "speed: verif/flexnm_tb/benches/bus.py has no (no name)"),
    ('"stream/"', '"streams/"', "speed: no proof's name begins with 'streams/'"),
    ('"stream/"', '""', "speed: no proof's name begins with ''"),
    ('"fuzz"', '"hidden"', "speed: the Makefile has no target hidden"),
    ("bench:speed", "bench:size", "speed: there is no measurement size in bench"),
]


@pytest.mark.parametrize("old, new, message", PLANTED, ids=[message for _, _, message in PLANTED])
def test_planted_errors_are_found(old: str, new: str, message: str, tmp_path: Path) -> None:
    """Each rule, broken once, in a line of its own."""
    lines = found(project(tmp_path, (old, new)))
    assert [line for line in lines if line.startswith(message)]
    assert not [line for line in lines if "\n" in line]


def test_a_new_document_is_noticed(tmp_path: Path) -> None:
    """All its headings, but for those of code."""
    page = "# Page\n\n    ## no heading\n\n### Deep\n\n#### Deeper\n"
    folder = project(tmp_path, files={"docs/page.md": page})
    silent = "no promise, and not said to be silent"
    assert found(folder) == [f"docs/page.md, Page: {silent}", f"docs/page.md, Deep: {silent}"]


MALFORMED = [
    ("[[silent]]", "[[silnt]]", "all.toml has a table silnt: there are [[promise]] and [[silent]]"),
    ("[[promise]]", "[[promise]", "all.toml is not TOML: "),
    ("benches =", "benhces =", "all.toml: promise speed has a key benhces: there are id, document"),
    ('id = "speed"', "", "all.toml: promise 1 lacks id"),
    ('["stream/"]', '"stream/"', "all.toml: promise speed: proofs is no list of texts"),
    ('["stream/"]', "[1]", "all.toml: promise speed: proofs is no list of texts"),
    ('"an opening"', '" "', "all.toml: silent 1: why is no text"),
]


@pytest.mark.parametrize("old, new, message", MALFORMED)
def test_what_is_no_plan_is_one_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    """The file is named."""
    with pytest.raises(ConfigError) as caught:
        load(project(tmp_path, (old, new)) / FOLDER)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
