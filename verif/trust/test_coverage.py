"""Coverage: Verilator's files are merged, waivers have to fit, the page says what is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from flexnm_gen.cli import run as flexnm
from flexnm_rtl.config import Config, ConfigError
from flexnm_tb.context import Context
from flexnm_tb.coverage import functional
from flexnm_tb.coverage.benches import Target, run
from flexnm_tb.coverage.functional_report import Functional, read_functional
from flexnm_tb.coverage.points import Point, merge, named, read_points, share
from flexnm_tb.coverage.report import Covered, page
from flexnm_tb.coverage.waivers import Waiver, apply, check_used, read_waivers

HEAD = "# SystemC::Coverage-3\n"
SOURCES = {"u.v": ["module u;", "  assign y = a ? b : c;", "  assign z = q ? b : c;"]}
TARGET = Target("u", "u", Config(n_keep=2, m_group=4, lanes=1), ())


def line(number: int, count: int, *, kind: str = "branch", part: str = "cond_then", instance: str = "u.a") -> str:
    fields = {"f": "/x/u.v", "l": number, "n": 9, "t": kind, "page": f"v_{kind}/u", "o": part, "h": instance}
    return "C '" + "".join(f"\x01{key}\x02{value}" for key, value in fields.items()) + f"' {count}\n"


def point(number: int, part: str = "cond_then", kind: str = "branch") -> Point:
    return Point("u.v", number, 9, kind, "u", part)


def test_files_are_merged() -> None:
    """Instances of a module, and runs, add up; what never happened stays."""
    first = read_points(HEAD + line(2, 0) + line(2, 3, instance="u.b") + line(3, 0) + line(3, 0, part="cond_else"))
    second = read_points(HEAD + line(3, 1, part="cond_else") + line(1, 5, kind="toggle", part="o___05Fa__024:0->1"))
    merged = merge([first, second])
    assert merged == {point(2): 3, point(3): 0, point(3, "cond_else"): 1, point(1, "o__a$:0->1", "toggle"): 5}
    assert share(merged, ("line", "branch")).rate == 2 / 3
    assert share(merged, ("line", "branch"), [point(3)]).rate == 1
    assert share(merged, ("toggle",), [point(3)]).waived == 0


def test_modules_have_the_names_of_the_verilog() -> None:
    """Not those that Verilator makes shorter."""
    sources = {"u.v": ["module \\u$1 (a);", "  assign y = a;", "endmodule", "", "module v(a);", "  assign z = a;"]}
    assert {(p.line, p.module): n for p, n in named({point(2): 1, point(6): 0}, sources).items()} == {
        (2, "u$1"): 1,
        (6, "v"): 0,
    }


@pytest.mark.parametrize("text", ["", "something else\n", HEAD + "C 'no count'\n"])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a coverage"):
        read_points(text)


def test_waivers_fit_what_is_uncovered_or_are_an_error() -> None:
    counts = {point(2): 3, point(3): 0, point(3, "cond_else"): 0}
    fits = Waiver("u", "branch", r"assign z = q.*", "cond_then", "q is 0")
    covered = Waiver("u", "branch", r"assign y = a.*", ".*", "is covered")
    found = apply([fits, covered], counts, SOURCES)
    assert found == {point(3): fits}
    check_used([fits], found.values())
    with pytest.raises(ConfigError, match="fits no uncovered point"):
        check_used([fits, covered], found.values())


@pytest.mark.parametrize(
    "entry, message",
    [
        ('kind = "line"', "reason"),
        ('kind = "line"\nreason = " "', "reason"),
        ('kind = "lines"\nreason = "x"', "must be one of"),
        ('kind = "line"\nreason = "x"\nsource = "("', "regular expression"),
        ('kind = "line"\nreason = "x"\nfile = "y"', "must have"),
        ("kind = ", "no TOML"),
    ],
)
def test_bad_waivers_are_named(tmp_path: Path, entry: str, message: str) -> None:
    file = tmp_path / "waivers.toml"
    file.write_text(f"[[waiver]]\n{entry}\n")
    with pytest.raises(ConfigError, match=message):
        read_waivers(file)


def test_the_page_shows_what_is_left() -> None:
    counts = {point(2): 3, point(3): 0, point(3, "cond_else"): 0, point(1, "a:0->1", "toggle"): 0}
    waiver = Waiver("u", "branch", ".*", "cond_else", "q is <1>")
    bins = {"('1:2', 'none')": 4, "('1:2', '<in>')": 0}
    tried = Functional(dict.fromkeys(("data", "outcomes", "all"), bins), {"dense x ties": "nothing is selected"})
    design = Covered(TARGET, counts, apply([waiver], counts, SOURCES), SOURCES, tried)
    assert design.open == [point(3)]
    assert not design.passed
    text = page([design], None)
    assert "assign z = q ? b : c;" in text
    assert "q is &lt;1&gt;" in text
    assert "1 edges of bits in u" in text
    assert "50.00 %" in text
    assert "50.0 % of 2" in text
    assert "&lt;in&gt;" in text
    assert "nothing is selected" in text


def test_a_bench_leaves_its_coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way; a second run finds what the first one left."""
    monkeypatch.setenv("FLEXNM_BUILD", str(tmp_path / "build"))
    cfg = Config(n_keep=1, m_group=2, rows=1, cols=1, lanes=1)
    target = Target("d", "decompressor", cfg, ("flexnm_tb.benches.decompressor",), seeds=(1,))
    (file,), sources = run(target, fresh=True, advance=lambda: None)
    counts = read_points(file.read_text())
    assert share(counts, ("line", "branch")).rate > 0.9
    assert {p.file for p in counts} == set(sources)
    tried = read_functional([file.with_suffix(".xml")], "decompressor", cfg)
    assert tried.rate("data") == 1
    assert "('1:2', 'in and out', 'reset')" not in tried.never("outcomes")
    stamp = file.stat().st_mtime_ns
    assert run(target, fresh=False, advance=lambda: None)[0] == [file]
    assert file.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("options", [["--only", "nothing"], ["--python", "pyproject.toml"], ["--waivers", "missing"]])
