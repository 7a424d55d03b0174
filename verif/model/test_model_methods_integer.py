"""Methods in integers: against the float layers, against an engine in plain Python, and in whole (tiny) models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fake_engine import FakeEngine
from flexnm_model.driver import LinearDriver
from flexnm_model.integer_linear import IntegerLinear
from flexnm_model.methods import Method, Parameters, sparsify
from flexnm_model.methods.integer import FRACTION_BITS, MethodLinear, config_for, integer_layer, modes_of
from flexnm_model.methods.layer import SparseLinear
from flexnm_model.select import prune
from flexnm_rtl.config import Config, ConfigError
from method_tools import FAMILIES, logits, parameters, tensors, tiny

O, K = 24, 90  # noqa: E741
EVERYTHING = "8:16+clact+scaling+l-pts+d-pts+var+ls+r-sparse+refit"
METHODS = [
    "dense", "w8:16", "dense+scaling", "8:16", "3:5", "16:32", "8:16+clact", "8:16+amber", "8:16+variance", "8:16+var",
    "8:16+d-pts", "8:16+s-pts", "8:16+l-pts+d-pts", "8:16+scaling", "8:16+refit", "8:16+ls", "8:16+ls-scale",
    "8:16+r-sparse", "4:8+r-sparse64+s-pts+var", EVERYTHING,
]  # fmt: skip


def layer(seed: int = 0, bias: bool = True) -> tuple[torch.nn.Linear, torch.Tensor, Parameters]:
    """A linear, activations of two sentences, and parameters that fit them."""
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    linear = torch.nn.Linear(K, O, bias=bias)
    x = torch.randn(2, 17, K, generator=g) * torch.logspace(-1, 0.5, K) + torch.randn(K, generator=g) / 2
    flat = x.flatten(0, 1)
    known = tensors(O, K, dtype=torch.float32)
    known |= {"norm": flat.norm(dim=0), "mean": flat.mean(0), "peak": flat.abs().amax(0), "eta": 0.9 * flat.mean(0)}
    known |= {"A": known["A"] / 20, "B": known["B"] / 20, "weight": linear.weight.detach() * 1.1}
    known["a"][3] = -1.5  # a learned scale that turns the sign
    return linear, x, Parameters({"layer": known})


def error(linear: torch.nn.Linear, x: torch.Tensor, known: Parameters, method: Method, cfg: Config | None) -> float:
    with torch.no_grad():
        real = SparseLinear(linear, method, known.of("layer"))(x)
    got = integer_layer("layer", linear, method, known, cfg)(x)
    assert got.shape == real.shape
    assert got.dtype == x.dtype
    return float((got - real).norm() / real.norm())


@pytest.mark.parametrize("name", METHODS)
def test_close_to_the_float_method(name: str) -> None:
    linear, x, known = layer()
    method = Method.parse(name)
    # Most of the error is that rounded scores tie, or change places, and other channels are kept.
    assert error(linear, x, known, method, None) < (0.08 if method.pattern.selects else 0.015)


@pytest.mark.parametrize("name", ["8:16+clact", "8:16+s-pts", "8:16+d-pts", EVERYTHING])
def test_more_bits_are_closer(name: str) -> None:
    linear, x, known = layer(1)
    method = Method.parse(name)
    wide = config_for(method, K, Config(lanes=1, act_width=14, weight_width=14, score_factor="multiply",
                                        factor_width=16))  # fmt: skip
    assert error(linear, x, known, method, wide) < 0.15 * error(linear, x, known, method, None)


@pytest.mark.parametrize("bias", [True, False])
def test_plain_patterns_are_the_integer_linear(bias: bool) -> None:
    linear, x, known = layer(2, bias)
    pruned = torch.nn.Linear(K, O, bias=bias)
    pruned.load_state_dict(linear.state_dict() | {"weight": prune(linear.weight.detach(), 8, 16)})
    cfg = Config(lanes=1, k_max=128)
    for text, expected in (
        ("8:16", IntegerLinear(linear, cfg)),
        ("dense", IntegerLinear(linear, cfg, dense=True)),
        ("w8:16", IntegerLinear(pruned, cfg, dense=True)),
    ):
        assert torch.equal(integer_layer("layer", linear, Method.parse(text), known)(x), expected(x))


def test_a_learned_scale_of_the_outputs_costs_nothing() -> None:
    linear, _, known = layer()
    plain, scaled = (integer_layer("layer", linear, Method.parse(text), known) for text in ("8:16", "8:16+ls"))
    sign = torch.ones(O, dtype=torch.int8)
    sign[3] = -1
    assert torch.equal(scaled.weight.q, plain.weight.q * sign[:, None])
    a, b = (known.of("layer")[key].double() for key in "ab")
    assert torch.allclose(scaled.weight.scale[:, 0], plain.weight.scale[:, 0] * (1 + a).abs(), rtol=1e-12)
    assert torch.allclose(scaled.bias, linear.bias.double() + b)


def test_a_calibrated_peak_leaves_room_for_it() -> None:
    """A token as large as the peak, a million times the shift, is not clamped."""
    linear, _, known = layer()
    tensors_of = {**known.of("layer"), "peak": torch.full((K,), 1e6)}
    method = Method.parse("8:16+s-pts")
    x = torch.linspace(-1e6, 9e5, K)[None]
    sparse = SparseLinear(linear, method, tensors_of)
    clamped, real = MethodLinear(sparse, method, config_for(method, K))(x), sparse(x).detach()
    assert float((clamped - real).norm() / real.norm()) > 0.5
    assert error(linear, x, Parameters({"layer": tensors_of}), method, None) < 0.02


class EngineLinear(MethodLinear):
    """The layer with the engine of ``fake_engine`` in the place of the software's sums."""

    engine: FakeEngine

    def attach(self) -> None:
        self.engine = FakeEngine(self.cfg)
        self.driver = LinearDriver(self.engine, self.cfg)
        self.packed = self.driver.prepare(self.weight.q, self.requantization)

    def product(self, x: torch.Tensor, exponents: torch.Tensor | None = None) -> torch.Tensor:
        return self.driver.run(
            x, self.packed, dense=self.dense, requantize=False, methods=self.methods(exponents)
        ).results

    def dense_product(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return self.driver.run(x, self.driver.prepare(w), dense=True).results


@pytest.mark.parametrize("name", METHODS)
def test_an_engine_gives_the_same_bits(name: str) -> None:
    linear, x, known = layer(3)
    method = Method.parse(name)
    cfg = config_for(method, K, Config(rows=2, cols=5, lanes=1))
    sparse = SparseLinear(linear, method, known.of("layer"))
    software, hardware = MethodLinear(sparse, method, cfg), EngineLinear(sparse, method, cfg)
    hardware.attach()
    x = x[:, :4]
    assert torch.equal(software(x), hardware(x))
    assert hardware.engine.jobs


def test_the_smallest_engine() -> None:
    cfg = config_for(Method.parse("4:8+var"), 100)
    assert (cfg.pattern, cfg.k_max, cfg.variance) == ("4:8", 100, True)
    assert (cfg.shifts, cfg.fraction_bits, cfg.factor_width) == (False, 0, 0)
    cfg = config_for(Method.parse("8:16+clact+s-pts+d-pts"), 5)
    assert (cfg.k_max, cfg.factor_width, cfg.fraction_bits) == (16, 8, FRACTION_BITS)
    assert cfg.static_shift
    assert cfg.token_shift
    base = Config(lanes=8, score_factor="shift", factor_width=2, token_shift=True, fraction_bits=3)
    cfg = config_for(Method.parse("8:16+clact+d-pts"), 99, base)
    assert (cfg.lanes, cfg.score_factor.value, cfg.factor_width, cfg.fraction_bits) == (8, "shift", 2, 3)
    assert config_for(Method.parse("3:5"), 99, base).lanes == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_models(family: str) -> None:
    model = tiny(family)
    dense, known = logits(model), parameters(model)
    text = "8:16+clact+s-pts+d-pts+var+ls+r-sparse+scaling"
    with sparsify(model, text, parameters=known):
        real = logits(model)
    with sparsify(model, f"{text}@int8", parameters=known) as sparsified:
        assert all(isinstance(module, MethodLinear) for module in sparsified.layers.values())
        got = logits(model)
    assert bool(torch.isfinite(got).all())
    assert not torch.equal(got, real)
    assert float((got - real).norm()) < float((dense - real).norm())
    assert torch.equal(logits(model), dense)


def test_a_plan_gives_each_layer_its_engine(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("plan") / "plan.json"
    model = tiny("Llama")
    names = list(parameters(model).layers)
    patterns = ["4:16", "8:16", "12:16"]
    lines = ", ".join(f'"{name}": "{patterns[i % 3]}"' for i, name in enumerate(names))
    file.write_text(f'{{"layers": {{{lines}}}}}')
    with sparsify(model, f"plan:{file}+var@int8") as sparsified:
        made = [module for module in sparsified.layers.values() if isinstance(module, MethodLinear)]
        assert [module.cfg.pattern for module in made] == [patterns[i % 3] for i in range(len(names))]
        assert bool(torch.isfinite(logits(model)).all())


LINEAR, X, KNOWN = layer()
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "unstructured": (lambda: sparsify(tiny("Llama"), "50%@int8"), "no integer model"),
    "median": (lambda: modes_of(Method.parse("8:16+d-pts-median")), "by the mean, d-pts"),
    "missing": (lambda: integer_layer("layer", LINEAR, Method.parse("8:16+clact"), Parameters()), "norm"),
    "pattern": (lambda: integer_layer("layer", LINEAR, Method.parse("4:8"), KNOWN, Config()), "an engine of 8:16"),
    "hardware": (lambda: integer_layer("layer", LINEAR, Method.parse("8:16+var"), KNOWN, Config()), "VARIANCE=1"),
    "channels": (
        lambda: integer_layer("a.b", LINEAR, Method.parse("8:16"), KNOWN, Config(k_max=64)), "a.b has K=90"
    ),
    "nan": (lambda: integer_layer("layer", LINEAR, Method.parse("8:16+d-pts"), KNOWN)(X * torch.nan), "NaN"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
