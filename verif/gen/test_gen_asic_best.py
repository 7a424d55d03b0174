"""Recipes: full adders found by their functions, the best mapping by clock and area."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from flexnm_gen import asic_best
from flexnm_gen.asic import Mapped, Part, map_area
from flexnm_gen.asic_best import Effort, map_best, recipes_of
from flexnm_gen.asic_recipes import RECIPES, USUAL, Recipe
from flexnm_gen.full_adder import evaluate, full_adder
from flexnm_gen.liberty import read_liberty
from flexnm_gen.netlist import to_verilog
from flexnm_gen.timing import TimedPath, Timing, minimum_period
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config
from flexnm_tb.gate_sim import simulate_gates
from flexnm_tb.known_cells import GATES, HEAD, flop

needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason="sta (Debian package opensta) is not installed")
MAJORITY, PARITY = "(A & B) | (A & C) | (B & C)", "A ^ B ^ C"
INVERTED = {"S": "!(A ^ B ^ C)", "K": "(!A * !B) + (!A * !C) + (!B * !C)"}
ADDER = Recipe("direct", full_adders=True)


def adder(name: str, area: float, functions: dict[str, str]) -> str:
    """A cell with inputs A, B, C that takes no time to speak of."""
    inputs = "".join(f"pin ({pin}) {{ direction : input; capacitance : 1; }} " for pin in "ABC")
    outputs = "".join(
        f'pin ({pin}) {{ direction : output; function : "{function}"; }} ' for pin, function in functions.items()
    )
    return f"cell ({name}) {{ area : {area}; {inputs}{outputs} }}\n"


def library(folder: Path, *cells: str) -> Path:
    """The known cells and some more."""
    path = folder / "adders.lib"
    path.write_text(f"{HEAD}{GATES}{flop()}{''.join(cells)}}}")
    return path


@pytest.mark.parametrize(
    "function, true",
    [
        (MAJORITY, {3, 5, 6, 7}),
        ("A B + (A C) + B*C", {3, 5, 6, 7}),
        ("A' ^ B ^ !C", {1, 2, 4, 7}),
        ("!(A + B)'", {1, 2, 3, 5, 6, 7}),
        ("A + B C ^ 1", {1, 3, 5, 7, 2}),
        ("0", set()),
    ],
)
def test_functions_of_liberty(function: str, true: set[int]) -> None:
    """All ways to write them; bit 0 of the number is A."""
    assert {i for i in range(8) if evaluate(function, {"A": i & 1, "B": i >> 1 & 1, "C": i >> 2})} == true


@pytest.mark.parametrize("function", ["", "A B)", "(A", "A |", "A % B"])
def test_what_is_no_function(function: str) -> None:
    """Is an error, not a cell."""
    with pytest.raises(ValueError, match=r"is no function|does not end"):
        evaluate(function, {"A": 1, "B": 1})


def test_the_full_adder_is_found_by_function(tmp_path: Path) -> None:
    """The smallest one, outputs inverted or not; look-alikes are none."""
    others = [
        adder("BOTH", 1, {"X": MAJORITY, "Y": MAJORITY}),
        adder("STATE", 1, {"X": MAJORITY, "Y": "IQ"}),
        adder("MUX", 1, {"X": "(A & B) | (!A & C)", "Y": PARITY}),
        adder("MORE", 1, {"X": MAJORITY, "Y": PARITY, "Z": "A"}),
    ]
    assert full_adder(read_liberty([library(tmp_path, *others)])) is None
    large, small = adder("LARGE", 9, {"CO": MAJORITY, "S": PARITY}), adder("SMALL", 8, INVERTED)
    found = full_adder(read_liberty([library(tmp_path, *others, large, small)]))
    assert found is not None
    assert (found.cell, found.carry, found.carry_inverted, found.sum, found.sum_inverted) == (
        ("SMALL", "K", True, "S", True)
    )
    assert recipes_of([library(tmp_path, *others)], Effort.BEST) == RECIPES[:2]
    assert recipes_of([library(tmp_path, small)], Effort.BEST) == RECIPES
    assert recipes_of([library(tmp_path, small)], Effort.FAST) == (USUAL,)


def test_a_design_of_full_adders_computes_the_same(tmp_path: Path) -> None:
    """The compressor, whose ranks are counted by full adders, against its RTL, gate by gate."""
    cfg = Config(n_keep=2, m_group=4, lanes=2, rows=1, cols=1, act_width=4, weight_width=4)
    liberty = [library(tmp_path, adder("FA", 5, {"S": PARITY, "K": INVERTED["K"]}))]
    mapped = map_area(to_verilog(Compressor(cfg), "unit"), "unit", liberty, recipe=ADDER)
    assert mapped.parts["unit"].cells["FA"] > 0
    words = [i * 40503 & 0xFFFF | 0xF << 16 for i in range(300)]
    simulate_gates(Compressor(cfg), mapped, liberty, {"i": words})


CHAIN = """module top(input clk, input [7:0] a, input [7:0] b, input [7:0] c, output reg [7:0] x, output reg [7:0] y);
  always @(posedge clk) begin x <= a ^ b ^ c; y <= (a & b) | (c & (a | b)); end
