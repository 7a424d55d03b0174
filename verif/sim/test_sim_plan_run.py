"""Plans on the real engines: each layer with its own N, on a linear engine built for it, or as a job of ``decode``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flexnm_gen import cli
from flexnm_model import llm
from flexnm_model.methods import Parameters, sparsify
from flexnm_model.methods.patterns import Blocks
from flexnm_model.methods.plan import Plan, shapes
from flexnm_model.perplexity import loss, perplexity
from flexnm_model.text import load_text, windows
from flexnm_rtl.presets import PRESETS, preset
from flexnm_tb import llm_store
from flexnm_tb.cosim.decode_pool import DecodePool, StoredLayer, ideal_beats, kept_rows
from flexnm_tb.decode_commands import PRESET
from flexnm_tb.engine_cycles import ideal_cycles

LINEAR = ["llm", "--preset", "n2m4", "--rows", "2", "--cols", "4", "--lanes", "1", "--k-max", "64", "--tokens", "7"]
DECODE = ["decode", "--k-max", "64", "--bus-width", "64", "--tile-beats", "2", "--prompt", "w5 w40", "--tokens", "2"]

Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the tiny model with a store of its own; returns its exit status and its JSON report."""
    monkeypatch.setattr(llm_store, "cache_dir", lambda: tmp_path / "store")

    def command(*words: str) -> tuple[int, dict[str, Any]]:
        status = cli.run([*words, "--model", tiny_folder, "--out", str(tmp_path / "out")])
        report = tmp_path / "out" / f"{words[0]}.json"
        return status, json.loads(report.read_text()) if report.exists() else {}

    return command


@pytest.fixture
def sizes(tiny_folder: str) -> dict[str, tuple[int, int]]:
    return shapes(llm.load(tiny_folder).model)


def write_plan(path: Path, names: list[str], *patterns: str) -> Plan:
    """Patterns in turn for the layers, saved."""
    blocks = [Blocks(*map(int, text.split(":"))) for text in patterns]
    plan = Plan({name: blocks[i % len(blocks)] for i, name in enumerate(names)})
    plan.save(path)
    return plan


