"""Requantisation on tensors against the scalar rule, and the derivation of its fixed-point numbers from floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
import torch
from flexnm_model import reference
from flexnm_model.quantize import quantize
from flexnm_model.requantize import (
    SUM_LIMIT,
    Requantization,
    add_bias,
    from_scales,
    parameter_bits,
    requantize,
)
from flexnm_rtl.config import MAX_K, Config, ConfigError

BIAS_EDGES = [-(2**31), -(2**31) + 1, -3, -1, 0, 1, 2, 2**31 - 1]
MULTIPLIER_EDGES = [0, 1, 2, 3, 2**15 - 1, 2**15, 2**15 + 1, 2**16 - 1]
SHIFT_EDGES = [0, 1, 2, 15, 16, 30, 31, 32, 33, 34, 47, 48, 62, 63]
SUM_EDGES = [0, 1, 2, 3, 5, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**50, 2**51, SUM_LIMIT - 1]


def tensor(values: Sequence[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


def parameters(bias: Sequence[int], multiplier: Sequence[int], shift: Sequence[int]) -> Requantization:
    return Requantization(tensor(bias), tensor(multiplier), tensor(shift))


def compare(sums: torch.Tensor, r: Requantization, width: int) -> int:
    """Assert that every result is the scalar rule's; the number of results that were not clamped."""
    columns = list(zip(r.bias.tolist(), r.multiplier.tolist(), r.shift.tolist(), strict=True))
    expected = [
        [reference.requantize(total, *column, width) for total, column in zip(row, columns, strict=True)]
        for row in sums.tolist()
    ]
    got = requantize(sums, r, width)
    assert got.dtype == torch.int64
    assert got.tolist() == expected
    half = 1 << (width - 1)
    return sum(-half < y < half - 1 for row in expected for y in row)


@pytest.mark.parametrize("width", [4, 8, 11, 16])
def test_edges_of_every_operand(width: int) -> None:
    rows = [[b, m, s] for b in BIAS_EDGES for m in MULTIPLIER_EDGES for s in SHIFT_EDGES]
    sums = tensor(SUM_EDGES + [-v for v in SUM_EDGES])
    r = parameters(*zip(*rows, strict=True))
    compare(sums[:, None].expand(-1, len(rows)), r, width)


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("bits", [20, 31, 52, 62])
def test_random_operands_whose_results_are_mostly_in_range(bits: int, width: int) -> None:
    g = torch.Generator().manual_seed(bits * width)
    outputs = 300
    sums = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (10, outputs), generator=g)
    bias = torch.randint(-(2 ** min(bits - 1, 31)), 2 ** min(bits - 1, 31), (outputs,), generator=g)
    factor_bits = min(16, 61 + width - bits)  # wider ones leave no result in range, whatever the shift
    multiplier = torch.randint(1, 2**factor_bits, (outputs,), generator=g)
    low = max(0, bits + factor_bits - width - 4)
    shift = torch.randint(min(low, 60), min(low + 8, 64), (outputs,), generator=g)
    assert compare(sums, Requantization(bias, multiplier, shift), width) > outputs


@pytest.mark.parametrize("shift", range(64))
def test_halves_go_to_the_even_neighbour(shift: int) -> None:
    """Every power of two as multiplier and sum that makes n + 1/2, and the sums beside it, of both signs."""
    sums, bias, multiplier = [], [], []
    for n in range(-9, 9):
        odd = 2 * n + 1  # odd / 2 = n + 1/2
        power = shift - 1 if shift else 0
        factor = 1 << min(power, 15)
        for beside in (-1, 0, 1):
            sums.append((odd << (power - min(power, 15))) + beside)
            bias.append(0)
            multiplier.append(factor)
    r = parameters(bias, multiplier, [shift] * len(sums))
    compare(tensor(sums)[None], r, 8)
    if shift:
        tied = requantize(tensor(sums)[None, 1::3], parameters(bias[1::3], multiplier[1::3], [shift] * 18), 8)[0]
        assert tied.tolist() == [round(Fraction(2 * n + 1, 2)) for n in range(-9, 9)]
        assert not bool((tied & 1).any())


