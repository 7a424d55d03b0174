"""A project of one document with a plan, for the tests of the plan."""

from __future__ import annotations

from pathlib import Path

README = """# Title

Words in front.

## Speed

It is very
fast, `always`.

### Parts

One part.

## Limits

### Parts

Another part.
"""
PLAN = """
[[promise]]
id = "speed"
document = "README.md"
section = "Speed"
text = "It is very fast, `always`."
tests = ["verif/unit/test_fast.py::test_fast", "verif/unit/test_fast.py"]
benches = ["bus.jobs"]
proofs = ["stream/"]
campaigns = ["fuzz", "bench:speed"]

[[promise]]
id = "parts.first"
document = "README.md"
section = "Speed / Parts"
text = "One part."
proofs = ["select/rank"]

[[silent]]
document = "README.md"
section = "Title"
why = "an opening"

[[silent]]
document = "README.md"
section = "Limits"
why = "a heading"

[[silent]]
document = "README.md"
section = "Limits / Parts"
why = "nothing"
"""
FILES = {
    "README.md": README,
    "Makefile": "fuzz: deps ## Bad traffic\n\nbench: ## Measure\n\nhidden:\n",
    "bench/speed.py": "",
    "verif/unit/test_fast.py": "def test_fast() -> None: ...\n",
    "verif/unit/fake_unit.py": "def fake() -> None: ...\n",
    "verif/flexnm_tb/benches/bus.py": "async def jobs() -> None: ...\n",
}
PROOFS = ["select/rank/2:4", "select/rank/8:16", "stream/stages"]


def project(folder: Path, *changes: tuple[str, str], files: dict[str, str] | None = None) -> Path:
    """A project of one document with a plan; ``changes`` are replacements in the plan."""
    plan = PLAN
    for old, new in changes:
        assert old in plan
        plan = plan.replace(old, new, 1)
    for name, text in {**FILES, "verif/testplan/all.toml": plan, **(files or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