def test_a_plan_on_one_flexible_engine(
    run: Run, sizes: dict[str, tuple[int, int]], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flexible = preset("n32m32-flexible").replace(n_keep=12, m_group=16, rows=2, cols=4, lanes=2, k_max=64)
    monkeypatch.setitem(PRESETS, "n32m32-flexible", flexible)
    plan = write_plan(tmp_path / "plan.json", list(sizes), "2:4", "3:4", "1:4")
    status, report = run("llm", "--preset", "n32m32-flexible", "--tokens", "7", "--text", words, "--pattern",
                         f"plan:{tmp_path / 'plan.json'}")  # fmt: skip
    assert status == 0
    assert len(report["libraries"]) == 1
    for row in report["layers"]:
        blocks, (outputs, channels) = plan.layers[row["layer"]], sizes[row["layer"]]
        ideal = ideal_cycles(flexible, 7, channels, outputs, n=16 // blocks.m * blocks.n)
        assert (row["pattern"], row["mismatches"], row["busy_cycles"]) == (str(blocks), 0, ideal)


@pytest.mark.parametrize("method", ["", "+ls-scale"])
def test_a_plan_on_linear_engines(
    method: str, run: Run, sizes: dict[str, tuple[int, int]], tiny_folder: str, words: str, tmp_path: Path
) -> None:
    """ls-scale stands for any method beside a plan: it needs no hardware, so no further engine is built."""
    plan = write_plan(tmp_path / "plan.json", list(sizes), "2:4", "3:4", "3:4")
    g = torch.Generator().manual_seed(1)
    known = Parameters({n: {"a": torch.randn(o, generator=g) / 4} for n, (o, _) in sizes.items()},
                       {"model": llm.model_key(tiny_folder)})  # fmt: skip
    known.save(tmp_path / "known.safetensors")
    spec = f"plan:{tmp_path / 'plan.json'}{method}"
    options = ["--method", spec, "--parameters", str(tmp_path / "known.safetensors")] if method else ["--pattern", spec]
    status, report = run(*LINEAR, "--text", words, *options)
    assert status == 0
    assert sorted(cfg["n_keep"] for cfg in report["libraries"].values()) == [2, 3]
    base = preset("n2m4").replace(rows=2, cols=4, lanes=1, k_max=64)
    for row in report["layers"]:
        blocks, (outputs, channels) = plan.layers[row["layer"]], sizes[row["layer"]]
        ideal = ideal_cycles(base.replace(n_keep=blocks.n), 7, channels, outputs)
        assert (row["pattern"], row["mismatches"], row["busy_cycles"]) == (str(blocks), 0, ideal)
    tiny = llm.load(tiny_folder)
    (window,) = windows(tiny.tokenizer, load_text(words), 1, 7)
    with sparsify(tiny.model, f"{spec}@int8", parameters=known):
        expected = perplexity([loss(tiny.model, window)])
    assert report["perplexity"][f"INT8 {spec}, RTL"] == pytest.approx(expected, rel=1e-6)
    assert len(set(report["perplexity"].values())) == 3, "float, dense and the plan are three different models"


def test_a_plan_on_the_decode_engine(
    run: Run, sizes: dict[str, tuple[int, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One engine; N is a register. The plan has another M than the preset."""
    plan = write_plan(tmp_path / "plan.json", list(sizes), "1:4", "3:4", "4:4", "2:4")
    status, report = run(*DECODE, "--pattern", f"plan:{tmp_path / 'plan.json'}")
    assert status == 0
    assert f"INT8 plan:{tmp_path / 'plan.json'}, RTL equals" in capsys.readouterr().out.replace("\n", " ")
    cfg = preset(PRESET).replace(n_keep=4, m_group=4, lanes=4, k_max=64, bus_width=64, tile_beats=2)
    assert report["config"] == cfg.as_dict()
    for row in report["layers"]:
        n, (outputs, channels) = plan.layers[row["layer"]].n, sizes[row["layer"]]
        own = cfg.replace(n_keep=n, lanes=1)
        assert (row["keep"], row["mismatches"], row["beats"]) == (n, 0, ideal_beats(own, channels, outputs))
        assert row["rows"] == kept_rows(own, channels) * -(-outputs // 16)


def test_a_wrong_n_is_found(
    run: Run, sizes: dict[str, tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plan(tmp_path / "plan.json", list(sizes), "1:4", "3:4", "4:4", "2:4")
    load, calls = DecodePool.load, 0

    def wrong(self: DecodePool, w: torch.Tensor, keep: int) -> StoredLayer:
        nonlocal calls
        calls += 1
        return load(self, w, 3 if calls == 4 else keep)

    monkeypatch.setattr(DecodePool, "load", wrong)
    status, report = run(*DECODE, "--pattern", f"plan:{tmp_path / 'plan.json'}")
    assert status == 1
    assert {row["layer"] for row in report["layers"] if row["mismatches"]} == {"layers.0.self_attn.o_proj"}


@pytest.mark.parametrize("command", [LINEAR, DECODE])
def test_bad_plans_are_refused_in_one_line(
    command: list[str], run: Run, sizes: dict[str, tuple[int, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, names = tmp_path / "plan.json", list(sizes)
    for text, message in (
        ('{"layers": {"a": "2:4", "b": "3:5"}}', "all layers need the same M"),
        ('{"layers": {"a": "2:4"}}', "was it made for another model"),
        ('{"layers": {"a": 3}}', "is damaged"),
        ('{"model": "other", "layers": {"a": "2:4"}}', "is of another model (other)"),
        (json.dumps({"layers": dict.fromkeys(names[1:], "2:4")}), f"the plan lacks {names[0]}"),
    ):
        path.write_text(text)
        assert run(*command, "--pattern", f"plan:{path}") == (2, {})
        errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert len(errors) == 1
        assert message in errors[0]
