"""Methods on the real engine: layers and a whole model equal to the software to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flexnm_gen import cli
from flexnm_model import llm
from flexnm_model.driver import LinearDriver
from flexnm_model.method_tables import Methods
from flexnm_model.methods import Method, Parameters, sparsify
from flexnm_model.methods.integer import config_for, integer_layer
from flexnm_model.methods.layer import Tensors
from flexnm_model.perplexity import loss, perplexity
from flexnm_model.text import load_text, windows
from flexnm_rtl.presets import preset
from flexnm_tb import llm_store
from flexnm_tb.cosim.linear_module import HardwareLinear
from flexnm_tb.cosim.pool import EnginePool

EVERYTHING = "8:16+clact+scaling+l-pts+d-pts+var+ls+r-sparse"
CFG = config_for(Method.parse(EVERYTHING), 96, preset("n8m16").replace(rows=2, cols=4, lanes=2, k_max=96))
METHODS = [
    "dense", "dense+scaling", "8:16", "8:16+clact", "8:16+var", "8:16+d-pts", "8:16+s-pts", "8:16+l-pts+d-pts",
    "8:16+clact+d-pts+var", "8:16+r-sparse", "8:16+refit+ls", EVERYTHING,
]  # fmt: skip
FULL = ["--preset", "n8m16", "--rows", "2", "--cols", "4", "--lanes", "2", "--k-max", "96"]

Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def pool() -> Iterator[EnginePool]:
    with EnginePool(CFG, 2) as engines:
        yield engines


def tensors(outputs: int, channels: int, seed: int) -> Tensors:
    """Everything a layer may need. The peak is so large that it, not the shift, sets the tokens' smallest scale."""
    g = torch.Generator().manual_seed(seed)
    rank = min(outputs, channels, 128)
    mean = torch.randn(channels, generator=g) / 2
    return {
        "norm": torch.rand(channels, generator=g) * torch.logspace(-1, 1, channels), "mean": mean, "eta": 0.9 * mean,
        "peak": 5000 * torch.rand(channels, generator=g) + 5000, "a": torch.randn(outputs, generator=g) / 4,
        "b": torch.randn(outputs, generator=g), "A": torch.randn(outputs, rank, generator=g) / 20,
        "B": torch.randn(rank, channels, generator=g) / 20, "weight": torch.randn(outputs, channels, generator=g),
    }  # fmt: skip


def inputs(tokens: int, channels: int, seed: int) -> torch.Tensor:
    """Tokens whose sizes differ a lot, so that their scales have other exponents."""
    g = torch.Generator().manual_seed(seed)
    size = torch.logspace(-2, 1, tokens)[torch.randperm(tokens, generator=g), None]
    return torch.randn(tokens, channels, generator=g) * size + tensors(1, channels, seed)["mean"]


def pair(
    pool: EnginePool, name: str, shape: tuple[int, int], seed: int
) -> tuple[HardwareLinear, Callable[[torch.Tensor], torch.Tensor]]:
    """A random layer (O, K) under a method, on the engines and in software."""
    torch.manual_seed(seed)
    linear = torch.nn.Linear(shape[1], shape[0])
    method, known = Method.parse(name), tensors(*shape, seed)
    software = integer_layer("layer", linear, method, Parameters({"layer": known}), pool.cfg)
    return HardwareLinear(linear, pool, method, known), software


@pytest.mark.parametrize("name", METHODS)
def test_hardware_equals_software(pool: EnginePool, name: str) -> None:
    hardware, software = pair(pool, name, (19, 90), 1)
    x = inputs(CFG.tokens_max + 3, 90, 1)
    expected = software(x)
    assert torch.equal(hardware(x), expected)
    assert hardware.counters["cycles"] > hardware.counters["busy_cycles"] > 0
    # Another method's answer, so that equality means something.
    others = [other for other in ("8:16", "8:16+clact+var") if Method.parse(other) != Method.parse(name)]
    assert all(not torch.equal(pair(pool, other, (19, 90), 1)[1](x), expected) for other in others)


def test_layers_with_other_tables_take_turns(pool: EnginePool) -> None:
    """Each has its own factors, shifts and K; the engines' tables are written again where they must be."""
    layers = [pair(pool, name, (o, k), k) for name, o, k in (
        (EVERYTHING, 9, 40), ("8:16+clact", 5, 96), ("8:16", 4, 64), ("8:16+s-pts+var", 21, 33), ("8:16+clact", 5, 80),
    )]  # fmt: skip
    for _ in range(2):
        for hardware, software in layers:
            x = inputs(5, hardware.weight.q.shape[1], 7)
            assert torch.equal(hardware(x), software(x))


def stale_channels(patch: pytest.MonkeyPatch) -> None:
    """The engine keeps the table of channels that it has."""
    fill = LinearDriver._fill
    patch.setattr(LinearDriver, "_fill", lambda self, name, words: name != "channel_data" and fill(self, name, words))