def test_bad_settings_of_coverage_are_named(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert flexnm(["coverage", *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "token, kinds",
    [
        ([0, 0, 0, 0], {"all zero"}),
        ([3, 3, 3, 3], {"all equal"}),
        ([-8, -8, -8, -8], {"all equal", "most negative"}),
        ([5, -5, 5, 1], {"ties"}),
        ([5, 4, 3, 3], {"random"}),
        ([5, 0, 0, 0], {"random"}),
        ([7, 1, 0, 0, 6, 5, 4, 4], {"random"}),
        ([7, 1, 0, 0, 6, 5, -5, 4], {"ties"}),
        ([1, 2, 3, 4, 5], {"K mod M"}),
        ([4], {"K mod M"}),
        ([-8, 7, -7, 0], {"most negative", "ties"}),
    ],
)
def test_kinds_of_tokens(token: list[int], kinds: set[str]) -> None:
    """2:4 on 4 bits; a tie is one of the second and the third of a block, above 0."""
    x = torch.tensor([token], dtype=torch.int32)
    found = functional.token_kinds(x, 2, 4, 4)
    assert found == kinds
    assert functional.token_kinds(torch.cat([x, torch.zeros_like(x)]), 2, 4, 4) == kinds | {"all zero"}


def test_jobs_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    """In a process of its own, as in a simulation: the file is written at its exit. A refused start does not count."""
    cfg = Config(n_keep=2, m_group=4, rows=1, cols=1, lanes=1)
    lines = [
        "import torch",
        "from flexnm_rtl.config import Config",
        "from flexnm_tb.context import Context",
        "from flexnm_tb.coverage.functional import begin, end",
        f"ctx = Context({{'top': 'linear', 'config': {cfg.as_dict()!r}}}, 1)",
        "x = torch.tensor([[5, -5, 5, 1]])",
        "for flags in ([], ['acts_short', 'weights_long'], ['shape']):",
        "    begin(ctx, ['idle'], x)",
        "    end(flags)",
        "begin(ctx, [], x, None, 'dense')",
        "end(['reset'])",
    ]
    env = os.environ | {"FLEXNM_COVERAGE": str(tmp_path), "COCOTB_TOPLEVEL": "u", "COCOTB_RESULTS_FILE": "s1.xml"}
    subprocess.run([sys.executable, "-c", "\n".join(lines)], env=env, check=True)
    file = tmp_path / "u-s1.xml"
    tried = read_functional([file, file], "linear", cfg)
    hit = {name: count for name, count in tried.hits["all"].items() if count}
    assert hit == {
        "('2:4', 'in', 'ties', 'none')": 2,
        "('2:4', 'in', 'ties', 'short')": 2,
        "('2:4', 'in', 'ties', 'long')": 2,
        "('dense', 'none', 'random', 'reset')": 2,
    }
    assert "('dense', 'none', 'ties')" not in tried.hits["data"]
    with pytest.raises(ConfigError, match="--fresh"):
        read_functional([file], "decode", cfg)


def test_nothing_is_counted_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEXNM_COVERAGE", raising=False)
    functional.begin(Context({}, 1), [], torch.zeros(4))
    functional.end()
