"""The integers of the methods against the real numbers they stand for, within the bounds their docstrings state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from flexnm_model import fixed_point, token_methods
from flexnm_model.method_tables import ChannelTable, Modes
from flexnm_model.quantize import quantize
from flexnm_rtl.config import MAX_K, Config, ConfigError

BASE = Config(n_keep=8, m_group=16, rows=1, cols=1, lanes=8, k_max=256)
SHIFTS = BASE.replace(static_shift=True, token_shift=True)
STATIC, TOKEN, BOTH = Modes(static_shift=True), Modes(token_shift=True), Modes(static_shift=True, token_shift=True)


def tokens(seed: int, t: int = 40, k: int = 70) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations (t, k) of very different sizes, one token of zeros, and a shift (k,)."""
    g = torch.Generator().manual_seed(seed)
    eta = torch.randn(k, generator=g) * torch.logspace(-2, 0, k)
    x = (torch.randn(t, k, generator=g) + eta) * torch.logspace(-3, 2, t)[:, None]
    x[3] = 0
    return x, eta


@pytest.mark.parametrize("width", [2, 3, 8, 12, 16])
def test_factors_that_multiply(width: int) -> None:
    cfg = BASE.replace(score_factor="multiply", factor_width=width)
    g = torch.Generator().manual_seed(width)
    f = torch.rand(500, generator=g, dtype=torch.float64) ** 4
    f[7] = 0
    q = fixed_point.quantize_factors(f, cfg)
    step = float(f.max()) / ((1 << width) - 1)
    assert int(q.max()) == (1 << width) - 1
    assert int(q[7]) == 0
    assert int(q[f > 0].min()) == 1
    raised = (f > 0) & (f < step / 2)
    assert bool(raised.any())
    assert bool(((q * step - f).abs()[~raised] <= step / 2 * (1 + 1e-12)).all())
    assert torch.equal(q[raised], torch.ones_like(q[raised]))
    assert torch.equal(q, fixed_point.quantize_factors(1000 * f, cfg))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_factors_that_shift(width: int) -> None:
    cfg = BASE.replace(score_factor="shift", factor_width=width)
    top = (1 << width) - 1
    f = torch.exp2(torch.linspace(-20, 3, 500, dtype=torch.float64))
    q = fixed_point.quantize_factors(f, cfg)
    ratio = torch.exp2(q.double() - top) / (f / f.max())
    raised = torch.log2(f / f.max()) < -top - 0.5
    assert (int(q.max()), int(q.min())) == (top, 0)
    assert bool((torch.log2(ratio[~raised]).abs() <= 0.5 + 1e-9).all())
    assert not bool(q[raised].any())
    assert fixed_point.quantize_factors(torch.tensor([0.0, 1.0]), cfg).tolist() == [0, top]


def test_factors_that_are_all_alike() -> None:
    cfg = BASE.replace(score_factor="multiply")
    assert fixed_point.quantize_factors(torch.full((3,), 0.1), cfg).tolist() == [255] * 3
    assert fixed_point.quantize_factors(torch.zeros(3), cfg).tolist() == [0] * 3


@pytest.mark.parametrize("f", [0, 1, 2, 4])
@pytest.mark.parametrize("modes", [STATIC, TOKEN, BOTH], ids=["static", "token", "both"])
def test_values_are_within_their_bound(modes: Modes, f: int) -> None:
    cfg = SHIFTS.replace(fraction_bits=f)
    for seed in range(3):
        x, eta = tokens(seed)
        static = None
        z = x.double()
        if modes.static_shift:
            static = fixed_point.quantize_shift(eta, cfg, token_shift=modes.token_shift)
            z = z - eta.double()
        z = z - z.mean(1, keepdim=True) if modes.token_shift else z
        made = fixed_point.quantize_tokens(x, cfg, modes, static)
        h = torch.zeros(x.shape[1], dtype=torch.int64) if static is None else static.h
        methods = token_methods.Methods(modes, ChannelTable(torch.zeros_like(h), h), made.exponents)
        v = token_methods.select_values(made.q, cfg, methods).values
        unit = 2.0**-f
        bound = 0.5 + modes.static_shift * unit + modes.token_shift * (0.5 + unit / 2)
        error = (v * unit - z / made.scale).abs()
        fits = x.abs().amax(1) < (2032 * float(eta.abs().max()) if modes.static_shift else torch.inf)
        assert float(error[fits].max()) <= bound * (1 + 1e-9)
        assert float(error.max()) > 0.4 * bound  # the bound says something
        assert int(fits.sum()) > 30


def test_scales_of_tokens_with_a_static_shift() -> None:
    cfg = SHIFTS.replace(fraction_bits=2)
    x, eta = tokens(1)
    static = fixed_point.quantize_shift(eta, cfg)
    made = fixed_point.quantize_tokens(x, cfg, STATIC, static)
    assert made.exponents is not None
    assert torch.equal(made.scale[:, 0], static.base * torch.exp2(made.exponents.double()))
    z = x.double() - static.real(2)
    needed = torch.maximum(x.double().abs().amax(1), z.abs().amax(1)) / 127
    inside = (made.exponents > 0) & (made.exponents < 15)
    assert int(inside.sum()) > 10
    assert bool((made.scale[:, 0] >= needed * (1 - 1e-12))[made.exponents < 15].all())
    assert bool((made.scale[:, 0] < 2 * needed)[inside].all())
    assert int(made.exponents[3]) == int(torch.ceil(torch.log2(needed[3] / static.base)).clamp(min=0))
    exact = torch.full((1, 70), 127 * static.base * 8, dtype=torch.float64)
    zero = fixed_point.StaticShift(torch.zeros_like(static.h), static.base)
    assert fixed_point.quantize_tokens(exact, cfg, STATIC, zero).exponents.tolist() == [3]  # type: ignore[union-attr]


