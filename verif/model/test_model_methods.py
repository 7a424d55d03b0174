"""A sparse linear layer against the plain Python of ``methods.reference``: every method, combinations, odd shapes."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from flexnm_model.methods import Method, reference
from flexnm_model.methods.layer import SparseLinear
from flexnm_model.methods.registry import MITIGATIONS, SCORES
from flexnm_rtl.config import ConfigError
from method_tools import one_thread, tensors  # noqa: F401, one is a fixture

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = [  # tokens, K, O, pattern
    (1, 37, 5, "8:16"), (3, 40, 4, "1:4"), (2, 12, 3, "4:4"), (4, 7, 2, "3:5"), (2, 50, 3, "31:32"), (1, 1, 1, "1:1"),
    (5, 16, 6, "8:16"), (2, 3, 2, "2:32"), (3, 33, 4, "50%"), (2, 10, 3, "1%"), (2, 9, 3, "100%"), (3, 11, 4, "25%"),
]  # fmt: skip


def layer_of(outputs: int, inputs: int, *, bias: bool, seed: int = 0) -> torch.nn.Linear:
    g = torch.Generator().manual_seed(seed + 100)
    linear = torch.nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return linear


def tokens_of(count: int, channels: int, seed: int) -> torch.Tensor:
    """Random tokens, and those that are hard: many ties, zeros, a constant, one channel, all negative."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, channels, generator=g, dtype=torch.float64)
    ties = torch.randint(-2, 3, (count, channels), generator=g).double() / 2
    hard = torch.stack([torch.zeros(channels), torch.full((channels,), -1.5), -torch.arange(channels) / 4.0])
    single = torch.zeros(1, channels)
    single[0, -1] = 3
    return torch.cat([x, ties, hard, single]).double()


def compare(text: str, count: int, channels: int, outputs: int, *, bias: bool, seed: int = 0) -> None:
    method = Method.parse(text)
    linear = layer_of(outputs, channels, bias=bias, seed=seed)
    known = tensors(outputs, channels, rank=64 if "r-sparse64" in method.mitigations else 128, seed=seed)
    x = tokens_of(count, channels, seed)
    expected = reference.sparse_linear(
        x.tolist(),
        linear.weight.tolist(),
        None if linear.bias is None else linear.bias.tolist(),
        str(method.pattern),
        method.score,
        method.mitigations,
        {name: known[name].tolist() for name in ("norm", "mean", "peak", "eta", "a", "b")},
        (known["A"].tolist(), known["B"].tolist()) if {"A", "B"} & set(method.needs) else None,
        known["weight"].tolist() if "refit" in method.mitigations else None,
    )
    with torch.inference_mode():
        got = SparseLinear(linear, method, {name: known[name] for name in method.needs})(x)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count, channels, outputs, pattern", SHAPES)
@pytest.mark.parametrize("part", ["act", *SCORES, *MITIGATIONS])
def test_each_part_alone(part: str, count: int, channels: int, outputs: int, pattern: str) -> None:
    compare(f"{pattern}+{part}", count, channels, outputs, bias=True)


def combinations() -> list[str]:
    """Every score with one or none of every slot, drawn at random: each pair of parts occurs."""
    rng = random.Random(0)
    slots: dict[str, list[str]] = {}
    for name, part in MITIGATIONS.items():
        slots.setdefault(part.slot, [""]).append(name)
    texts = []
    for score, pattern in itertools.product(SCORES, ("8:16", "2:4", "3:5", "40%")):
        for _ in range(8):
            parts = [score, *(rng.choice(names) for names in slots.values())]
            texts.append("+".join([pattern, *filter(None, parts)]))
    return texts


@pytest.mark.parametrize("text", combinations())
def test_combinations(text: str) -> None:
    compare(text, 3, 21, 6, bias=len(text) % 2 == 0, seed=len(text))


