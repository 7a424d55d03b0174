"""Areas from Liberty files: sums of cells, memories apart, one line for files that cannot be used."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from flexnm_gen.asic import Mapped, map_area, map_component
from flexnm_gen.asic_recipes import Hierarchy
from flexnm_gen.liberty import read_liberty
from flexnm_rtl.banks import BankedMemory
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config, ConfigError
from gen_tools import REPOSITORY

HEAD = """/* a comment with {
   in it */
library (tiny) {
  time_unit : "1ps";
  capacitive_load_unit (1, ff);
  delay_model : table_lookup;
  lu_table_template (t2) {
    variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    index_1 ("1, 100"); index_2 ("1, 100");
  }
"""
TABLES = "".join(f'{kind} (t2) {{ values ("10, 200", "20, 400"); }} ' for kind in ("cell_rise", "cell_fall")) + "".join(
    f'{kind} (t2) {{ values ("5, 90", "6, 95"); }} ' for kind in ("rise_transition", "fall_transition")
)


def gate(name: str, area: float, inputs: str, function: str) -> str:
    """A combinational cell."""
    pins = "".join(f"pin ({pin}) {{ direction : input; capacitance : 1.0; }} " for pin in inputs)
    arcs = "".join(f'timing () {{ related_pin : "{pin}"; timing_sense : negative_unate; {TABLES}}} ' for pin in inputs)
    power = '  leakage_power () {\n value : "1 }";\n }\n'
    output = f'pin (Y) {{ direction : output; max_capacitance : 100; function : "{function}"; {arcs}}}'
    return f"cell ({name}) {{ area : {area};\n{power} {pins}{output} }}\n"


def flop(name: str, area: float, state: str = "D", clock: str = "C", output: str = "IQ") -> str:
    """A flip-flop."""
    return (
        f'cell ({name}) {{ area : {area}; ff (IQ, IQN) {{ clocked_on : "{clock}"; next_state : "{state}"; }} '
        "pin (C) { direction : input; clock : true; capacitance : 1.0; } "
        "pin (D) { direction : input; capacitance : 1.0; } "
        f'pin (Q) {{ direction : output; function : "{output}"; timing () {{ related_pin : "C"; '
        f"timing_type : rising_edge; {TABLES}}} }} }}\n"
    )


GATES = (
    gate("INV", 1, "A", "!A")
    + gate("INV2", 1.5, "A", "!A")
    + gate("BUF", 2, "A", "A")
    + gate("NAND", 3, "AB", "!(A&B)")
)
TINY = HEAD + GATES + flop("DFF", 10) + "}\n"

COUNTER = """
module leaf(input clk, input a, output reg y);
  always @(posedge clk) y <= ~a;
endmodule
module top(input clk, input a, input b, output x, output y);
  leaf one (.clk(clk), .a(a), .y(x));
  leaf two (.clk(clk), .a(a & b), .y(y));
endmodule
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A library of a handful of cells."""
    path = tmp_path / "tiny.lib"
    path.write_text(TINY)
    return path


def compressor(liberty: Path, clock_ps: float | None = None, **fields: object) -> Mapped:
    """The compressor 2:4 of 4-bit activations."""
    cfg = Config(n_keep=2, m_group=4, lanes=2, act_width=4, weight_width=4).replace(**fields)
    return map_component(Compressor(cfg), "unit", [liberty], clock_ps=clock_ps)


def test_area_adds_up(tiny: Path) -> None:
    """Cells times their areas, parts times their uses; a module used twice is a part of its own."""
    mapped = map_area(COUNTER, "top", [tiny])
    assert {name: part.uses for name, part in mapped.parts.items()} == {"top": 1, "leaf": 2}
    assert mapped.parts["leaf"].cells == {"INV": 1, "DFF": 1}
    assert mapped.parts["top"].cells == {"INV": 1, "NAND": 1}
    assert (mapped.area, mapped.sequential_area) == (2 * 11 + 4, 20)
    assert (mapped.cells, mapped.memory_bits, mapped.delay_ps) == (6, 0, None)


def test_rtlil_and_several_files(tiny: Path, tmp_path: Path) -> None:
    """The design as RTLIL, the library in two files, one of them gzipped."""
    gates, flops = tmp_path / "gates.lib.gz", tmp_path / "flops.lib"
    gates.write_bytes(gzip.compress((HEAD + GATES + "}").encode()))
    flops.write_text(HEAD + flop("DFF", 10) + "}")
    text = "module \\top\n  wire input 1 \\a\n  wire output 2 \\y\n  cell $not $1\n    parameter \\A_SIGNED 0\n"
    text += (
        "    parameter \\A_WIDTH 1\n    parameter \\Y_WIDTH 1\n    connect \\A \\a\n    connect \\Y \\y\n  end\nend\n"
    )
    assert map_area(text, "top", [gates, flops]).area == map_area(text, "top", [tiny]).area == 1


def test_the_library_is_kept_but_for_power(tiny: Path) -> None:
    """Tables of timing stay, those of power and comments go; a brace in a text is none."""
    library = read_liberty([tiny])
    assert library.cells.keys() == {"INV", "INV2", "BUF", "NAND", "DFF"}
    assert "leakage" not in library.texts[0]
    assert "comment" not in library.texts[0]
    assert library.texts[0].count("cell_rise") == 6
    assert library.driver.name == "INV2"


@pytest.mark.parametrize(
    "cell, area", [(flop("DFFN", 8, "!D"), 8), (flop("DFFN", 8, output="IQN"), 8), (flop("DFFN", 9.5, "!D"), 10)]
)
def test_the_cheaper_flip_flop_is_taken(cell: str, area: float, tmp_path: Path) -> None:
    """One with an inverse output, when it and an inverter cost less than a plain one."""
    path = tmp_path / "two.lib"
    path.write_text(HEAD + GATES + flop("DFF", 10) + cell + "}\n")
    leaf = map_area(COUNTER, "top", [path]).parts["leaf"]
    assert leaf.sequential_area == area


def test_a_wider_factor_costs_more(tiny: Path) -> None:
    """And no factor costs least."""
    areas = [
        compressor(tiny).area,
        *(compressor(tiny, score_factor="multiply", factor_width=bits).area for bits in (2, 4, 6)),
    ]
    assert areas == sorted(set(areas))


def test_a_clock_gives_a_delay(tiny: Path) -> None:
    """ABC's estimate; buffers and larger gates make the area no smaller."""
    mapped = compressor(tiny, 1000.0)
    assert mapped.delay_ps is not None
    assert mapped.delay_ps > 100
    assert mapped.area >= compressor(tiny).area
    assert mapped.parts["unit"].cells["DFF"] == compressor(tiny).parts["unit"].cells["DFF"]


def test_memories_are_bits(tiny: Path) -> None:
    """Two banks of 5 words of 8 bits, with nothing but a choice of the bank beside them."""
    mapped = map_component(BankedMemory(2, 8, 5), "memory", [tiny])
    assert mapped.memory_bits == 2 * 8 * 5
    assert {part.memories for part in mapped.parts.values()} == {(), ((8, 5),)}
    assert mapped.sequential_area == 0
    assert 0 < mapped.area < 20


def test_every_module_is_a_part_when_asked(tiny: Path) -> None:
    """The same hardware, by module."""
    source = COUNTER + "module outer(input clk, input a, output x, output y); top t(clk, a, 1'b1, x, y); endmodule"
    assert map_area(source, "outer", [tiny]).parts.keys() == {"outer", "leaf"}
    assert map_area(source, "outer", [tiny], hierarchy=Hierarchy.ALL).parts.keys() == {"outer", "top", "leaf"}
    assert map_area(source, "outer", [tiny], hierarchy=Hierarchy.NONE).parts.keys() == {"outer"}


BAD = {
    "empty": ("", "is no Liberty file"),
    "something else": ("module top; endmodule", "is no Liberty file"),
    "another group": ("cell (INV) { area : 1; }", "is no Liberty file"),
    "another group after a comment": ("/* x */ cell (INV) { area : 1; }", "is no Liberty file"),
    "closing": ("}" + TINY, "is no Liberty file"),
    "no area": (TINY.replace("area : 3;", ""), "gives no area for NAND"),
    "truncated": (TINY[: len(TINY) // 2], "is damaged"),
    "truncated in a text": (HEAD + 'x : "abc', "is damaged: a text or a comment does not end"),
    "no flip-flop": (HEAD + GATES + "}", "has no flip-flop"),
    "no inverter": (HEAD + flop("DFF", 10) + "}", "has no inverter"),
    "no gates": (
        HEAD + gate("INV", 1, "A", "!A") + flop("DFF", 10) + "}",
        "cannot carry top: ABC: Library with only 1 cell",
    ),
    "unit": (TINY.replace("(1, ff)", "(1, parsec)"), "capacitive_load_unit must be in ff or pf"),
    "gzip": (gzip.compress(TINY.encode())[:-20], "is damaged"),
    "no gzip": (b"\x1f\x8b" + TINY.encode(), "is damaged"),
}


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD)
def test_bad_files_give_one_line(content: str | bytes, message: str, tmp_path: Path) -> None:
    """Which file, and what is wrong with it."""
    path = tmp_path / "bad.lib"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        map_area(COUNTER, "top", [path])
    text = str(caught.value)
    assert text.startswith(f"LIBERTY={path}")
    assert message in text
    assert "\n" not in text


def test_missing_files(tmp_path: Path) -> None:
    """No file, a folder, nothing at all, and files that are not of one library."""
    with pytest.raises(ConfigError, match=r"no\.lib: No such file"):
        read_liberty([tmp_path / "no.lib"])
    with pytest.raises(ConfigError, match="Is a directory"):
        read_liberty([tmp_path])
    with pytest.raises(ConfigError, match="LIBERTY names no file"):
        read_liberty([])
    (tmp_path / "a.lib").write_text(TINY)
    (tmp_path / "b.lib").write_text(TINY.replace("(1, ff)", "(1, pf)"))
    with pytest.raises(ConfigError, match="not one library"):
        read_liberty([tmp_path / "a.lib", tmp_path / "b.lib"])


def test_errors_of_yosys_name_the_line_of_the_file(tmp_path: Path) -> None:
    """Although it sees a reduced one."""
    path = tmp_path / "bad.lib"
    path.write_text(TINY.replace("area : 3;", "area : 3; ) ;"))
    line = 1 + path.read_text()[: path.read_text().index(") ;")].count("\n")
    with pytest.raises(ConfigError, match=rf"cannot carry top: ERROR: .*line {line}\."):
        map_area(COUNTER, "top", [path])


@pytest.mark.parametrize("args, message", [(["--liberty", "no.lib"], "LIBERTY=no.lib: No such file"), ([], "no file")])
def test_the_measurement_says_what_is_wrong(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line and exit status 2, before anything is generated."""
    monkeypatch.delenv("LIBERTY", raising=False)
    command = [sys.executable, str(REPOSITORY / "bench" / "method_cost.py"), *args]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
