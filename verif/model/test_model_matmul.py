"""Integer products and quantisation against the scalar reference, at the limits of every width."""

from __future__ import annotations

import math

import pytest
import torch
from flexnm_model import reference
from flexnm_model.matmul import dense_matmul, sparse_matmul, wrap
from flexnm_model.quantize import dequantize, quantize
from flexnm_rtl.config import Config, ConfigError


def config(n: int = 8, m: int = 16, width: int = 8, k_max: int = 256) -> Config:
    return Config(n_keep=n, m_group=m, lanes=1, act_width=width, weight_width=width, k_max=k_max)


def integers(width: int, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(-(1 << (width - 1)), 1 << (width - 1), shape, generator=g).to(torch.int16)


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("n, m, k", [(8, 16, 64), (2, 4, 50), (16, 32, 96), (3, 5, 23), (7, 7, 7), (1, 2, 9)])
def test_equals_reference(n: int, m: int, k: int, width: int) -> None:
    cfg = config(n, m, width)
    x, w = integers(width, (6, k), seed=k), integers(width, (5, k), seed=k + 1)
    got = sparse_matmul(x, w, cfg)
    assert got.dtype == torch.int64
    assert got.tolist() == reference.sparse_matmul(x.tolist(), w.tolist(), n, m, cfg.acc_width)
    assert dense_matmul(x, w, cfg).tolist() == reference.sparse_matmul(x.tolist(), w.tolist(), m, m, cfg.acc_width)


@pytest.mark.parametrize("acc_width", [8, 13, 20])
def test_a_narrow_accumulator_wraps(acc_width: int) -> None:
    x, w = integers(8, (8, 64), seed=3), integers(8, (8, 64), seed=4)
    narrow = sparse_matmul(x, w, config(), acc_width=acc_width)
    assert narrow.tolist() == reference.sparse_matmul(x.tolist(), w.tolist(), 8, 16, acc_width)
    if acc_width < 20:
        assert not torch.equal(narrow, sparse_matmul(x, w, config()))


def test_wrap_at_the_edges() -> None:
    edges = [-129, -128, 127, 128, 255, 256, -(2**40), 2**40 + 5]
    assert wrap(torch.tensor(edges), 8).tolist() == [reference.wrap(v, 8) for v in edges]
    assert wrap(torch.tensor([127, 128]), 8).tolist() == [127, -128]


@pytest.mark.parametrize("width, k_max", [(4, 256), (8, 16384), (16, 1 << 20)])
def test_extremes_at_k_max_fit_the_accumulator_exactly(width: int, k_max: int) -> None:
    cfg = config(16, 16, width, k_max)
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    w = torch.tensor([[low], [high]], dtype=torch.int16).expand(2, k_max)
    got = dense_matmul(torch.full((1, k_max), low, dtype=torch.int16), w, cfg)
    assert got.tolist() == [[k_max * low * low, k_max * low * high]]
    assert k_max * low * low <= (1 << (cfg.acc_width - 1)) - 1
    assert k_max * low * low > (1 << (cfg.acc_width - 2)) - 1, "the accumulator is one bit too wide"


def test_sums_beyond_float32_are_exact() -> None:
    cfg = config(16, 16, 16, 4096)
    x, w = integers(16, (2, 4096), seed=1), integers(16, (3, 4096), seed=2)
    exact = [[sum(a * b for a, b in zip(r, c, strict=True)) for c in w.tolist()] for r in x.tolist()]
    assert dense_matmul(x, w, cfg).tolist() == exact


def test_k_above_k_max_is_refused() -> None:
    x = torch.zeros(1, 257, dtype=torch.int8)
    with pytest.raises(ConfigError, match="K=257 exceeds K_MAX=256"):
        sparse_matmul(x, x, config())


def test_bad_operands_are_refused() -> None:
    good = torch.zeros(1, 16, dtype=torch.int8)
    with pytest.raises(ConfigError, match="cannot multiply"):
        sparse_matmul(good, good[:, :8], config())
    with pytest.raises(ConfigError, match="weights do not fit 8 bits"):
        sparse_matmul(good, torch.full((1, 16), 200, dtype=torch.int16), config())
    with pytest.raises(ConfigError, match="quantise"):
        sparse_matmul(good, torch.zeros(1, 16), config())


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_quantize_equals_reference(width: int, dtype: torch.dtype) -> None:
    x = torch.randn(200, 48, generator=torch.Generator().manual_seed(width)).to(dtype)
    x[3] = 0
    x[4, 5] = 1e30
    got = quantize(x, width)
    assert got.q.dtype == (torch.int8 if width <= 8 else torch.int16)
    for row, q, scale in zip(x.tolist(), got.q.tolist(), got.scale.flatten().tolist(), strict=True):
        assert (q, scale) == reference.quantize(row, width)
    assert int(got.q.min()) >= -(1 << (width - 1)) + 1
    error = (dequantize(got).double() - x.double()).abs()
    assert bool((error <= got.scale / 2 + x.double().abs() * 2**-24).all())


def test_quantize_rounds_half_to_even() -> None:
    # scale is exactly 1, so these land on the halves
    x = torch.tensor([[7.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -7.0]])
    assert quantize(x, 4).q.tolist() == [[7, 0, 2, 2, 0, -2, -2, -7]]


def test_quantize_rows_that_have_no_scale() -> None:
    assert quantize(torch.zeros(2, 4), 8).scale.tolist() == [[1.0], [1.0]]
    assert quantize(torch.full((1, 2), 5e-324, dtype=torch.float64), 8).q.tolist() == [[0, 0]]
    assert quantize(torch.zeros(2, 0), 8).q.shape == (2, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_quantize_refuses_non_finite(bad: float) -> None:
    with pytest.raises(ConfigError, match="NaN or infinity"):
        quantize(torch.tensor([[1.0, bad]]), 8)
    with pytest.raises(ConfigError, match="NaN or infinity"):
        reference.quantize([1.0, bad], 8)


def test_quantize_refuses_bad_width_and_type() -> None:
    with pytest.raises(ConfigError, match="from 4 to 16"):
        quantize(torch.zeros(1, 4), 3)
    with pytest.raises(ConfigError, match="float tensor"):
        quantize(torch.zeros(1, 4, dtype=torch.int8), 8)