def test_scaling_leaves_dead_channels_alone() -> None:
    """A channel that is always 0 in the calibration text, and one without weights."""
    linear, known = layer_of(3, 9, bias=False), tensors(3, 9)
    known["peak"][2] = 0
    with torch.no_grad():
        linear.weight[:, 5] = 0
    x = tokens_of(2, 9, 0)
    weight, peak = linear.weight.tolist(), known["peak"].tolist()
    expected = reference.sparse_linear(x.tolist(), weight, None, "2:4", "act", ["scaling"], {"peak": peak})
    with torch.inference_mode():
        got = SparseLinear(linear, Method.parse("2:4+scaling"), known)(x)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    assert reference.scale(weight, peak)[2] == reference.scale(weight, peak)[5] == 1.0


@pytest.mark.parametrize("text, rank", [("2:4+r-sparse64", 64), ("2:4+r-sparse", 128)])
def test_rank_of_large_layers(text: str, rank: int) -> None:
    linear = layer_of(130, 131, bias=False)
    known = tensors(130, 131, rank=rank)
    x = tokens_of(1, 131, 0)[:1]
    low_rank = known["A"].tolist(), known["B"].tolist()
    expected = reference.sparse_linear(x.tolist(), linear.weight.tolist(), None, "2:4", low_rank=low_rank)
    with torch.inference_mode():
        got = SparseLinear(linear, Method.parse(text), known)(x)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    with pytest.raises(ConfigError, match="'A' of layer has shape"):
        SparseLinear(linear, Method.parse(text), tensors(130, 131, rank=rank - 1))


@pytest.mark.parametrize("text", ["dense", "w8:16", "w3:5", "w2:4+scaling", "dense+scaling"])
def test_baselines(text: str) -> None:
    compare(text, 3, 21, 4, bias=True)


def test_combinations_cover_every_pair() -> None:
    seen = {pair for text in combinations() for pair in itertools.combinations(sorted(text.split("+")[1:]), 2)}
    names = [*SCORES, *MITIGATIONS]
    exclusive = {frozenset(p) for p in itertools.combinations(SCORES, 2)} | {
        frozenset((a, b))
        for a, b in itertools.combinations(MITIGATIONS, 2)
        if MITIGATIONS[a].slot == MITIGATIONS[b].slot
    }
    missing = [p for p in itertools.combinations(sorted(names), 2) if p not in seen and frozenset(p) not in exclusive]
    assert not missing


def test_statistics_make_the_factors() -> None:
    """clact from a text, not from given norms; amber and variance where a column is constant or all are alike."""
    x = torch.tensor([[3.0, 0.0, 1.0], [4.0, 0.0, -1.0]], dtype=torch.float64)
    assert reference.statistics(x.tolist())["norm"][:2] == [5.0, 0.0]
    weight = torch.tensor([[1.0, 2.0, 3.0], [1.0, -2.0, 5.0]], dtype=torch.float64)
    for score in ("amber", "variance"):
        got = SCORES[score].factor(weight, {})
        assert got is not None
        assert got.tolist() == pytest.approx(reference.factors(score, weight.tolist(), []))
    alike = SCORES["amber"].factor(torch.ones(3, 4), {})
    assert alike is not None
    assert alike.tolist() == [0.0] * 4


def test_quantiles_of_amber_leave_out_the_ends() -> None:
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(40, 30, generator=g, dtype=torch.float64)
    weight[3, 4], weight[5, 6] = 1e4, -2e4
    got = SCORES["amber"].factor(weight, {})
    assert got is not None
    assert got.tolist() == pytest.approx(reference.factors("amber", weight.tolist(), []), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("text", ["8:16+clact+s-pts+d-pts+var+ls+r-sparse+scaling", "50%+amber+l-pts"])
def test_other_types_come_close(text: str, dtype: torch.dtype) -> None:
    linear = layer_of(5, 24, bias=True)
    known = tensors(5, 24)
    x = tokens_of(6, 24, 0)[:6]
    with torch.inference_mode():
        expected = SparseLinear(linear, Method.parse(text), known)(x)
        got = SparseLinear(layer_of(5, 24, bias=True).to(dtype), Method.parse(text), known)(x.to(dtype))
    assert got.dtype == dtype
    # A near tie may be decided the other way, which changes a token a little.
    close = torch.isclose(got.double(), expected, rtol=0.1, atol=0.3).double().mean()
    assert float(close) > (0.99 if dtype == torch.float32 else 0.7)