def test_the_first_and_last_values_before_clamping() -> None:
    """A multiplier of 2 and a shift of 2 halve: 127.5 goes to 128, clamped; 126.5 to 126; -128.5 to -128."""
    r = parameters([0] * 6, [2] * 6, [2] * 6)
    assert requantize(tensor([[253, 254, 255, -255, -257, -259]]), r, 8).tolist() == [[126, 127, 127, -128, -128, -128]]
    assert [reference.requantize(v, 0, 2, 2, 8) for v in (253, 255, -257, -259)] == [126, 127, -128, -128]


def test_bias_is_added_before_anything_else() -> None:
    r = parameters([-(2**31), 2**31 - 1, 7], [1, 1, 3], [0, 0, 1])
    assert requantize(tensor([[2**31, -(2**31), -6]]), r, 8).tolist() == [[0, -1, 2]]


@pytest.mark.parametrize("width", [32, 64])
def test_exact_results(width: int) -> None:
    sums = tensor(SUM_EDGES + [-v for v in SUM_EDGES])[:, None].expand(-1, len(BIAS_EDGES))
    r = parameters(BIAS_EDGES, [0] * len(BIAS_EDGES), [63] * len(BIAS_EDGES))
    expected = [[reference.clamp(total + b, width) for b in BIAS_EDGES] for total in sums[:, 0].tolist()]
    assert add_bias(sums, r, width).tolist() == expected
    assert max(map(max, expected)) == (2**31 - 1 if width == 32 else SUM_LIMIT - 1 + 2**31 - 1)


def test_the_limit_holds_every_accumulator() -> None:
    widest = Config(act_width=16, weight_width=16, k_max=MAX_K)
    assert widest.acc_width == 52
    assert 1 << widest.acc_width < SUM_LIMIT


def test_shapes_without_tokens_or_outputs() -> None:
    assert requantize(torch.zeros(0, 2, dtype=torch.int64), parameters([1, 2], [3, 4], [5, 6]), 8).shape == (0, 2)
    assert requantize(torch.zeros(3, 0, dtype=torch.int64), parameters([], [], []), 8).shape == (3, 0)


def scales() -> list[float]:
    g = torch.Generator().manual_seed(3)
    spread = torch.exp2(torch.rand(3000, generator=g, dtype=torch.float64) * 64 - 48).tolist()
    powers = [2.0**e for e in range(-70, 16)]
    around = [
        v for p in powers for v in (math.nextafter(p, 0), math.nextafter(p, 1e9), p * (1 + 2**-16), p * (1 + 2**-17))
    ]
    ties = [
        (2**15 + k + 0.5) * 2.0**-e for k in (0, 1, 2**15 - 2, 2**15 - 1) for e in (0, 1, 20, 62) if k < 2**15 - 1 or e
    ]
    return [*(s for s in spread if s <= 65535), *powers, *around, *ties, 65535.0, 65535.4]


def test_multiplier_and_shift_are_the_nearest_there_are() -> None:
    values = scales()
    r = from_scales(torch.tensor(values, dtype=torch.float64))
    assert not bool(r.bias.any())
    for scale, multiplier, shift in zip(values, r.multiplier.tolist(), r.shift.tolist(), strict=True):
        error = abs(Fraction(multiplier, 1 << shift) - Fraction(scale))
        if scale >= 2.0**-48:
            assert 2**15 <= multiplier < 2**16
            assert error <= Fraction(scale) / 2**16
        else:
            assert shift == 63
            assert multiplier <= 2**15
            assert error <= Fraction(1, 2**64)
        assert multiplier == round(Fraction(scale) * 2**shift)


def test_the_bound_is_tight() -> None:
    scale = 2.0**-10 * (1 + 2**-16)  # half-way between the multipliers 2**15 and 2**15 + 1
    r = from_scales(torch.tensor([scale], dtype=torch.float64))
    assert (r.multiplier.tolist(), r.shift.tolist()) == ([2**15], [25])
    assert abs(2**15 / 2**25 - scale) / scale > 2**-16.1


def test_scales_too_small_to_matter() -> None:
    r = from_scales(torch.tensor([0.0, 5e-324, 2.0**-65, 2.0**-64, 1.5 * 2**-63, 2.0**-63], dtype=torch.float64))
    assert r.multiplier.tolist() == [0, 0, 0, 0, 2, 1]
    assert set(r.shift.tolist()) == {63}


