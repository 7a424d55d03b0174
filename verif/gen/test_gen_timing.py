"""Minimum periods by OpenSTA: worked out by hand on a library of constant delays."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest
from flexnm_gen.asic import Mapped, map_area, map_component
from flexnm_gen.timing import minimum_period
from flexnm_rtl.banks import BankedMemory
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config, ConfigError
from flexnm_rtl.dense_split import DenseSplitter
from flexnm_tb.known_cells import GATE_PS, GATES, HEAD, LAUNCH_PS, LIBRARY, SETUP_PS, flop

needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason="sta (Debian package opensta) is not installed")

CHAIN = """module chain(clk, a, b, y, z);
  input clk; input a; input b; output y; output z;
  wire n1; wire n2; wire n3;
  DFF f1 (.C(clk), .D(a), .Q(n1));
  INV g1 (.A(n1), .Y(n2));
  INV g2 (.A(n2), .Y(n3));
  DFF f2 (.C(clk), .D(n3), .Q(y));
  NAND g3 (.A(b), .B(n1), .Y(z));
endmodule
"""


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """The library of constants."""
    path = tmp_path / "known.lib"
    path.write_text(LIBRARY)
    return path


def mapped(netlist: str, top: str = "chain") -> Mapped:
    """A netlist as if it came from a mapping."""
    return Mapped(top, {}, None, netlist, netlist)


@needs_sta
def test_every_kind_of_path_by_hand(known: Path) -> None:
    """Clock to output, gates, set-up; a flip-flop stands before each input and behind each output."""
    timing = minimum_period(mapped(CHAIN), [known])
    around = LAUNCH_PS + SETUP_PS
    assert {pair: path.period_ps for pair, path in timing.paths.items()} == pytest.approx(
        {
            ("register", "register"): around + 2 * GATE_PS,
            ("register", "output"): around + GATE_PS,
            ("input", "register"): around,
            ("input", "output"): around + GATE_PS,
        }
    )
    assert (timing.worst.startpoint, timing.worst.endpoint) == ("f1", "f2")
    assert timing.period_ps == pytest.approx(around + 2 * GATE_PS)
    assert (timing.launch_ps, timing.setup_ps) == pytest.approx((LAUNCH_PS, SETUP_PS))


@needs_sta
def test_the_inverter_of_an_inverting_flip_flop_counts(tmp_path: Path) -> None:
    """A register is then such a flip-flop and an inverter."""
    path = tmp_path / "inverting.lib"
    path.write_text(HEAD + GATES + flop("DFFN", 5, "!D") + flop() + "}")
    assert minimum_period(mapped(CHAIN), [path]).launch_ps == pytest.approx(LAUNCH_PS + GATE_PS)


@needs_sta
def test_units_and_compression_of_files_do_not_matter(known: Path, tmp_path: Path) -> None:
    """The same numbers called ns, in a gzipped file, are a thousand times as long."""
    path = tmp_path / "slow.lib.gz"
    path.write_bytes(gzip.compress(LIBRARY.replace('"1ps"', '"1ns"').encode()))
    slow, fast = (minimum_period(mapped(CHAIN), [file]) for file in (path, known))
    assert slow.period_ps == pytest.approx(1000 * fast.period_ps)


@needs_sta
def test_mapped_units_have_a_period(known: Path) -> None:
    """The compressor, parts and all: longer than a register, and more bits take longer."""
    cfg = Config(n_keep=2, m_group=4, lanes=2, act_width=4, weight_width=4)
    narrow, wide = (
        minimum_period(map_component(Compressor(c), "unit", [known], clock_ps=100.0), [known])
        for c in (cfg, cfg.replace(act_width=12))
    )
    assert LAUNCH_PS + SETUP_PS < narrow.period_ps < wide.period_ps


@needs_sta
def test_memories_are_boxes(known: Path) -> None:
    """Only what reaches no memory has a time: here nothing but the choice of the bank, a register away."""
    design = map_component(BankedMemory(2, 8, 5), "memory", [known])
    assert "memory_bank_8x5_memory0 memory_bank_8x5_memory0 (" in design.netlist
    assert "module memory_bank_8x5_memory0" not in design.netlist
    assert "module memory_bank_8x5_memory0" in design.behaviour
    with pytest.raises(ValueError, match="memory has no path to time"):
        minimum_period(design, [known])


@needs_sta
def test_logic_alone_has_a_period(known: Path) -> None:
    """Without any register, between those around it."""
    logic = map_area("module nor2(input a, input b, output y); assign y = ~(a | b); endmodule", "nor2", [known])
    timing = minimum_period(logic, [known])
    assert timing.paths.keys() == {("input", "output")}
    assert timing.period_ps == pytest.approx(LAUNCH_PS + SETUP_PS + 3 * GATE_PS)


@needs_sta
def test_signed_ports_and_outputs_that_share_a_register_are_read(known: Path) -> None:
    """The latter as in the metadata of a dense block, where the netlist connects outputs to each other."""
    ports = "input clk, input signed [1:0] a, output reg signed [1:0] y"
    source = f"module s({ports}); always @(posedge clk) y <= a; endmodule"
    cfg = Config(n_keep=2, m_group=4, lanes=2, act_width=4, weight_width=4)
    for design in (map_area(source, "s", [known]), map_component(DenseSplitter(cfg), "unit", [known])):
        assert minimum_period(design, [known]).paths["register", "output"].period_ps >= LAUNCH_PS + SETUP_PS


@needs_sta
def test_what_sta_does_not_read_is_one_line(tmp_path: Path) -> None:
    """A library that mapping is content with."""
    path = tmp_path / "odd.lib"
    path.write_text(LIBRARY.replace("input_threshold_pct_rise : 50;", ""))
    with pytest.raises(ConfigError, match=r"LIBERTY=\S+odd.lib cannot be read by sta: .*threshold") as caught:
        minimum_period(mapped(CHAIN), [path])
    assert "\n" not in str(caught.value)


def test_without_sta_the_package_is_named(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"^sta is missing.*Debian package opensta\)$"):
        minimum_period(mapped(CHAIN), [known])
