"""Mutation of the generated Verilog: faults are noticed, proofs are right, interrupted runs lose nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flexnm_gen.cli import run as flexnm
from flexnm_rtl.config import Config, ConfigError
from flexnm_tb.mutation import code
from flexnm_tb.mutation.campaign import Store, run_batch
from flexnm_tb.mutation.code import Benches, imports
from flexnm_tb.mutation.components import Component, chosen
from flexnm_tb.mutation.design import build, list_mutants, prepare, yosys
from flexnm_tb.mutation.equivalence import valid_of
from flexnm_tb.mutation.mutant import Mutant, expression_of, parse
from flexnm_tb.mutation.report import Result
from flexnm_tb.mutation.session import Baseline, Verdict, verdicts
from flexnm_tb.mutation.survivors import Survivor, around, proof_of, read_explained

TINY = Component(
    "tiny", "decompressor", Config(n_keep=1, m_group=2, rows=1, cols=1, lanes=1), ("flexnm_tb.benches.decompressor",), 6
)
# The inner choice is made where s is 1 only: its other input b does nothing, its input a does. The counter stops at 5.
CHOICE = """module unit(clk, rst, s, a, b, c, y, o__valid, o__payload);
  input clk, rst, s, a, b, c;
  output y, o__valid;
  output [1:0] o__payload;
  wire inner;
  reg [2:0] count;
  assign inner = s ? a : b;
  assign y = s ? inner : c;
  assign o__valid = count == 3'h7;
  assign o__payload = count[1:0];
  always @(posedge clk) count <= rst | count == 3'h5 ? 3'h0 : count + 3'h1;
endmodule
"""


@pytest.fixture(scope="module")
def choice() -> list[Mutant]:
    """Every mutant that Yosys can think of."""
    return list_mutants({"unit.v": CHOICE}, "unit", 400, 1)


def proved(mutant: Mutant) -> bool:
    task = {"task": "prove", "sources": ["unit.v"], "top": "unit", "tops": ["unit"], "seconds": 5}
    return yosys(task | {"mutant": vars(mutant)}, {"unit.v": CHOICE}) != '""'


@pytest.mark.parametrize(
    "identity, equivalent",
    [
        ("inv top $mux inner[0] A[0]", True),  # b
        ("inv top $mux inner[0] B[0]", False),  # a
        ("inv top $mux y[0] A[0]", False),
        ("const0 top $eq o__valid[0] Y[0]", True),  # a count of 7 is never reached
        ("const1 top $eq o__valid[0] Y[0]", False),
    ],
)
def test_what_changes_nothing_is_proved_to(choice: list[Mutant], identity: str, equivalent: bool) -> None:
    """By logic, by what states there are; and nothing else is."""
    (mutant,) = [m for m in choice if m.identity("unit") == identity]
    assert proved(mutant) == equivalent


def test_mutants_are_the_same_every_time(choice: list[Mutant]) -> None:
    assert list_mutants({"unit.v": CHOICE}, "unit", 400, 1) == choice
    assert [mutant.number for mutant in choice] == list(range(1, len(choice) + 1))
    assert len({mutant.identity("unit") for mutant in choice}) == len(choice)
    assert not [mutant for mutant in choice if "clk" in mutant.identity("unit").lower()]
    few = list_mutants({"unit.v": CHOICE}, "unit", 5, 2)
    assert len(few) == 5
    assert {m.identity("unit") for m in few} <= {m.identity("unit") for m in choice}


def test_outputs_of_registers_that_benches_set_are_left_alone(choice: list[Mutant]) -> None:
    """What a bench writes to the signal would not reach a register behind such a mutant."""
    left = list_mutants({"unit.v": CHOICE}, "unit", 400, 1, {"unit": ["count"]})
    gone = {m.identity("unit") for m in choice} - {m.identity("unit") for m in left}
    assert gone == {m.identity("unit") for m in choice if " count[0] Q[" in m.identity("unit")} != set()


def test_a_broken_unit_is_noticed_in_one_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: Verilog, mutants, Verilator, cocotb; the original passes behind them."""
    # Not the whole cache: it has Verilator's library, which takes longer to compile than the unit.
    monkeypatch.setattr("flexnm_tb.mutation.design.cache_dir", lambda: tmp_path)
    design = prepare(TINY, TINY.count, 1)
    work = build(design)
    found = run_batch(design, work, [mutant.number for mutant in design.mutants], Baseline(seconds={"throughput": 1.0}))
    assert len(found) == TINY.count
    assert sum(verdict.killed for verdict in found) >= TINY.count - 2
    assert {verdict.test.partition("/")[0] for verdict in found} <= {"stream", "throughput", "reset", ""}
    for verdict in found:
        assert verdict.killed or proof_of(design, design.mutants[verdict.mutant - 1])


def test_a_simulation_that_dies_or_hangs_kills_the_mutant_it_is_at() -> None:
    events = [
        {"mutant": 4, "test": "a", "event": "start"},
        {"mutant": 4, "test": "a", "event": "end", "passed": True, "ns": 1, "seconds": 1},
        {"mutant": 7, "test": "a", "event": "start"},
    ]
    ended, died = verdicts(events, "no progress in 60 s")
    assert (ended.mutant, ended.killed, ended.tests) == (4, False, 1)
    assert (died.mutant, died.killed, died.test, died.why) == (7, True, "a", "no progress in 60 s")


