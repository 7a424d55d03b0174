"""Sensitivity: its sums against plain loops, its gradients against finite differences, and `flexnm plan` as a whole."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from flexnm_gen.cli import run
from flexnm_model.llm import decoder_linears
from flexnm_model.methods import sensitivity, sparsify
from flexnm_model.methods.budget import Budget
from flexnm_model.methods.plan import Plan, shapes
from flexnm_model.methods.planning import best_plan
from flexnm_rtl.config import ConfigError
from method_tools import FAMILIES, tiny

WINDOWS = list(torch.randint(3, 64, (3, 1, 20), generator=torch.Generator().manual_seed(2)))


def test_sums_are_those_of_plain_loops() -> None:
    g = torch.Generator().manual_seed(0)
    x, gradient = torch.randn(4, 11, generator=g), torch.randn(4, 11, generator=g)
    x[1, :4] = 0.5  # ties: the lower channel is kept
    found = sensitivity._curves(x, gradient, 4)
    for n in range(1, 5):
        exact = apart = 0.0
        for token, slopes in zip(x.tolist(), gradient.tolist(), strict=True):
            sums = []
            for start in range(0, 11, 4):
                channels = range(start, min(start + 4, 11))
                dropped = sorted(channels, key=lambda j: (-abs(token[j]), j))[n:]
                sums.append(sum(token[j] * slopes[j] for j in dropped))
            exact += sum(sums) ** 2 / 4
            apart += sum(s**2 for s in sums) / 4
        assert found[:, n - 1].tolist() == pytest.approx([exact, apart], abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_all_layers_that_read_the_input(family: str) -> None:
    model = tiny(family).double()
    with sensitivity._frozen_inputs(model) as inputs:
        gradients = sensitivity._gradients(model, WINDOWS[0], inputs, 5)
    assert len(gradients) == 8
    with torch.no_grad():
        logits = model(WINDOWS[0], use_cache=False).logits[0]
    drawn = torch.multinomial(logits.float().softmax(-1), 1, generator=torch.Generator().manual_seed(5))[:, 0]
    linears = dict(decoder_linears(model))

    def loss(group: tuple[str, ...], error: torch.Tensor) -> float:
        hooks = [linears[name].register_forward_pre_hook(lambda module, args: (args[0] + error,)) for name in group]
        with torch.no_grad():
            found = torch.nn.functional.cross_entropy(model(WINDOWS[0]).logits[0].double(), drawn, reduction="sum")
        for hook in hooks:
            hook.remove()
        return float(found)

    for group, (x, gradient) in gradients.items():
        error = 1e-4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        slope = (loss(group, error) - loss(group, -error)) / 2
        # The gradient itself is computed in float32 from the logits on.
        assert slope == pytest.approx(float((gradient * error).sum()), rel=1e-2, abs=1e-6), group


def test_prediction_is_near_the_loss_of_small_errors() -> None:
    """The model's own weights are small here, so that a pruned layer changes little."""
    model = tiny("Llama")
    with torch.no_grad():
        for _, linear in decoder_linears(model):
            linear.get_parameter("weight").mul_(0.25)
        model.lm_head.weight.mul_(20)
    windows = list(torch.randint(3, 64, (40, 1, 20), generator=torch.Generator().manual_seed(4)))
    found = sensitivity.measure(model, windows, 4)
    batch = torch.cat(windows)
    with torch.no_grad():
        dense = model(batch, use_cache=False).logits.log_softmax(-1)
    for group in found.losses:
        with torch.no_grad(), sparsify(model, "2:4", layers=list(group)):
            sparse = model(batch, use_cache=False).logits.log_softmax(-1)
        loss = float((dense.exp() * (dense - sparse)).sum(-1).mean())
        assert 0.4 < found.losses[group][1] / loss < 2.5, group
        assert found.losses[group][3] == 0


