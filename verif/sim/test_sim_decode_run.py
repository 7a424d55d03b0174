"""``flexnm decode``: text from the simulated decode engine, interrupted, resumed, wrong, and refused."""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flexnm_gen import cli
from flexnm_model import llm
from flexnm_model.matmul import sparse_matmul
from flexnm_model.select import select
from flexnm_rtl.config import ConfigError
from flexnm_rtl.presets import preset
from flexnm_tb import decode_run, llm_store
from flexnm_tb.cosim import pool as pooling
from flexnm_tb.cosim.decode_pool import DecodePool, ideal_beats, kept_rows
from flexnm_tb.cosim.pool import PoolResult
from flexnm_tb.decode_commands import PRESET

CFG = preset(PRESET).replace(n_keep=2, m_group=4, lanes=2, k_max=64, bus_width=64, tile_beats=2)
ENGINE = ["--pattern", "2:4", "--k-max", "64", "--bus-width", "64", "--tile-beats", "2"]
LAYERS = 14
PROMPT, TOKENS = ["w5", "w40", "w17"], 4
STEPS = len(PROMPT) + TOKENS - 1

Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command on the tiny model with a store of its own; returns its exit status and its JSON report."""
    monkeypatch.setattr(llm_store, "cache_dir", lambda: tmp_path / "store")
    out = tmp_path / "out"

    def command(*more: str) -> tuple[int, dict[str, Any]]:
        source = ["--model", tiny_folder, "--prompt", " ".join(PROMPT), "--tokens", str(TOKENS), "--out", str(out)]
        status = cli.run(["decode", *ENGINE, *source, *more])
        report = out / "decode.json"
        return status, json.loads(report.read_text()) if report.exists() else {}

    return command


@pytest.fixture(scope="module", params=[1, 2, 3])
def pool(request: pytest.FixtureRequest) -> Iterator[DecodePool]:
    with DecodePool(CFG.replace(rows=2), request.param) as engines:
        yield engines


def integers(*shape: int) -> torch.Tensor:
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.int8)


@pytest.mark.parametrize(
    "tokens, channels, outputs", [(1, 1, 1), (1, 63, 16), (2, 64, 17), (1, 5, 15), (5, 13, 95), (3, 42, 33), (1, 6, 8)]
)
def test_pool_equals_software(pool: DecodePool, tokens: int, channels: int, outputs: int) -> None:
    x, w, other = integers(tokens, channels), integers(outputs, channels), integers(outputs + 1, channels)
    layer, behind = pool.load(w), pool.load(other)
    cfg = pool.cfg
    # The layer loaded last is not the one that runs, and the first one is asked again after it.
    for stored, weights in ((layer, w), (behind, other), (layer, w)):
        result = pool.multiply(x, stored)
        assert torch.equal(result.sums, sparse_matmul(x, weights, cfg))
    groups = [select(group, cfg.n_keep, cfg.m_group).any(0) for group in torch.split(x, cfg.rows)]
    rows = sum(int(group.sum()) for group in groups)
    beats = rows * -(-outputs // cfg.weights_per_bus)
    assert result.counters["bus_beats"] == result.counters["beats"] == beats
    assert result.counters["rows"] == rows * -(-outputs // cfg.tile_outputs)
    assert result.jobs == len(layer.parts) * len(groups)
    if tokens == 1:
        assert (rows, beats) == (kept_rows(cfg, channels), ideal_beats(cfg, channels, outputs))


def test_layers_have_their_own_addresses(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    tile = ideal_beats(pool.cfg, 21, pool.cfg.tile_outputs)
    monkeypatch.setattr(pooling, "PART_CYCLES", 2 * tile)
    regions = [region for w in (integers(90, 21), integers(7, 9)) for region, _ in pool.load(w).parts]
    assert sum(region.outputs for region in regions) == 97
    assert all(region.outputs <= 2 * pool.cfg.tile_outputs for region in regions)
    assert all(a.base + a.size <= b.base for a, b in itertools.pairwise(regions))


def test_what_the_pool_refuses(pool: DecodePool) -> None:
    with pytest.raises(ConfigError, match="ENGINES=65"):
        DecodePool(CFG, 65)
    with pytest.raises(ConfigError, match="K=65 exceeds"):
        pool.load(integers(4, 65))
    layer = pool.load(integers(4, 6))
    with pytest.raises(ConfigError, match="do not fit weights of K=6"):
        pool.multiply(integers(1, 5), layer)
    with pytest.raises(ConfigError, match="no tokens"):
        pool.multiply(integers(0, 6), layer)


def test_the_addresses_are_used_up_in_one_line() -> None:
    with DecodePool(CFG.replace(address_width=16), 1) as engines:
        for _ in range(14):
            engines.load(integers(64, 64))
        with pytest.raises(ConfigError, match="more than 16 address bits"):
            engines.load(integers(64, 64))


def test_text_of_the_engine(run: Run, tiny_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = run()
    assert status == 0
    loaded = llm.load(tiny_folder)
    shapes = {name: tuple(module.get_parameter("weight").shape) for name, module in llm.decoder_linears(loaded.model)}
    assert [(row["step"], row["layer"]) for row in report["layers"]] == [(s, n) for s in range(STEPS) for n in shapes]
    for row in report["layers"]:
        outputs, channels = shapes[row["layer"]]
        rows = kept_rows(CFG, channels)
        assert (row["words"], row["mismatches"], row["cached"]) == (outputs, 0, False)
        assert row["beats"] == rows * -(-outputs // 8) < row["cycles"]
        assert (row["rows"], row["dense_beats"]) == (rows * -(-outputs // 16), channels * -(-outputs // 8))
    assert report["totals"]["read_over_dense"] == 0.5
    assert report["totals"]["bytes"] == 8 * sum(row["beats"] for row in report["layers"])
    texts = report["texts"]
    assert list(texts) == ["float dense", "INT8 2:4, model", "INT8 2:4, RTL"]
    assert texts["INT8 2:4, RTL"] == texts["INT8 2:4, model"]
    assert all(made["text"].startswith(" ".join(PROMPT)) for made in texts.values())
    # Without a key-value cache, all tokens at once: what transformers itself would write.
    ids = loaded.tokenizer(" ".join(PROMPT))["input_ids"]
    with torch.inference_mode():
        for _ in range(TOKENS):
            ids.append(int(loaded.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    assert texts["float dense"]["tokens"] == ids[len(PROMPT) :]
    output = capsys.readouterr().out
    assert "0 mismatches" in output
    assert "INT8 2:4, RTL equals INT8 2:4, model" in output
    assert all(made["text"] in output for made in texts.values())
    page = (tmp_path / "out" / "decode.html").read_text()
    assert "equals the model" in page
    assert all(html.escape(made["text"]) in page for made in texts.values())


def test_an_interrupted_run_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    multiply = DecodePool.multiply
    calls, stop = 0, LAYERS + 6

    def interrupted(self: DecodePool, *args: Any) -> PoolResult:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt
        return multiply(self, *args)

    monkeypatch.setattr(DecodePool, "multiply", interrupted)
    assert run() == (130, {})
    assert capsys.readouterr().err.strip().splitlines()[-1] == "flexnm: error: interrupted"
    status, report = run()
    assert (status, calls) == (0, STEPS * LAYERS + 1)
    assert [row["cached"] for row in report["layers"]] == [True] * (stop - 1) + [False] * (STEPS * LAYERS - stop + 1)
    assert f"{STEPS * LAYERS} layer steps, {stop - 1} from an earlier run" in capsys.readouterr().out
    before = calls
    # More tokens of the same text go on from there; another text does not.
    status, longer = run("--tokens", str(TOKENS + 1))
    assert (status, calls) == (0, before + LAYERS)
    assert [row["cached"] for row in longer["layers"]] == [True] * STEPS * LAYERS + [False] * LAYERS
    status, fresh = run("--fresh")
    assert (status, calls) == (0, before + (STEPS + 1) * LAYERS)
    assert fresh["texts"] == report["texts"]
    status, other = run("--prompt", "w9 w9 w9")
    assert (status, calls) == (0, before + (2 * STEPS + 1) * LAYERS)
    assert not any(row["cached"] for row in other["layers"])


@pytest.mark.parametrize("step", [0, 1])
def test_a_wrong_sum_is_found(
    step: int, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    multiply, calls = DecodePool.multiply, 0

    def wrong(self: DecodePool, *args: Any) -> PoolResult:
        nonlocal calls
        result = multiply(self, *args)
        if calls == step * LAYERS + 3:
            result.sums[0, 2] += 100000
        calls += 1
        return result

    monkeypatch.setattr(DecodePool, "multiply", wrong)
    status, report = run()
    assert status == 1
    bad = [(row["step"], row["layer"]) for row in report["layers"] if row["mismatches"]]
    assert bad == [(step, "layers.0.self_attn.o_proj")]
    assert not report["identical_to_model"]
    output = capsys.readouterr().out
    assert "1 mismatches" in output
    assert "DIFFERS" in output
    # A second look at the stored results finds them as wrong as before.
    assert run()[0] == 1


def test_another_text_fails_without_a_wrong_sum(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = decode_run.generate

    def changed(loaded: llm.LanguageModel, prompt: list[int], *more: Any) -> decode_run.Generation:
        made = generate(loaded, prompt, *more)
        label = type(next(m for _, m in llm.decoder_linears(loaded.model))).__name__
        ids = [3, *made.ids[1:]] if label == "CheckedDecodeLinear" else made.ids
        return decode_run.Generation(ids, made.text, made.logits)

    monkeypatch.setattr(decode_run, "generate", changed)
    status, report = run()
    assert (status, report["mismatches"], report["identical_to_model"]) == (1, 0, False)


@pytest.mark.parametrize(
    "args, words_of_message",
    [
        (["--k-max", "32"], ["layers.0.mlp.down_proj has K=40", "K_MAX=32"]),
        (["--tokens", "0"], ["TOKENS=0"]),
        (["--tokens", "63"], ["at most 64 tokens"]),
        (["--prompt", ""], ["PROMPT is empty"]),
        (["--engines", "0"], ["ENGINES=0"]),
        (["--pattern", "8"], ["pattern 8 is unknown"]),
        (["--pattern", "dense"], ["pattern dense of layers.0.self_attn.q_proj is no N:16"]),
        (["--pattern", "2:4+var"], ["is unknown"]),
        (["--pattern", "plan:none.json"], ["plan none.json cannot be read"]),
        (["--bus-width", "96"], ["BUS_WIDTH=96"]),
        (["--tile-beats", "3"], ["TILE_BEATS=3"]),
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

    monkeypatch.setattr(decode_run, "generate", refuse)
    # Click takes the last of two equal options.
    assert run(*args) == (2, {})
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert all(word in errors[0] for word in words_of_message)


@pytest.mark.llm
def test_a_real_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 210 linears of SmolLM2, two tokens of prompt and a new one; half of the bytes, the bus at 95 %."""
    monkeypatch.setattr(llm_store, "cache_dir", lambda: tmp_path / "store")
    outcome = decode_run.run_decode(preset(PRESET), prompt="The capital", tokens=1)
    assert outcome.prompt_tokens == 2
    assert len(outcome.rows) == 2 * 210
    assert outcome.good
    assert next(iter(outcome.generations.values())).text == "The capital of"
    assert all(2 * row.beats == row.dense_beats for row in outcome.rows)
    assert all(row.beats >= 0.95 * row.cycles for row in outcome.rows)