BENCH = """import cocotb
from flexnm_tb.payload import pack
@cocotb.test()
async def a(dut): assert pack  # one
@cocotb.test()
async def b(dut): pass
"""


@pytest.fixture
def benches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Benches]:
    """Tests of a module with this text, read anew."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(text: str) -> Benches:
        (tmp_path / "bench_of_a_mutant.py").write_text(text)
        code._tree.cache_clear()
        code._find.cache_clear()
        return Benches(["bench_of_a_mutant"])

    return load


def test_an_interrupted_run_goes_on(tmp_path: Path, benches: Callable[[str], Benches]) -> None:
    tests = benches(BENCH)
    store, verdict = Store(tmp_path, tests), Verdict(3, True, "a/x=1", "wrong", 1, 0.5)
    store.add([verdict])
    with store.file.open("a") as file:
        file.write('{"mutant": 4, "kil')
    assert Store(tmp_path, tests).read() == {3: replace(verdict, code=tests.one("a"))}
    assert Store(tmp_path, tests, fresh=True).read() == {}


@pytest.mark.parametrize(
    "old, new, kept",
    [
        ("# one", "# two", {1, 2}),
        ("pass", "return", {1}),  # a survivor has to meet test b again
        ("assert pack", "assert not pack", set()),
        ("payload import pack", "payload import unpack as pack", set()),
    ],
)
def test_a_verdict_stands_while_the_code_that_decided_does(
    tmp_path: Path, benches: Callable[[str], Benches], old: str, new: str, kept: set[int]
) -> None:
    """Verdict 1 is a kill by test a, verdict 2 a survivor of all tests."""
    Store(tmp_path, benches(BENCH)).add([Verdict(1, True, "a", "", 1, 0.0), Verdict(2, False, "", "", 2, 0.0)])
    assert set(Store(tmp_path, benches(BENCH.replace(old, new))).read()) == kept


def test_what_only_observes_decides_nothing() -> None:
    files = imports("flexnm_tb.benches.linear")
    assert {"flexnm_tb.benches.linear", "flexnm_tb.engine_jobs", "flexnm_model.requantize"} <= files.keys()
    assert not [name for name in files if "coverage" in name]


def _result(killed: int, open_: int, proven: int = 0) -> Result:
    outcomes = {n: Verdict(n, n < killed, "", "", 1, 0.0) for n in range(killed + open_ + proven)}
    left = [Survivor(n, "i", "w", "proof" if n >= killed + open_ else "", "r") for n in range(killed, len(outcomes))]
    return Result(None, outcomes, left)  # type: ignore[arg-type]


def test_the_rate_leaves_out_what_cannot_be_noticed() -> None:
    assert _result(95, 5).passed
    assert not _result(94, 6).passed
    assert _result(94, 4, proven=20).passed
    one = _result(99, 1)
    assert not Result(one.design, one.verdicts, [Survivor(99, "i", "w", "", "")]).passed


@pytest.mark.parametrize("text", ["[engine\n", '[engine]\n"inv x" = 3\n', '[engine]\n"inv x" = " "\n', "engine = 1\n"])
def test_explanations_have_reasons(tmp_path: Path, text: str) -> None:
    file = tmp_path / "explained.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"explained\.toml"):
        read_explained(file)


def test_explanations_of_the_repository_can_be_read() -> None:
    assert set(read_explained()) <= {component.name for component in chosen("")}


def test_lines_of_yosys_are_understood() -> None:
    text = "mutate -mode none\nmutate -mode inv -module m -cell c -port CLK -portbit 0\n"
    text += "mutate -mode cnot0 -module m -cell c -port A -portbit 3 -ctrlbit 1 -src u.v:1.1-1.2 -src u.v:2.3-2.8\n"
    (options,) = parse(text)
    assert (options["mode"], options["ctrlbit"], options["src"]) == ("cnot0", "1", "u.v:2.3-2.8")
    assert expression_of("u.v:2.3-2.8", {"u.v": ["", "x a & b;"]}) == "a & b"


def test_payloads_count_while_they_are_valid() -> None:
    ports = {"o__valid", "o__payload", "m_axis_results_tvalid", "s_axi_rvalid", "counter"}
    assert valid_of("o__payload", ports) == "o__valid"
    assert valid_of("m_axis_results_tdata", ports) == "m_axis_results_tvalid"
    assert valid_of("s_axi_rdata", ports) == "s_axi_rvalid"
    assert valid_of("counter", ports) is None
    assert valid_of("s_axi_bresp", ports) is None


@pytest.mark.parametrize("options", [["--only", "nothing"], ["--count", "0"], ["--jobs", "0"]])
def test_bad_settings_are_named(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert flexnm(["mutate", *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_modules_around_a_mutant() -> None:
    verilog = "module a (x);\n  b one (\n  );\n  b two (\n  );\n  \\d$1  \\three$1  (\n  );\nendmodule\n"
    verilog += "module b(x);\n  c one (\n  );\nendmodule\nmodule c(x);\nendmodule\n"
    verilog += "module \\d$1 (x);\n  e one (\n  );\nendmodule\nmodule f(x);\n  e one (\n  );\nendmodule\n"
    assert around("c", verilog) == ["c", "b", "a"]
    assert around("d$1", verilog) == ["d$1", "a"]
    assert around("e", verilog) == ["e"]  # two have it
