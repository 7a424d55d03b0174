"""``flexnm llm``: a whole model on the simulated engine, interrupted, resumed, wrong, and refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flexnm_gen import cli
from flexnm_model import llm
from flexnm_model.text import load_text, windows
from flexnm_rtl.config import ConfigError
from flexnm_rtl.presets import preset
from flexnm_tb import llm_run, llm_store
from flexnm_tb.cosim.pool import EnginePool, PoolResult
from flexnm_tb.engine_cycles import ideal_cycles
from flexnm_tb.llm_commands import PRESET
from flexnm_tb.llm_layers import Position
from flexnm_tb.llm_store import HardwareLayer, LayerStore

CFG = preset("n2m4").replace(rows=2, cols=4, lanes=1, k_max=64)
LAYERS = 14
TOKENS = 7

Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stored layers in a folder of their own; the engine's library stays in the common cache."""
    monkeypatch.setattr(llm_store, "cache_dir", lambda: tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def run(store: Path, tiny_folder: str, words: str, tmp_path: Path) -> Run:
    """Runs the command on the tiny model; returns its exit status and its JSON report."""
    out = tmp_path / "out"

    def command(*more: str) -> tuple[int, dict[str, Any]]:
        engine = ["--preset", "n2m4", "--rows", "2", "--cols", "4", "--lanes", "1", "--k-max", "64"]
        source = ["--model", tiny_folder, "--text", words, "--tokens", str(TOKENS), "--out", str(out)]
        status = cli.run(["llm", *engine, *source, *more])
        report = out / "llm.json"
        return status, json.loads(report.read_text()) if report.exists() else {}

    return command


def test_every_layer_on_the_engine(
    run: Run, tiny_folder: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, report = run()
    assert status == 0
    loaded = llm.load(tiny_folder)
    linears = dict(llm.decoder_linears(loaded.model))
    assert [row["layer"] for row in report["layers"]] == list(linears)
    for row in report["layers"]:
        outputs, channels = linears[row["layer"]].get_parameter("weight").shape
        ideal = ideal_cycles(CFG, TOKENS, channels, outputs)
        assert (row["tokens"], row["channels"], row["outputs"], row["ideal"]) == (TOKENS, channels, outputs, ideal)
        assert (row["words"], row["mismatches"], row["cached"]) == (TOKENS * outputs, 0, False)
        assert row["busy_cycles"] == ideal < row["cycles"] < 1.5 * ideal
        assert row["compression"] == pytest.approx(32 / 20)
    values = report["perplexity"]
    assert list(values) == ["float dense", "INT8 dense, model", "INT8 2:4, model", "INT8 2:4, RTL"]
    assert values["INT8 2:4, RTL"] == values["INT8 2:4, model"] != values["INT8 dense, model"]
    (window,) = windows(loaded.tokenizer, load_text(words), 1, TOKENS)
    with torch.inference_mode():
        log_p = loaded.model(window).logits.log_softmax(-1)[:, :-1]
    expected = math.exp(-float(log_p.gather(-1, window[:, 1:, None]).mean()))
    assert values["float dense"] == pytest.approx(expected, rel=1e-5)
    output = capsys.readouterr().out
    assert "0 mismatches" in output
    assert "RTL equals INT8 2:4, model" in output
    page = (tmp_path / "out" / "llm.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 4
    assert "http" not in page
    assert all(name in page for name in linears)


def test_an_interrupted_run_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    multiply = EnginePool.multiply
    calls = 0

    def interrupted(self: EnginePool, *args: Any, **more: Any) -> PoolResult:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return multiply(self, *args, **more)

    monkeypatch.setattr(EnginePool, "multiply", interrupted)
    assert run() == (130, {})
    assert capsys.readouterr().err.strip().splitlines()[-1] == "flexnm: error: interrupted"
    status, report = run()
    assert (status, calls) == (0, 6 + LAYERS - 5)
    assert [row["cached"] for row in report["layers"]] == [True] * 5 + [False] * (LAYERS - 5)
    assert f"{LAYERS} layers, 5 from an earlier run" in capsys.readouterr().out
    before = calls
    status, again = run()
    assert (status, calls, again["perplexity"]) == (0, before, report["perplexity"])
    status, fresh = run("--fresh")
    assert (status, calls) == (0, before + LAYERS)
    stripped = [[{**row, "cached": 0, "seconds": 0} for row in r["layers"]] for r in (report, fresh)]
    assert stripped[0] == stripped[1]


def test_stored_layers_of_other_or_damaged_contents_are_not_used(store: Path) -> None:
    layer = HardwareLayer(torch.tensor([[1, -2], [3, 4]]), {"cycles": 5}, 2, 0.5)
    layers = LayerStore("key")
    assert not layers.has("a")
    assert layers.load("a", "x") is None
    layers.save("a", "x", layer, 32)
    found = layers.load("a", "x")
    assert found is not None
    assert torch.equal(found.sums, layer.sums)
    assert (found.counters, found.jobs, found.seconds) == (layer.counters, 2, 0.5)
    assert layers.load("a", "y") is None
    (file,) = (store / "llm" / "key").iterdir()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert layers.load("a", "x") is None
    file.write_bytes(data[:20])
    assert layers.load("a", "x") is None


def test_a_wrong_sum_is_found(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    multiply = EnginePool.multiply

    def wrong(self: EnginePool, x: torch.Tensor, w: torch.Tensor, *args: Any, **more: Any) -> PoolResult:
        result = multiply(self, x, w, *args, **more)
        if w.shape == (24, 40):
            result.sums[1, 2] += 1
        return result

    monkeypatch.setattr(EnginePool, "multiply", wrong)
    status, report = run()
    assert status == 1
    bad = {row["layer"]: row["mismatches"] for row in report["layers"] if row["mismatches"]}
    assert bad == {"layers.0.mlp.down_proj": 1, "layers.1.mlp.down_proj": 1}
    assert not report["identical_to_model"]
    output = capsys.readouterr().out
    assert "2 mismatches" in output
    assert "DIFFERS" in output
    # A second look at the stored results finds them as wrong as before.
    assert run()[0] == 1


@pytest.mark.parametrize(
    "args, words_of_message",
    [
        (["--k-max", "32"], ["layers.0.mlp.down_proj has K=40", "K_MAX=32"]),
        (["--layers", "layers.9.mlp.up_proj"], ["no layer layers.9.mlp.up_proj"]),
        (["--layers", ","], ["no layer is named"]),
        (["--tokens", "1"], ["TOKENS=1"]),
        (["--tokens", "65"], ["at most 64 tokens"]),
        (["--tokens", "500"], ["the text has 400 tokens"]),
        (["--engines", "0"], ["ENGINES=0"]),
        (["--pattern", "8"], ["pattern 8 is unknown"]),
        (["--pattern", "2:4,4:8"], ["pattern 2:4,4:8 is unknown"]),
        (["--pattern", "50%"], ["50% has no integer model"]),
        (["--pattern", "plan:none.json"], ["plan none.json cannot be read"]),
        (["--pattern", "2:4", "--method", "2:4+var"], ["PATTERN=2:4 and METHOD=2:4+var exclude each other"]),
        (["--method", "2:4+d-pts-median"], ["shifts by the mean"]),
        (["--method", "2:4+nothing"], ["unknown part nothing"]),
        (["--method", "2:4+clact"], ["needs 'norm' of layers.0.self_attn.q_proj", "flexnm calibrate"]),
        (["--parameters", "none.safetensors"], ["none.safetensors do not exist"]),
        (["--preset", "none"], ["unknown preset none"]),
        (["--out", __file__], ["is a file"]),
        (["--model", "no/such/model"], ["no/such/model does not exist"]),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(
    args: list[str],
    words_of_message: list[str],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("something was run")

    monkeypatch.setattr(llm_run, "_formats", refuse)
    monkeypatch.setattr(EnginePool, "multiply", refuse)
    # Click takes the last of two equal options.
    assert run(*args) == (2, {})
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert all(word in errors[0] for word in words_of_message)


def test_unlisted_layers_may_be_larger_than_the_engine(
    store: Path, tiny_folder: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    tiny = llm.load(tiny_folder)
    torch.manual_seed(1)
    tiny.model.config.intermediate_size = CFG.k_max + 1
    kind: Any = LlamaForCausalLM
    wide = llm.LanguageModel(kind(tiny.model.config).eval(), tiny.tokenizer, "wide")
    monkeypatch.setattr(llm, "load", lambda model: wide)
    monkeypatch.setattr(llm, "model_key", lambda model: "wide")
    with pytest.raises(ConfigError, match=r"layers\.0\.mlp\.down_proj has K=65"):
        llm_run.run_llm(CFG, tokens=TOKENS, text_path=words)
    chosen = ["layers.1.mlp.up_proj", "layers.0.self_attn.q_proj"]
    outcome = llm_run.run_llm(CFG, tokens=TOKENS, text_path=words, layers=chosen, engines=1)
    assert sorted(row.layer for row in outcome.rows) == sorted(chosen)
    assert outcome.good


@pytest.mark.llm
def test_layers_of_smollm2(store: Path) -> None:
    chosen = ["layers.0.self_attn.k_proj", "layers.14.mlp.gate_proj", "layers.29.mlp.down_proj"]
    positions: list[Position] = []
    outcome = llm_run.run_llm(preset(PRESET), layers=chosen, tokens=8, advance=positions.append)
    assert outcome.good
    assert [(row.layer, row.mismatches, row.channels) for row in outcome.rows] == [
        (name, 0, channels) for name, channels in zip(chosen, (576, 576, 1536), strict=True)
    ]
    assert all(row.words == 8 * row.outputs and row.cycles <= 1.06 * row.ideal for row in outcome.rows)
    assert positions[-1].cycles == positions[-1].total == sum(row.ideal for row in outcome.rows)
    assert positions[-1].left == 0
