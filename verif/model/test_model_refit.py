"""The weights of ``refit``: against plain least squares, what they gain, and that the model comes back as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from flexnm_gen.cli import run
from flexnm_model.llm import decoder_linears
from flexnm_model.methods import Method, Parameters, sparsify
from flexnm_model.methods.calibrate import calibrate
from flexnm_model.methods.layer import SparseLinear
from flexnm_model.methods.passes import BlockPasses
from flexnm_model.methods.refit import fitted_method, operands, refit
from flexnm_rtl.config import ConfigError
from method_tools import FAMILIES, logits, tiny

WINDOWS = list(torch.randint(3, 64, (6, 1, 30), generator=torch.Generator().manual_seed(7)))


def inputs_of(model: Any, name: str, windows: list[torch.Tensor]) -> torch.Tensor:
    """What the layer is called with on the windows, without their first token: (T, K)."""
    seen: list[torch.Tensor] = []
    layer = dict(decoder_linears(model))[name]
    with layer.register_forward_pre_hook(lambda module, args: seen.append(args[0][0, 1:])), torch.no_grad():
        for window in windows:
            model(window, use_cache=False)
    return torch.cat(seen)


@pytest.mark.parametrize(
    "family, text, kind, other",
    [
        ("Qwen2", "4:8+refit", "mlp.down_proj", "mlp.up_proj"),
        ("Gemma3", "4:8+d-pts+var+refit", "mlp.up_proj", "mlp.down_proj"),
        ("Llama", "4:8+clact+s-pts+scaling+refit", "mlp.up_proj", "mlp.down_proj"),
        ("Llama", "50%+amber+refit", "self_attn.k_proj", "self_attn.v_proj"),
    ],
)
def test_weights_are_the_least_squares_solution(family: str, text: str, kind: str, other: str) -> None:
    model, method = tiny(family), Method.parse(text)
    known = calibrate(model, WINDOWS)
    name, before, other = f"layers.1.{kind}", "layers.0.mlp.gate_proj", f"layers.1.{other}"
    fitted = refit(model, method, WINDOWS, known, ridge=0.05, layers=[before, name])
    with sparsify(model, fitted_method(method), parameters=known) as sparse:
        weights = {key: layer.get_parameter("weight").detach() for key, layer in sparse.layers.items()}
    # With what comes before it refitted, and nothing else, the layer sees what it saw when it was fitted.
    first = Parameters(
        {key: {**fitted.of(key), "weight": weights[key]} for key in weights} | {before: fitted.of(before)}
    )
    with sparsify(model, method, parameters=first) as sparse, torch.no_grad():
        layer = sparse.layers[name]
        assert isinstance(layer, SparseLinear)
        x = inputs_of(model, name, WINDOWS)
        z, p = (part.double() for part in operands(layer.stage, x))
        # The weights of ``layer`` are still its own.
        y, dense = layer(x), dict(decoder_linears(tiny(family)))[name](x)
        bias = 0 if layer.bias is None else layer.bias
    for part, output in [(p, y), (z, dense)]:
        torch.testing.assert_close((part @ weights[name].T.double()).float() + bias, output, rtol=1e-4, atol=1e-4)
    size = z.square().mean(-1, keepdim=True).sqrt()
    z, p = z / size, p / size
    ridge = (0.05 * float((p.T @ p).diagonal().mean())) ** 0.5
    rows = torch.cat([p, ridge * torch.eye(p.shape[1]).double()])
    targets = torch.cat([z @ weights[name].T.double(), ridge * weights[name].T.double()])
    expected = torch.linalg.lstsq(rows, targets).solution.T
    scale = float(expected.abs().max())
    # Weights are kept as float16, which may move a selection after them.
    assert float((fitted.of(name)["weight"].double() - expected).abs().max()) < 1e-2 * scale
    assert float((weights[name] - expected).abs().max()) > 0.1 * scale
    assert torch.equal(fitted.of(other)["weight"], weights[other].half())


def test_outputs_come_closer_to_the_dense_ones() -> None:
    model = tiny("Llama")
    known = calibrate(model, WINDOWS)
    dense = logits(model)
    fitted = refit(model, Method.parse("4:8+refit"), WINDOWS, known)
    assert torch.equal(logits(model), dense)
    assert all(isinstance(linear, torch.nn.Linear) for _, linear in decoder_linears(model))
    assert not any(module._forward_pre_hooks for module in model.modules())
    name = "layers.0.self_attn.v_proj"
    x = inputs_of(model, name, WINDOWS)
    target = x @ dict(decoder_linears(model))[name].get_parameter("weight").T
    errors = []
    for text in ("4:8", "4:8+refit"):
        with sparsify(model, text, parameters=fitted) as sparse, torch.no_grad():
            errors.append(float((sparse.layers[name](x) - target).square().mean()))
    assert errors[1] < 0.9 * errors[0]
    assert fitted.of(name).keys() == known.of(name).keys() | {"weight"}
    assert fitted.header["refitted"]["method"] == "4:8+refit"


def test_layers_and_progress() -> None:
    model, seen = tiny("Qwen2"), []
    method = Method.parse("2:4+refit+ls@int8")
    found = refit(model, method, WINDOWS, Parameters(), layers=["*.down_proj"], advance=lambda *done: seen.append(done))
    changed = [
        name for name, linear in decoder_linears(model)
        if not torch.equal(found.of(name)["weight"], linear.get_parameter("weight").half())
    ]  # fmt: skip
    assert changed == ["layers.0.mlp.down_proj", "layers.1.mlp.down_proj"]
    assert seen == [(1, 2), (2, 2)]
    assert str(fitted_method(method)) == "2:4"


@pytest.mark.parametrize("family", FAMILIES)
def test_passes_are_those_of_the_model(family: str) -> None:
    model = tiny(family)
    name = "layers.1.mlp.gate_proj"
    expected, seen = inputs_of(model, name, WINDOWS), []
    with torch.no_grad():
        passes = BlockPasses(model, WINDOWS)
        passes.go_through(0)
        passes.go_to(1, dict(decoder_linears(model))[name], lambda x: seen.append(x[0, 1:]))
    assert torch.equal(torch.cat(seen), expected)


def test_bad_input_is_refused_in_one_line() -> None:
    model = tiny("Llama")
    method = Method.parse("4:8+refit")
    for text, message in [("4:8", "has no refit"), ("4:8+l-pts+refit", "l-pts is learned later")]:
        with pytest.raises(ConfigError, match=message):
            refit(model, Method.parse(text), WINDOWS, Parameters())
    with pytest.raises(ConfigError, match="one window, all of one length above 1"):
        refit(model, method, [], Parameters())
    with pytest.raises(ConfigError, match="one window, all of one length above 1"):
        refit(model, method, [WINDOWS[0], WINDOWS[1][:, :5]], Parameters())
    with pytest.raises(ConfigError, match="ridge 0 is out of range"):
        refit(model, method, WINDOWS, Parameters(), ridge=0)
    with pytest.raises(ConfigError, match="needs 'mean'"):
        refit(model, Method.parse("4:8+s-pts+refit"), WINDOWS, Parameters())
    with torch.no_grad():
        model.model.embed_tokens.weight[5:40] = float("nan")
    with pytest.raises(ConfigError, match="NaN"):
        refit(model, method, WINDOWS, Parameters())
    assert all(isinstance(linear, torch.nn.Linear) for _, linear in decoder_linears(model))


def test_command_refits_and_trains_on_top(
    tiny_folder: str, words: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "refit.safetensors"
    source = [
        "--model",
        tiny_folder,
        "--text",
        words,
        "--windows",
        "3",
        "--window",
        "16",
        "--skip",
        "2",
        "--steps",
        "1",
    ]
    assert run(["calibrate", *source, "--steps", "1", "--train", "4:8+refit+ls", "--out", str(file)]) == 0
    found = Parameters.load(file)
    assert found.of("layers.0.mlp.up_proj").keys() == {"norm", "mean", "peak", "weight", "a", "b"}
    assert found.header["refitted"]["method"] == found.header["trained"]["method"] == "4:8+ls+refit"
    assert run(["calibrate", *source, "--train", "4:8+refit", "--out", str(file)]) == 0
    assert set(Parameters.load(file).header) >= {"refitted", "tokens"}
    for text, message in [("4:8+l-pts+refit", "l-pts is learned later"), ("4:8+var", "nothing to train")]:
        assert run(["calibrate", *source, "--train", text, "--out", str(file)]) == 2
        assert message in capsys.readouterr().err