def test_without_a_shift_it_is_the_quantisation_of_every_layer() -> None:
    x, _ = tokens(2)
    made, plain = fixed_point.quantize_tokens(x, BASE, Modes()), quantize(x, 8)
    assert torch.equal(made.q, plain.q)
    assert torch.equal(made.scale, plain.scale)
    assert made.exponents is None
    assert fixed_point.quantize_tokens(x, SHIFTS, TOKEN).q.dtype == torch.int8
    assert fixed_point.quantize_tokens(x[3:4], SHIFTS, TOKEN).scale.tolist() == [[1.0]]


@pytest.mark.parametrize("f", [0, 4])
def test_tables_of_shifts(f: int) -> None:
    cfg = SHIFTS.replace(fraction_bits=f)
    eta = torch.linspace(-3, 2, 50)
    static = fixed_point.quantize_shift(eta, cfg)
    assert float((static.real(f) - eta.double()).abs().max()) <= static.base * 2.0**-f / 2 * (1 + 1e-12)
    assert int(static.h.abs().max()) == 2047 * 2**f < 1 << 15
    wide = fixed_point.quantize_shift(eta, cfg, peak=1e6)
    assert wide.base == pytest.approx(1e6 / 127 / 2**15)
    huge = fixed_point.quantize_tokens(torch.full((1, 50), 1e6), cfg, STATIC, wide)
    assert huge.exponents.tolist() == [15]  # type: ignore[union-attr]
    assert int(huge.q.max()) == 127
    centred = fixed_point.quantize_shift(eta + 10, cfg, token_shift=True)
    assert float((centred.real(f) - (eta - eta.mean()).double()).abs().max()) <= centred.base * 2.0**-f / 2 + 1e-6
    none = fixed_point.quantize_shift(torch.zeros(5), cfg)
    assert none.h.tolist() == [0] * 5
    assert none.base > 0


@pytest.mark.parametrize("modes", [STATIC, TOKEN, BOTH, Modes(True, True, True, True)])
def test_totals_stand_for_the_outputs(modes: Modes) -> None:
    """Against the formula in real numbers of the values that were selected: what is left is rounding of totals."""
    cfg = SHIFTS.replace(fraction_bits=2, variance=True, score_factor="multiply")
    x, eta = tokens(5)
    g = torch.Generator().manual_seed(1)
    w = quantize(torch.randn(9, 70, generator=g), 8)
    static = fixed_point.quantize_shift(eta, cfg, token_shift=modes.token_shift) if modes.static_shift else None
    made = fixed_point.quantize_tokens(x, cfg, modes, static)
    h = torch.zeros(70, dtype=torch.int64) if static is None else static.h
    table = ChannelTable(torch.randint(1, 256, (70,), generator=g), h)
    r = fixed_point.parameters(w.scale, cfg, None if static is None else fixed_point.shift_bias(static, w.q), 9.0)
    got = token_methods.compute(made.q, w.q, cfg, modes, table, made.exponents, r)
    weight, v = w.q.double(), got.values.double()
    spread, after = v.var(1, correction=0), got.kept.double().var(1, correction=0)
    nu = torch.where(after > 0, (spread / after.where(after > 0, 1)).sqrt(), 1)[:, None] if modes.variance else 1
    steps = torch.exp2(made.exponents.double())[:, None] if made.exponents is not None else 1
    back = (h.double() / steps) @ weight.T + got.eta[:, None] * weight.sum(1)
    real = (got.kept.double() @ weight.T) * nu + back
    bound = 0.5 * (modes.static_shift + modes.variance) + modes.variance * got.sums.abs() * 2.0**-12
    assert bool(((got.totals - real).abs() <= bound + 1e-6).all())
    y = token_methods.finish(got.totals, cfg, r) * 9  # in units of s_t
    expected = got.totals * w.scale.T / 4
    inside = expected.abs() < 127 * 9
    assert float((y - expected)[inside].abs().max()) <= 9 / 2 + float(expected[inside].abs().max()) * 2.0**-16
    assert int(inside.sum()) > 100


ONE, X = torch.ones(4), torch.ones(2, 4)
FULL = fixed_point.StaticShift(torch.full((MAX_K,), 1 << 11), 1.0)
MULTIPLY = BASE.replace(score_factor="multiply")
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no factors": (lambda: fixed_point.quantize_factors(ONE, BASE), "SCORE_FACTOR"),
    "negative": (lambda: fixed_point.quantize_factors(-ONE, MULTIPLY), "negative"),
    "nan": (lambda: fixed_point.quantize_factors(ONE * torch.nan, MULTIPLY), "NaN"),
    "shift": (lambda: fixed_point.quantize_shift(ONE * torch.inf, SHIFTS), "finite"),
    "tokens": (lambda: fixed_point.quantize_tokens(X * torch.nan, SHIFTS, TOKEN), "NaN"),
    "plain tokens": (lambda: fixed_point.quantize_tokens(X * torch.nan, SHIFTS, Modes()), "NaN"),
    "bias": (lambda: fixed_point.shift_bias(FULL, torch.ones(1, MAX_K, dtype=torch.int8)), "32 bits"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
