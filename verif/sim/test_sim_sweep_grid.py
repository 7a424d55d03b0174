"""Sweeps: which points there are, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from flexnm_gen.cli import run
from flexnm_rtl.config import Config, ConfigError
from flexnm_tb.sweep.grid import Axes, elements_per_cycle
from sweep_fakes import GRID


def test_points_are_different_designs() -> None:
    """Axes that a unit does not depend on, and two words for one choice, add no points; what cannot be built stays."""
    points = Axes.parse(**GRID).points()
    names = [(p.top, p.pattern, p.selector, p.lanes, p.array_text) for p in points]
    assert [n for n in names if n[0] == "compressor"] == [
        ("compressor", pattern, selector, None, None)
        for pattern in ("2:4", "4:8", "3:8")
        for selector in ("auto", "radix")
    ]
    arrays = [("2:4", "2"), ("4:8", "2"), ("4:8", "N"), ("3:8", "2"), ("3:8", "N")]
    assert [n[1:] for n in names if n[0] == "mac_array"] == [(p, None, lanes, "1x2") for p, lanes in arrays]
    with pytest.raises(ConfigError, match="LANES=2 does not divide N=3"):
        _ = points[-2].cfg
    assert points[-1].cfg == Config(n_keep=3, m_group=8, lanes=3, rows=1, cols=2)


def test_axes_are_read_back() -> None:
    """The page's settings are those of the command."""
    axes = Axes.parse(**GRID)
    assert axes.describe() == GRID
    assert Axes.parse(**(GRID | {"patterns": " 2:4 ,,4:8,2:4,3:8"})) == axes


@pytest.mark.parametrize("top, elements", [("compressor", 8), ("decompressor", 8), ("dense_splitter", 4),
                                           ("mac_array", 2 * 3 * 8 / 2), ("linear", 24)])  # fmt: skip
def test_elements(top: str, elements: float) -> None:
    """4:8 on 2 x 3 elements of 2 lanes: a block takes two cycles, and the splitter two for the other half."""
    assert elements_per_cycle(top, Config(n_keep=4, m_group=8, rows=2, cols=3, lanes=2)) == elements


@pytest.mark.parametrize(
    "args, text",
    [
        (["--patterns", "2-4"], "PATTERNS: 2-4 is not understood: write for example 8:16"),
        (["--patterns", ","], "PATTERNS is empty"),
        (["--tops", "decode"], "TOPS: decode is unknown: choose from compressor, decompressor"),
        (["--selectors", "best"], "SELECTORS: best is unknown: choose from auto, rank"),
        (["--lanes", "0"], "LANES: 0 is not understood"),
        (["--arrays", "4"], "ARRAYS: 4 is not understood: write for example 4x8"),
        (["--metadata", "bits"], "METADATA: bits is unknown"),
        (["--targets", "ecp6"], "TARGETS: ecp6 is unknown: choose from ecp5"),
        (["--lanes", ",".join(map(str, range(1, 90000)))], "the axes have"),
        (["--clock", "0"], "CLOCK=0 is out of range"),
        (["--liberty", "no.lib"], "no.lib: No such file"),
        (["--liberty", "a.lib", "--targets", "ecp5"], "LIBERTY is for asic"),
        (["--perplexity", "no.json"], "no.json: No such file"),
        (["--jobs", "2", "--dask", "tcp://localhost:1"], "JOBS is for this machine"),
    ],
)
def test_bad_input(args: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, one line, nothing written."""
    assert run(["sweep", *args, "--out", str(tmp_path / "out")]) == 2
    output = capsys.readouterr()
    assert text in output.err
    assert output.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
