"""Applying methods to whole models of three families: equal to hooks in front of every linear, and nothing stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flexnm_model.llm import decoder_linears
from flexnm_model.methods import Method, Parameters, sparsify
from flexnm_model.methods.layer import SparseLinear
from flexnm_model.methods.patterns import Blocks
from flexnm_model.select import select
from flexnm_rtl.config import ConfigError
from method_tools import (
    FAMILIES,
    IDS,
    logits,
    one_thread,  # noqa: F401, a fixture
    parameters,
    tiny,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def modules(model: Any) -> list[int]:
    return [id(module) for module in model.modules()]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return tiny(request.param)


METHODS = [
    "8:16", "2:4+clact", "50%", "w2:4", "2:4+amber+var", "2:4+clact+s-pts+d-pts-median+ls+r-sparse+scaling",
    "8:16+variance+l-pts+var", "2:4+refit", "dense+scaling", "8:16@int8", "dense@int8", "w8:16@int8",
]  # fmt: skip


@pytest.mark.parametrize("text", METHODS)
def test_each_linear_alone_gives_the_same(model: Any, text: str) -> None:
    """One layer after the other through a forward hook, with nothing shared between them."""
    known = parameters(model)
    before, ids = logits(model), modules(model)
    with sparsify(model, text, parameters=known) as sparse:
        got = logits(model)
        assert len(sparse.layers) == 14
    assert modules(model) == ids
    assert torch.equal(logits(model), before)

    def alone(layer: torch.nn.Module) -> Callable[..., torch.Tensor]:
        return lambda module, args, output: layer(args[0].clone())

    handles = []
    for name, linear in list(decoder_linears(model)):
        with sparsify(model, text, layers=name, parameters=known) as one:
            handles.append(linear.register_forward_hook(alone(one.layers[name])))
    expected = logits(model)
    for handle in handles:
        handle.remove()
    assert torch.equal(got, expected)
    if text != "dense+scaling":
        assert not torch.equal(got, before)


def test_magnitude_is_masks_in_front_of_every_linear(model: Any) -> None:
    def plain(module: torch.nn.Module, args: tuple[torch.Tensor]) -> torch.Tensor:
        return torch.where(select(args[0], 2, 4), args[0], 0)

    handles = [linear.register_forward_pre_hook(plain) for _, linear in decoder_linears(model)]
    expected = logits(model)
    for handle in handles:
        handle.remove()
    with sparsify(model, "2:4"):
        assert torch.equal(logits(model), expected)


@pytest.mark.parametrize("text, calls", [("8:16", 4), ("8:16+clact+s-pts+var", 4), ("8:16+amber", 7)])
def test_shared_input_is_pruned_once(text: str, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """q, k, v share one, o has one, gate and up share one, down has one; factors of weights share nothing."""
    model = tiny("Llama")
    seen: list[int] = []
    original = Blocks.prune

    def counting(self: Blocks, z: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        seen.append(z.shape[-1])
        return original(self, z, factor)

    monkeypatch.setattr(Blocks, "prune", counting)
    same = parameters(model)
    block = {name: dict(same.of(name)) for name in same.layers}
    for name, own in block.items():
        first = "down_proj" if "down" in name else "q_proj"
        own.update({k: v for k, v in block[next(n for n in block if first in n)].items() if k in ("norm", "mean")})
    with sparsify(model, text, parameters=Parameters(block)):
        logits(model)
    assert len(seen) == 2 * calls


def test_an_input_changed_in_place_is_pruned_again() -> None:
    layer = SparseLinear(torch.nn.Linear(4, 2, bias=False), Method.parse("2:4"))
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    with torch.no_grad():
        first = layer(x)
        x.mul_(2)
        assert torch.equal(layer(x), 2 * first)


def test_keeping_everything_changes_nothing() -> None:
    model = tiny("Qwen2")
    with sparsify(model, "4:4"):
        kept = logits(model)
    assert torch.equal(kept, logits(model))


def test_only_chosen_layers_change() -> None:
    model = tiny("Llama")
    with sparsify(model, "2:4", layers=["*.down_proj", "layers.0.self_attn.q_proj"]) as sparse:
        assert list(sparse.layers) == ["layers.0.self_attn.q_proj", "layers.0.mlp.down_proj", "layers.1.mlp.down_proj"]
        assert sum(isinstance(module, SparseLinear) for module in model.modules()) == 3
    with pytest.raises(ConfigError, match=r"no layer is called \*\.nothing: names are like layers\.1\.mlp\.down_proj"):
        sparsify(model, "2:4", layers=["*.down_proj", "*.nothing"])


def test_restore_is_complete_in_every_case() -> None:
    model = tiny("Llama")
    before, ids = logits(model), modules(model)
    sparse = sparsify(model, "2:4")
    with pytest.raises(ConfigError, match=r"no nn\.Linear: restore\(\) the model if it is sparse"):
        sparsify(model, "2:4")
    changed = logits(model)
    with sparse.paused():
        assert torch.equal(logits(model), before)
    assert torch.equal(logits(model), changed)
    sparse.restore()
    sparse.restore()
    assert (modules(model), torch.equal(logits(model), before)) == (ids, True)
    with pytest.raises(ConfigError, match="nothing is left to pause"), sparse.paused():
        pass
    with pytest.raises(RuntimeError, match="stop"), sparsify(model, "2:4"):
        raise RuntimeError("stop")
    with pytest.raises(ConfigError, match="'norm' of layers"):
        sparsify(model, "2:4+clact")
    assert (modules(model), torch.equal(logits(model), before)) == (ids, True)


def test_nothing_is_undone_when_the_result_is_dropped() -> None:
    model = tiny("Llama")
    before = logits(model)
    sparsify(model, "2:4")
    assert not torch.equal(logits(model), before)


def test_missing_and_wrong_parameters_are_named() -> None:
    model = tiny("Llama")
    cases = [
        ("2:4+clact", {}, "2:4[+]clact needs 'norm' of layers.0.self_attn.q_proj, .* make it with flexnm calibrate$"),
        ("2:4+l-pts", {}, "'eta' of layers.0.self_attn.q_proj, .* flexnm calibrate --train '2:4[+]l-pts'$"),
        ("2:4+s-pts", {"mean": torch.zeros(7)}, r"'mean' of \S+ has shape \(7,\), .* needs \(24,\): .* another model"),
        ("2:4+clact@int8", {}, "'norm' of layers.0.self_attn.q_proj"),
    ]
    for text, own, message in cases:
        known = Parameters({name: own for name, _ in decoder_linears(model)})
        with pytest.raises(ConfigError, match=message) as caught:
            sparsify(model, text, parameters=known)
        assert "\n" not in str(caught.value)


def test_pattern_with_arguments_is_the_method() -> None:
    model = tiny("Llama")
    known = parameters(model)
    with sparsify(model, "2:4+clact+var", parameters=known):
        expected = logits(model)
    for pattern in ("2:4", Blocks(2, 4), Method(Blocks(2, 4))):
        with sparsify(model, pattern, score="clact", mitigations=["var"], parameters=known):
            assert torch.equal(logits(model), expected)
    with pytest.raises(ConfigError, match=r"2:4[+]clact is a whole method"):
        sparsify(model, "2:4+clact", mitigations=["var"], parameters=known)
    with sparsify(model, "8:16", integer=True) as sparse:
        assert str(sparse.method) == "8:16@int8"


def test_plan_gives_each_layer_its_pattern(tmp_path: Path) -> None:
    model = tiny("Llama")
    names = [name for name, _ in decoder_linears(model)]
    plan = {name: f"{1 + i}:16" for i, name in enumerate(names)}
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"layers": plan}))
    with sparsify(model, f"plan:{file}") as sparse:
        assert {name: str(layer.stage.pattern) for name, layer in sparse.layers.items()} == plan  # type: ignore[union-attr]
        logits(model)
    for content, message in [("{", "damaged"), ('{"layers": {"a": "x"}}', "damaged"), ('{"layers": {}}', "no pattern")]:
        file.write_text(content)
        with pytest.raises(ConfigError, match=message):
            sparsify(model, f"plan:{file}")
    with pytest.raises(ConfigError, match="cannot be read"):
        sparsify(model, "plan:none.json")


def test_nan_and_models_without_projections_are_refused() -> None:
    model = tiny("Llama")
    with torch.no_grad():
        model.get_parameter("model.embed_tokens.weight")[IDS[0, 0]] = float("nan")
    for text in ("2:4", "50%"):
        with sparsify(model, text), pytest.raises(ConfigError, match="NaN"):
            logits(model)
    with pytest.raises(ConfigError, match="no q/k/v/o"):
        sparsify(torch.nn.Linear(2, 2), "2:4")


def test_generation_with_a_cache_works_token_by_token() -> None:
    model = tiny("Llama")
    with sparsify(model, "8:16+d-pts+var"):
        whole = logits(model)
        with torch.inference_mode():
            first = model(IDS[:, :-1], use_cache=True)
            last = model(IDS[:, -1:], past_key_values=first.past_key_values).logits
    torch.testing.assert_close(last[:, 0], whole[:, -1], rtol=1e-4, atol=1e-4)