endmodule
"""
"""Eight full adders side by side."""


def test_best_is_the_smallest_without_a_clock(tmp_path: Path) -> None:
    """Cheap full adders win, dear ones do not; the record says which."""
    cheap, dear = tmp_path / "cheap", tmp_path / "dear"
    for folder, area in ((cheap, 4), (dear, 400)):
        folder.mkdir()
        library(folder, adder("FA", area, {"S": PARITY, "K": MAJORITY}))
    first = map_best(CHAIN, "top", [cheap / "adders.lib"])
    assert (first.parts["top"].cells["FA"], first.recipe) == (8, ADDER.name)
    assert first.area == 8 * 4 + first.sequential_area
    second = map_best(CHAIN, "top", [dear / "adders.lib"])
    assert "FA" not in second.parts["top"].cells
    assert second.area == min(map_area(CHAIN, "top", [dear / "adders.lib"], recipe=r).area for r in RECIPES)


@pytest.mark.parametrize("clock, wins", [(100.0, "small"), (50.0, "quick"), (45.0, "quick"), (30.0, "quickest")])
def test_best_meets_the_clock_or_is_the_fastest(clock: float, wins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest one that meets it, and without any such the fastest, however large."""
    areas = {"large": 99, "small": 10, "quick": 20, "quickest": 30}
    periods = {"large": 99.0, "small": 90.0, "quick": 45.0, "quickest": 40.0}

    def mapped(source: str, top: str, liberty: Any, *, recipe: Recipe, **how: Any) -> Mapped:
        part = Part(top, 1, areas[recipe.structure], 0.0, {}, ())
        return Mapped(top, {top: part}, None, "", "", recipe.name)

    def timed(found: Mapped, liberty: Any) -> Timing:
        return Timing({("input", "output"): TimedPath(periods[found.recipe], "a", "y")}, 0.0, 0.0)

    monkeypatch.setattr(asic_best, "recipes_of", lambda liberty, effort: tuple(map(Recipe, areas)))
    monkeypatch.setattr(asic_best, "map_area", mapped)
    monkeypatch.setattr(asic_best, "minimum_period", timed)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert map_best(CHAIN, "top", [], clock_ps=clock).recipe == wins
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert map_best(CHAIN, "top", [], clock_ps=clock).recipe == "small"


@needs_sta
def test_a_clock_is_met_with_sta(tmp_path: Path) -> None:
    """Of a real design; for a library that sta does not read it is the smallest."""
    liberty = [library(tmp_path)]
    found = map_best(CHAIN, "top", liberty, clock_ps=200.0)
    assert minimum_period(found, liberty).period_ps <= 200
    assert found.recipe in {recipe.name for recipe in RECIPES}
    path = tmp_path / "odd.lib"
    path.write_text(liberty[0].read_text().replace("input_threshold_pct_rise : 50;", ""))
    assert map_best(CHAIN, "top", [path], clock_ps=200.0).area == found.area