def test_model_is_as_it_was_and_bad_input_is_refused() -> None:
    model = tiny("Llama")
    flags = [parameter.requires_grad for parameter in model.parameters()]
    first = sensitivity.measure(model, WINDOWS, 16)
    assert first == sensitivity.measure(model, WINDOWS, 16)
    assert first != sensitivity.measure(model, WINDOWS, 16, seed=1)
    assert first != sensitivity.measure(model, WINDOWS, 16, skip=1)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with pytest.raises(ConfigError, match="at least one window"):
        sensitivity.measure(model, [], 16)
    with pytest.raises(ConfigError, match="cannot be selected"):
        sensitivity.measure(model, WINDOWS, 33)
    with sparsify(model, "8:16"), pytest.raises(ConfigError, match=r"restore\(\) it first"):
        sensitivity.measure(model, WINDOWS, 16)
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    with pytest.raises(ConfigError, match="NaN"):
        sensitivity.measure(model, WINDOWS, 16)


def test_finished_windows_are_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, original, count, limit = tiny("Llama"), sensitivity._gradients, 0, 2

    def counting(*args: Any) -> Any:
        nonlocal count
        if count == limit:
            raise KeyboardInterrupt
        count += 1
        return original(*args)

    monkeypatch.setattr(sensitivity, "_gradients", counting)
    with pytest.raises(KeyboardInterrupt):
        sensitivity.measure(model, WINDOWS, 16, key="k")
    limit = 100
    found = sensitivity.measure(model, WINDOWS, 16, key="k")
    assert count == 3
    assert found == sensitivity.measure(model, WINDOWS, 16, key="k")
    assert count == 3
    assert found == sensitivity.measure(model, WINDOWS, 16)
    next((cache / "sensitivity").rglob("0.json")).write_text("{")
    assert found == sensitivity.measure(model, WINDOWS, 16, key="k")
    assert count == 7


def test_best_plan_beats_the_uniform_one_in_the_prediction() -> None:
    model = tiny("Gemma3")
    found = sensitivity.measure(model, WINDOWS, 16)
    sizes = shapes(model)
    plan = best_plan(found, sizes, Budget(), 8)
    budget, loss = plan.header["budget"], plan.header["predicted_loss"]
    assert (
        plan.cost(sizes, Budget())
        == budget["used"]
        <= budget["allowed"]
        == Plan.uniform(sizes, 8, 16).cost(sizes, Budget())
    )
    assert loss["plan"] < loss["uniform"] == pytest.approx(sum(curve[7] for curve in found.losses.values()))
    for block in range(2):
        assert len({plan.layers[f"layers.{block}.self_attn.{kind}_proj"] for kind in "qkv"}) == 1
    with pytest.raises(ConfigError, match="another model"):
        best_plan(found, {"layers.0.mlp.up_proj": (2, 3)}, Budget(), 8)


@pytest.mark.parametrize(
    "options", [[], ["--budget", "cycles", "--lanes", "2"], ["--budget", "bytes", "--bus-width", "64"]]
)
def test_command_writes_a_plan(
    options: list[str], tiny_folder: str, words: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "plan.json"
    source = ["--model", tiny_folder, "--text", words, "--windows", "2", "--window", "16", "--skip", "3"]
    assert run(["plan", *source, "--average", "4:8", "--out", str(file), *options]) == 0
    shown = capsys.readouterr().out
    plan = Plan.load(file)
    assert plan.m == 8
    assert plan.header["average"] == "4:8"
    used, allowed = plan.header["budget"]["used"], plan.header["budget"]["allowed"]
    assert used <= allowed
    assert f"{used:,} of {allowed:,} allowed" in shown.replace("\n", " ")
    assert json.loads(file.read_text())["measured"] == {"method": "fisher", "windows": 2, "window": 16, "skip": 3}


@pytest.mark.parametrize(
    "options, message",
    [
        (["--average", "9:8"], "1 <= N <= M"),
        (["--average", "half"], "pattern half is not N:M"),
        (["--budget", "time"], "budget time is unknown: choose one of macs, cycles, bytes"),
        (["--budget", "cycles", "--lanes", "3"], "LANES=3 does not divide N=8"),
        (["--budget", "cycles", "--tokens", "0"], "0 tokens"),
        (["--windows", "0"], "at least 1"),
        (["--out", "."], "is a folder"),
        (["--skip", "100"], "the text has"),
    ],
)
def test_command_refuses_in_one_line(
    options: list[str], message: str, tiny_folder: str, words: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", "--model", tiny_folder, "--text", words, "--window", "16", *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
