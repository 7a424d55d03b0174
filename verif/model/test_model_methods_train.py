"""Training: gradients, a loss that falls, the same result after an interruption, and nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from flexnm_model.llm import decoder_linears
from flexnm_model.methods import Method, Parameters, sparsify
from flexnm_model.methods import train as training
from flexnm_model.methods.calibrate import calibrate
from flexnm_model.methods.layer import SparseLinear
from flexnm_model.methods.mitigations import RSparse, RSparse64
from flexnm_model.methods.train import Recipe, initial, train
from flexnm_rtl.config import ConfigError
from method_tools import (
    IDS,
    logits,
    one_thread,  # noqa: F401, a fixture
    tensors,
    tiny,
)

pytestmark = pytest.mark.usefixtures("one_thread")

EVERYTHING = "8:16+clact+l-pts+d-pts+var+ls+r-sparse+scaling"
WINDOWS = [IDS[:1], IDS[1:], IDS[:1].flip(1)]


@pytest.mark.parametrize(
    "text",
    ["3:5+l-pts", "2:4+ls", "40%+ls-scale+amber", "3:5+r-sparse", "3:5+clact+l-pts+d-pts+var+ls+r-sparse+scaling"],
)
def test_gradients_are_difference_quotients(text: str) -> None:
    """With the mask held by small steps; of every learned tensor and of the input, zero token included."""
    method = Method.parse(text)
    linear = torch.nn.Linear(13, 3, dtype=torch.float64)
    layer = SparseLinear(linear, method, tensors(3, 13), train=True)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4, 13, generator=g, dtype=torch.float64)
    x.requires_grad_()
    weights = torch.randn(4, 3, generator=g, dtype=torch.float64)

    def loss() -> torch.Tensor:
        return (layer(x) * weights).sum()

    assert set(layer.learned) == set(method.learned)
    loss().backward()
    for tensor in [x, *layer.learned.values()]:
        assert tensor.grad is not None
        for index in range(0, tensor.numel(), max(1, tensor.numel() // 7)):
            values = tensor.detach().view(-1)
            before, step = values[index].item(), 1e-6
            quotient = 0.0
            for sign in (1, -1):
                values[index] = before + sign * step
                with torch.no_grad():
                    quotient += sign * float(loss()) / (2 * step)
            values[index] = before
            assert float(tensor.grad.view(-1)[index]) == pytest.approx(quotient, rel=1e-5, abs=1e-7)


def test_gradients_of_var_stay_finite_without_variance() -> None:
    layer = SparseLinear(torch.nn.Linear(8, 2), Method.parse("2:4+l-pts+var"), tensors(2, 8), train=True)
    x = torch.zeros(2, 8, requires_grad=True)
    with torch.no_grad():
        layer.learned["eta"].zero_()
    layer(x).sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


def test_weights_get_no_gradients_and_constants_follow() -> None:
    linear = torch.nn.Linear(8, 2, bias=False)
    folded = SparseLinear(linear, Method.parse("2:4+l-pts+scaling"), tensors(2, 8))
    trained = SparseLinear(linear, Method.parse("2:4+l-pts+scaling"), tensors(2, 8), train=True)
    x = torch.randn(3, 8)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), trained(x))
        before = trained(x)
        trained.learned["eta"].add_(0.5)
        assert not torch.allclose(before, trained(x))
    assert not any(parameter.requires_grad for parameter in folded.learned.values())


@pytest.mark.parametrize("text", ["2:4+l-pts", "2:4+ls", "2:4+ls-scale", "2:4+r-sparse64", EVERYTHING])
def test_loss_falls_and_the_model_is_as_before(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RSparse, "rank", 4)
    monkeypatch.setattr(RSparse64, "rank", 4)
    model = tiny("Qwen2")
    before = logits(model)
    method = Method.parse(text)
    seen: list[tuple[int, float]] = []
    found = train(
        model, method, WINDOWS[:1], calibrate(model, WINDOWS), Recipe(steps=12, rate=0.02),
        advance=lambda step, loss: seen.append((step, loss)),
    )  # fmt: skip
    assert [step for step, _ in seen] == list(range(1, 13))
    assert seen[-1][1] < 0.95 * seen[0][1]
    assert torch.equal(logits(model), before)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    done = found.header["trained"]
    assert (done["method"], done["steps"], done["losses"]) == (str(method), 12, [loss for _, loss in seen])
    with sparsify(model, method, parameters=found), torch.no_grad():
        sparse = model(WINDOWS[0]).logits.log_softmax(-1)
    dense = before[:1].log_softmax(-1)
    assert float((dense.exp() * (dense - sparse)).sum(-1).mean()) < seen[0][1]


def test_losses_are_the_divergences_of_each_window() -> None:
    """KL(dense || sparse), of the initial values while nothing moves; every window is used once."""
    model = tiny("Llama")
    method, known = Method.parse("2:4+l-pts+ls"), calibrate(model, WINDOWS)
    losses = train(model, method, WINDOWS, known, Recipe(steps=3, rate=1e-9)).header["trained"]["losses"]
    expected = []
    for window in WINDOWS:
        with torch.no_grad():
            dense = model(window).logits.log_softmax(-1)
            with sparsify(model, method, parameters=initial(model, method, known)):
                sparse = model(window).logits.log_softmax(-1)
        expected.append(float((dense.exp() * (dense - sparse)).sum(-1).mean()))
    assert sorted(losses) == pytest.approx(sorted(expected), rel=1e-4)
    assert len({round(loss, 4) for loss in losses}) == 3


def test_initial_values() -> None:
    model = tiny("Llama")
    known = calibrate(model, WINDOWS)
    begin = initial(model, Method.parse("2:4+l-pts+ls+r-sparse64+scaling"), known)
    for name, linear in decoder_linears(model):
        weight, own = linear.get_parameter("weight").detach(), begin.of(name)
        scale = (own["peak"] / weight.abs().amax(0)).sqrt()
        torch.testing.assert_close(own["eta"], own["mean"] / scale)
        assert not own["a"].any()
        assert not own["b"].any()
        # The rank is that of the matrix, so it is all there.
        torch.testing.assert_close(own["A"] @ own["B"], weight * scale, rtol=1e-3, atol=1e-4)


def test_low_rank_start_is_the_best_one() -> None:
    """Against the truncated SVD in the weighted norm; a dead channel does no harm."""

    class Rank3(RSparse):
        rank = 3

    g = torch.Generator().manual_seed(0)
    weight, norm = torch.randn(9, 12, generator=g), torch.rand(12, generator=g)
    norm[4] = 0
    got = Rank3().initial(weight, {"norm": norm})
    sizes = torch.linalg.svdvals(weight * norm)
    error = ((weight - got["A"] @ got["B"]) * norm).norm()
    assert float(error) == pytest.approx(float(sizes[3:].norm()), rel=1e-4)
    flat = Rank3().initial(torch.ones(4, 5), {"norm": torch.ones(5)})
    torch.testing.assert_close(flat["A"] @ flat["B"], torch.ones(4, 5))


class InterruptionError(Exception):
    """An interruption."""


def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model = tiny("Llama")
    method, known = Method.parse("2:4+l-pts+ls"), calibrate(model, WINDOWS)
    recipe = Recipe(steps=7, rate=0.02, save_every=2)
    whole = train(model, method, WINDOWS, known, recipe)
    before, state = logits(model), tmp_path / "state.pt"

    def stop(step: int, loss: float) -> None:
        if step == 5:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        train(model, method, WINDOWS, known, recipe, state=state, advance=stop)
    assert torch.equal(logits(model), before)
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]
    seen: list[int] = []
    again = train(model, method, WINDOWS, known, recipe, state=state, advance=lambda step, loss: seen.append(step))
    assert seen == [5, 6, 7]
    assert again.header == whole.header
    for layer, own in whole.layers.items():
        assert all(torch.equal(tensor, again.of(layer)[name]) for name, tensor in own.items()), layer
    with pytest.raises(ConfigError, match="state of another training"):
        train(model, method, WINDOWS, known, Recipe(steps=8), state=state)
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(ConfigError, match="damaged state of a training"):
        train(model, method, WINDOWS, known, recipe, state=state)


def test_the_seed_is_the_order_of_the_windows() -> None:
    model = tiny("Llama")
    method, known = Method.parse("2:4+ls"), calibrate(model, WINDOWS)

    def losses(seed: int) -> Any:
        return train(model, method, WINDOWS, known, Recipe(steps=4, seed=seed)).header["trained"]["losses"]

    assert losses(0) == losses(0)
    floats = train(model, Method.parse("2:4+ls@int8"), WINDOWS, known, Recipe(steps=4)).header["trained"]
    assert (floats["method"], floats["losses"]) == ("2:4+ls", losses(0))
    assert losses(0) != losses(1)


def test_bad_trainings_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("Llama")
    before, known = logits(model), calibrate(model, WINDOWS)
    cases: list[tuple[str, list[torch.Tensor], Parameters, str]] = [
        ("2:4+var", WINDOWS, known, "2:4[+]var has nothing to train: add l-pts"),
        ("2:4+ls", [], known, "nothing to train on"),
        ("2:4+l-pts", WINDOWS, Parameters(), "needs 'mean' of layers.0.self_attn.q_proj, .* flexnm calibrate$"),
    ]
    for text, windows, own, message in cases:
        with pytest.raises(ConfigError, match=message) as caught:
            train(model, Method.parse(text), windows, own, Recipe(steps=1))
        assert "\n" not in str(caught.value)
    for recipe in ({"steps": -1}, {"rate": 0.0}, {"rate": 1.0}, {"save_every": 0}):
        with pytest.raises(ConfigError, match="steps >= 0"):
            Recipe(**recipe)  # type: ignore[arg-type]
    with sparsify(model, "2:4"), pytest.raises(ConfigError, match="the model is sparse"):
        train(model, Method.parse("2:4+ls"), WINDOWS, known)
    monkeypatch.setattr(training.torch.nn.functional, "kl_div", lambda *a, **k: torch.tensor(float("nan")))
    with pytest.raises(ConfigError, match="diverged at step 1: take a smaller rate than"):
        train(model, Method.parse("2:4+ls"), WINDOWS, known, Recipe(steps=1))
    assert torch.equal(logits(model), before)