def stale_tokens(patch: pytest.MonkeyPatch) -> None:
    """The first job's exponents serve all tokens."""
    fill = LinearDriver._fill
    patch.setattr(LinearDriver, "_fill", lambda self, name, words: name != "token_data" and fill(self, name, words))


def wrong_exponent(patch: pytest.MonkeyPatch) -> None:
    """One token's scale is twice what it is."""
    methods = HardwareLinear.methods

    def changed(self: HardwareLinear, exponents: torch.Tensor | None) -> Methods:
        assert exponents is not None
        return methods(self, exponents + (torch.arange(len(exponents)) == 3))

    patch.setattr(HardwareLinear, "methods", changed)


@pytest.mark.parametrize("fault", [stale_channels, stale_tokens, wrong_exponent])
def test_a_wrong_table_changes_the_outputs(
    pool: EnginePool, fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [pair(pool, "8:16+clact+s-pts", (6, 50), seed) for seed in (1, 2)]
    xs = [inputs(9, 50, seed) for seed in (1, 2)]
    assert all(torch.equal(hardware(x), software(x)) for x, (hardware, software) in zip(xs, layers, strict=True))
    fault(monkeypatch)
    x, (hardware, software) = xs[0], layers[0]
    assert not torch.equal(hardware(x), software(x))
    monkeypatch.undo()
    pair(pool, "8:16+clact", (8, 16), 3)[0](inputs(2, 16, 3))  # both engines have the table written again
    assert torch.equal(hardware(x), software(x))


@pytest.fixture
def run(tiny_folder: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``flexnm llm`` on the tiny model with a store of its own; returns its exit status and its JSON report."""
    monkeypatch.setattr(llm_store, "cache_dir", lambda: tmp_path / "store")
    out = tmp_path / "out"

    def command(*more: str) -> tuple[int, dict[str, Any]]:
        source = ["--model", tiny_folder, "--text", words, "--tokens", "7", "--out", str(out)]
        status = cli.run(["llm", *source, *more])
        report = out / "llm.json"
        return status, json.loads(report.read_text()) if report.exists() else {}

    return command


@pytest.fixture
def known(tiny_folder: str) -> Parameters:
    linears = llm.decoder_linears(llm.load(tiny_folder).model)
    shapes = {name: linear.get_parameter("weight").shape for name, linear in linears}
    layers = {name: tensors(o, k, i) for i, (name, (o, k)) in enumerate(shapes.items())}
    return Parameters(layers, {"model": llm.model_key(tiny_folder)})


def test_a_whole_model_with_everything(
    run: Run, known: Parameters, tiny_folder: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "known.safetensors"
    known.save(file)
    status, report = run(*FULL, "--method", EVERYTHING, "--parameters", str(file))
    assert (status, report["method"], list(report["libraries"].values())) == (0, EVERYTHING, [CFG.as_dict()])
    names = [name for name, _ in llm.decoder_linears(llm.load(tiny_folder).model)]
    rows = report["layers"]
    parts = [(f"{name}{part}", pattern) for name in names
             for part, pattern in (("", "8:16"), (".inner", "dense"), (".outer", "dense"))]  # fmt: skip
    assert [(row["layer"], row["pattern"]) for row in rows] == parts
    assert all(row["mismatches"] == 0 and row["words"] == 7 * row["outputs"] for row in rows)
    assert all(row["busy_cycles"] == row["ideal"] < row["cycles"] for row in rows)
    tiny = llm.load(tiny_folder)
    (window,) = windows(tiny.tokenizer, load_text(words), 1, 7)
    with sparsify(tiny.model, f"{EVERYTHING}@int8", parameters=known):
        expected = perplexity([loss(tiny.model, window)])
    assert report["perplexity"][f"INT8 {EVERYTHING}, RTL"] == pytest.approx(expected, rel=1e-6)
    assert report["perplexity"]["INT8 dense, model"] != pytest.approx(expected, rel=1e-4)
    assert f"INT8 {EVERYTHING}, RTL equals" in capsys.readouterr().out
    status, again = run(*FULL, "--method", EVERYTHING, "--parameters", str(file))
    assert (status, again["perplexity"]) == (0, report["perplexity"])
    assert all(row["cached"] for row in again["layers"])
    # Stored results of another table are no results of this one, though everything else of the first layer is the same.
    first = {**known.of(names[0]), "norm": known.of(names[0])["norm"].flip(0)}
    known.merged(Parameters({names[0]: first})).save(file)
    status, other = run(*FULL, "--method", EVERYTHING, "--parameters", str(file))
    assert (status, other["layers"][0]["cached"], other["layers"][0]["mismatches"]) == (0, False, 0)