def test_bias_is_rounded_half_to_even() -> None:
    scale = torch.ones(6, dtype=torch.float64)
    bias = torch.tensor([0.5, 1.5, -0.5, -2.5, 2147483647.4, -2147483648.5], dtype=torch.float64)
    assert from_scales(scale, bias).bias.tolist() == [0, 2, 0, -2, 2**31 - 1, -(2**31)]
    assert from_scales(scale, torch.arange(6, dtype=torch.int32)).bias.tolist() == [0, 1, 2, 3, 4, 5]


def test_parameter_words() -> None:
    r = parameters([-1, 1, -(2**31)], [0x8001, 0xFFFF, 0], [63, 0, 1])
    assert parameter_bits(r) == [0x003F_8001_FFFF_FFFF, 0x0000_FFFF_0000_0001, 0x0001_0000_8000_0000]


def test_result_scale_that_follows_the_token() -> None:
    """The choice of scales in the module's text: y * s_x[t] * c is near the real product, for every token."""
    g = torch.Generator().manual_seed(5)
    x = torch.randn(8, 64, generator=g) * torch.logspace(-2, 2, 8)[:, None]
    w = torch.randn(12, 64, generator=g)
    qx, qw = quantize(x, 8), quantize(w, 8)
    sums = qx.q.to(torch.int64) @ qw.q.to(torch.int64).T
    factor = qw.scale[:, 0]
    c = float((sums.abs() * factor).max()) / 127
    y = requantize(sums, from_scales(factor / c), 8)
    real = x.to(torch.float64) @ w.to(torch.float64).T
    relative = (y * qx.scale * c - real).abs().amax(1) / (qx.scale[:, 0] * c)
    assert float(relative.max()) < 1.5  # half a step of y, and the error of the quantised operands
    assert int(y.abs().max()) == 127


ONE = torch.ones(1, dtype=torch.float64)
GOOD = parameters([0], [1], [0])
ZERO = torch.zeros(1, 1, dtype=torch.int64)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "negative": (lambda: from_scales(-ONE), "negative"),
    "negative denormal": (lambda: from_scales(ONE * -5e-324), "negative"),
    "infinite": (lambda: from_scales(ONE * math.inf), "infinite"),
    "nan": (lambda: from_scales(ONE * math.nan), "NaN"),
    "large": (lambda: from_scales(ONE * 65536), "65535"),
    "rounds to large": (lambda: from_scales(ONE * 65535.5), "65535"),
    "integer scale": (lambda: from_scales(torch.ones(1, dtype=torch.int64)), "float"),
    "scale of a matrix": (lambda: from_scales(torch.ones(2, 1)), r"\(O,\)"),
    "bias nan": (lambda: from_scales(ONE, ONE * math.nan), "bias"),
    "bias infinite": (lambda: from_scales(ONE, ONE * -math.inf), "bias"),
    "float bias large": (lambda: from_scales(ONE, ONE * 2147483647.5), "bias"),
    "integer bias large": (lambda: from_scales(ONE, tensor([2**31])), "bias"),
    "bias low": (lambda: parameters([-(2**31) - 1], [0], [0]), "bias"),
    "bias shape": (lambda: from_scales(ONE, torch.zeros(2)), r"\(O,\)"),
    "multiplier high": (lambda: parameters([0], [2**16], [0]), "multiplier"),
    "multiplier low": (lambda: parameters([0], [-1], [0]), "multiplier"),
    "shift high": (lambda: parameters([0], [0], [64]), "shift"),
    "shift low": (lambda: parameters([0], [0], [-1]), "shift"),
    "type": (lambda: Requantization(ONE, tensor([0]), tensor([0])), "int64"),
    "shapes": (lambda: Requantization(ZERO, ZERO, ZERO), r"\(O,\)"),
    "width 3": (lambda: requantize(ZERO, GOOD, 3), "width"),
    "width 17": (lambda: requantize(ZERO, GOOD, 17), "width"),
    "result width": (lambda: add_bias(ZERO, GOOD, 33), "32 or 64"),
    "sums shape": (lambda: requantize(ZERO.expand(1, 2), GOOD, 8), r"\(T, O\)"),
    "sums vector": (lambda: requantize(ZERO[0], GOOD, 8), r"\(T, O\)"),
    "sums type": (lambda: requantize(ZERO.to(torch.int32), GOOD, 8), "int64"),
    "sums too large": (lambda: requantize(ZERO + SUM_LIMIT, GOOD, 8), "sums"),
    "sums too small": (lambda: add_bias(ZERO - SUM_LIMIT, GOOD, 32), "sums"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
