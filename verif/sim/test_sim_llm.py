"""Layers of a real LLM through the Verilog, and the table of ``flexnm sim``."""

import pytest
from flexnm_gen import cli
from flexnm_model.capture import DEFAULT_LAYERS
from flexnm_rtl.presets import preset
from flexnm_tb import llm_sim


@pytest.mark.llm
def test_layers_match_bit_for_bit() -> None:
    chosen = [DEFAULT_LAYERS[0], DEFAULT_LAYERS[5]]
    rows = llm_sim.run_layers(preset("n8m16"), layers=chosen, tokens=4, jobs=1)
    assert [(row.layer, row.unit) for row in rows] == [(name, unit) for unit in llm_sim.UNITS for name in chosen]
    for row in rows:
        assert row.mismatches == 0
        assert row.words > 100
        assert row.cycles <= 1.02 * row.ideal + 10


@pytest.mark.llm
def test_a_wrong_result_is_counted_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = llm_sim.Row("layers.0.x", "compressor", 1, 1, 10, 9, 5, mismatches=2)
    monkeypatch.setattr(llm_sim, "run_layers", lambda *args, **kwargs: [row])
    assert cli.run(["sim"]) == 1
    assert "2 mismatches" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args, word",
    [(["--jobs", "0"], "JOBS"), (["--text", "no/such/file"], "no/such/file"), (["--lanes", "5"], "LANES")],
)
def test_bad_input_is_one_line(args: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sim", *args]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert word in lines[0]
