"""Power by OpenSTA at given activities: worked out by hand on a library of known energies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from flexnm_gen.asic import Mapped
from flexnm_gen.cell_models import cell_models
from flexnm_gen.power import Activity, Power, design_power
from flexnm_rtl.config import ConfigError
from flexnm_tb.known_cells import CLOCK_FJ, FALL_FJ, LEAKAGE_NW, LIBRARY, PIN_FF, RISE_FJ

pytestmark = pytest.mark.skipif(shutil.which("sta") is None, reason="sta (Debian package opensta) is not installed")

CHAIN = """module chain(clk, a, y);
  input clk; input [1:0] a; output y;
  wire n1; wire n2;
  DFF f1 (.C(clk), .D(a[0]), .Q(n1));
  part p (.n(n1), .m(n2));
  DFF f2 (.C(clk), .D(n2), .Q(y));
endmodule
module part(n, m);
  input n; output m;
  wire k;
  INV g1 (.A(n), .Y(k));
  INV g2 (.A(k), .Y(m));
endmodule
"""
PINS = ["clk", "a[0]", "a[1]", "f1/C", "f1/D", "f1/Q", "p/g1/A", "p/g1/Y", "p/g2/A", "p/g2/Y", "f2/C", "f2/D", "f2/Q"]
PERIOD_PS = 500.0
LOAD_FF = 4 * PIN_FF  # of an output of the design


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """The library of constants."""
    path = tmp_path / "known.lib"
    path.write_text(LIBRARY)
    return path


def power(known: Path, toggles: dict[str, float] | float | None, duty: float = 0.5) -> Power:
    """Of the chain; toggles by pin, 0 where none is given, or the same everywhere."""
    chain = Mapped("chain", {}, None, CHAIN, CHAIN)
    if toggles is None:
        return design_power(chain, [known], PERIOD_PS, None)
    given = toggles if isinstance(toggles, dict) else dict.fromkeys(PINS, toggles)
    return design_power(chain, [known], PERIOD_PS, {pin: Activity(given.get(pin, 0.0), duty) for pin in PINS})


CLOCK_W = 2 * CLOCK_FJ * 1e-15 / (PERIOD_PS * 1e-12)
LEAKAGE_W = 4 * LEAKAGE_NW * 1e-9


def test_silence_leaves_clock_and_leakage(known: Path) -> None:
    """Both edges of the clock at two flip-flops; the mean of a gate's states, not their sum."""
    for toggles in (None, 0.0):
        found = power(known, toggles)
        assert found.switching == 0
        assert found.internal == pytest.approx(CLOCK_W, rel=1e-4)
        assert found.leakage == pytest.approx(LEAKAGE_W, rel=1e-4)


def test_power_by_hand(known: Path) -> None:
    """Half C V^2 and the mean of rise and fall for each toggle; a net loads what drives it with the pins on it."""
    toggles = {"f1/Q": 0.5, "p/g1/A": 0.5, "p/g1/Y": 0.3, "p/g2/A": 0.3, "p/g2/Y": 0.2, "f2/D": 0.2, "f2/Q": 0.1}
    found = power(known, toggles)
    rate = 1e-15 / (PERIOD_PS * 1e-12)
    loads = PIN_FF * (0.5 + 0.3 + 0.2) + LOAD_FF * 0.1
    assert found.switching == pytest.approx(0.5 * loads * rate, rel=1e-4)
    gates = (RISE_FJ + FALL_FJ) / 2 * (0.5 + 0.3)
    assert found.internal - CLOCK_W == pytest.approx(gates * rate, rel=1e-3)
    assert found.total == found.internal + found.switching + found.leakage


def test_twice_the_activity_is_twice_the_switching(known: Path) -> None:
    """And leaves clock and leakage alone."""
    once, twice = power(known, 0.2), power(known, 0.4)
    assert twice.switching == pytest.approx(2 * once.switching, rel=1e-5)
    assert twice.internal - CLOCK_W == pytest.approx(2 * (once.internal - CLOCK_W), rel=1e-3)
    assert twice.leakage == once.leakage


def test_leakage_without_states_is_taken_as_it_is(known: Path) -> None:
    """Of gates that give a figure for the whole cell beside those of their states."""
    known.write_text(LIBRARY.replace("area : 1;", "area : 1; cell_leakage_power : 7;"))
    assert power(known, 0.0).leakage == pytest.approx((2 * 7 + 2 * LEAKAGE_NW) * 1e-9, rel=1e-4)
    known.write_text(LIBRARY.replace("area : 1;", "area : 1; leakage_power () { value : 9; }"))
    assert power(known, 0.0).leakage == pytest.approx((2 * 9 + 2 * LEAKAGE_NW) * 1e-9, rel=1e-4)


def test_a_pin_that_is_not_there_is_an_error(known: Path) -> None:
    """Rather than a pin without activity."""
    chain = Mapped("chain", {}, None, CHAIN, CHAIN)
    with pytest.raises(RuntimeError, match=r"sta failed: .*set_power_pin_activity"):
        design_power(chain, [known], PERIOD_PS, {"p/g9/Y": Activity(0.1, 0.5)})


def test_models_of_cells(known: Path) -> None:
    """Those that are named, no others; a cell that is not there is named."""
    models = cell_models({"NAND", "DFF"}, [known])
    assert [line.split("(")[0] for line in models.splitlines() if line.startswith("module")] == [
        "module DFF",
        "module NAND",
    ]
    with pytest.raises(ConfigError, match=r"LIBERTY=\S+ gives no model of every cell: XOR has no function"):
        cell_models({"NAND", "XOR"}, [known])
