"""Ranges at their last number, types that a result must have, and tensors of more than two dimensions.

Every test here stands for mutants of the model that the other tests let pass (``make mutate_model``).
"""

from __future__ import annotations

import math

import pytest
import torch
from flexnm_model import fixed_point, metadata
from flexnm_model.compress import check_range, compress
from flexnm_model.matmul import dense_matmul
from flexnm_model.method_tables import Modes
from flexnm_model.requantize import Requantization, from_scales, parameter_bits, requantize
from flexnm_model.select import pad_channels, prune, select, select_blocks
from flexnm_rtl.config import Config, ConfigError, Metadata

BASE = Config(n_keep=8, m_group=16, rows=1, cols=1, lanes=8, k_max=256)
STATIC, TOKEN = Modes(static_shift=True), Modes(token_shift=True)


def test_one_token_may_come_without_a_leading_dimension() -> None:
    token = torch.arange(-9, 9, dtype=torch.int16)
    assert torch.equal(prune(token, 2, 4), torch.where(select(token, 2, 4), token, 0))


@pytest.mark.parametrize("shape", [(18,), (3, 18), (2, 3, 18), (2, 1, 3, 18)])
def test_pruning_and_compressing_keep_the_leading_shape(shape: tuple[int, ...]) -> None:
    x = torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(1)).to(torch.int16)
    assert torch.equal(prune(x, 8, 16), torch.where(select(x, 8, 16), x, 0))
    got = compress(x, BASE)
    assert (got.k, got.values.shape) == (18, (*shape[:-1], 2, 8))
    ranks = metadata.indices_to_rank(metadata.mask_to_indices(got.mask, 8), 16)
    assert ranks.shape == got.mask.shape[:-1]
    assert torch.equal(metadata.rank_to_mask(ranks, 8, 16), got.mask)


def test_pruning_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(11, 64, generator=torch.Generator().manual_seed(2))
    whole = prune(x, 8, 16)
    for size in (16 * 11, 16 * 22, 16 * 5):  # four chunks, two chunks, nine chunks of five and four blocks
        monkeypatch.setattr("flexnm_model.select._CHUNK_ELEMENTS", size)
        assert torch.equal(prune(x, 8, 16), whole)
        assert torch.equal(prune(x, 8, 16, x.clone()), whole)


def test_masks_from_words_without_a_channel() -> None:
    """A word of zero, and one of every channel, are masks."""
    masks = metadata.bits_to_mask(torch.tensor([0, 1, 15]), 4).int().tolist()
    assert masks == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    with pytest.raises(ConfigError, match="beyond channel 3"):
        metadata.bits_to_mask(torch.tensor([-1]), 4)


@pytest.mark.parametrize("fmt", list(Metadata))
def test_words_just_out_of_range(fmt: Metadata) -> None:
    cfg = Config(n_keep=2, m_group=4, lanes=1, metadata=fmt)
    for word in (1 << cfg.metadata_width, (1 << cfg.metadata_width) | 0b0011, -1):
        with pytest.raises(ConfigError, match=f"it must be an unsigned {cfg.metadata_width}-bit number"):
            metadata.unpack([word], cfg)


@pytest.mark.parametrize("fmt", list(Metadata))
def test_no_words_are_no_masks(fmt: Metadata) -> None:
    assert metadata.unpack([], Config(n_keep=2, m_group=4, lanes=1, metadata=fmt)).shape == (0, 4)
    assert metadata.pack(torch.zeros(0, 4, dtype=torch.bool), Config(n_keep=2, m_group=4, lanes=1, metadata=fmt)) == []


def test_masks_are_bool_and_numbers_int64() -> None:
    mask = select_blocks(torch.arange(32.0), 8, 16)
    indices = metadata.mask_to_indices(mask, 8)
    assert {metadata.indices_to_mask(indices, 16).dtype, metadata.bits_to_mask(torch.tensor([3]), 16).dtype} == {
        torch.bool
    }
    rank = metadata.indices_to_rank(indices, 16)
    assert metadata.rank_to_mask(rank, 8, 16).dtype == torch.bool
    assert {rank.dtype, metadata.mask_to_bits(mask).dtype} == {torch.int64}


def test_a_range_is_named_and_ends_where_it_says() -> None:
    check_range("activations", torch.tensor([-128, 127]), 8)
    for value in (-129, 128):
        with pytest.raises(ConfigError, match=r"^activations do not fit 8 bits: they must lie in -128 \.\. 127$"):
            compress(torch.full((1, 16), value), BASE)


def test_nothing_is_copied_where_nothing_is_missing() -> None:
    x = torch.zeros(2, 32)
    assert pad_channels(x, 16) is x


@pytest.mark.parametrize("x, w", [((3, 16), (2, 16, 1)), ((3, 16, 1), (2, 16)), ((3, 16, 1), (2, 16, 1))])
def test_both_operands_are_matrices(x: tuple[int, ...], w: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"\(T, K\) and \(O, K\) are needed"):
        dense_matmul(torch.zeros(x, dtype=torch.int8), torch.zeros(w, dtype=torch.int8), BASE)


def test_what_is_out_of_range_is_named() -> None:
    good, bad = torch.zeros(1, 16, dtype=torch.int16), torch.full((1, 16), 128, dtype=torch.int16)
    for name, operands in {"activations": (bad, good), "weights": (good, bad)}.items():
        with pytest.raises(ConfigError, match=f"^{name} do not fit 8 bits"):
            dense_matmul(*operands, BASE)
    one, large = torch.tensor([0]), torch.tensor([1 << 40])
    for i, name in enumerate(("bias", "multiplier", "shift")):
        columns = [one, one, one]
        columns[i] = large
        with pytest.raises(ConfigError, match=f"^{name} is out of range"):
            Requantization(*columns)
    with pytest.raises(ConfigError, match=r"^sums is out of range"):
        requantize(torch.tensor([[1 << 62]]), Requantization(one, one, one), 8)


def test_scales_and_biases_of_half_precision() -> None:
    """16 bits cannot hold the numbers on the way."""
    r = from_scales(torch.tensor([0.75, 3.0], dtype=torch.float16), torch.tensor([-7.5, 60000.0], dtype=torch.float16))
    assert (r.multiplier.double() * torch.exp2(-r.shift.double())).tolist() == [0.75, 3.0]
    assert r.bias.tolist() == [-8, 60000]


def test_factors_are_computed_in_float64() -> None:
    """Next to a half-way case float32 would round to the other side."""
    top = (1 << 8) - 1
    cfg = BASE.replace(score_factor="multiply", factor_width=8)
    factors = torch.tensor([1.0, 0.5 / top, 1.5 / top, 100.5 / top], dtype=torch.float32)
    exact = [round(float(f) * top) for f in factors.double()]
    assert fixed_point.quantize_factors(factors, cfg).tolist() == [max(1, q) for q in exact]
    assert fixed_point.quantize_factors(torch.zeros(3), cfg).tolist() == [0, 0, 0]
    shifts = BASE.replace(score_factor="shift", factor_width=4)
    for config in (cfg, shifts):
        assert fixed_point.quantize_factors(factors, config).dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shifts_are_computed_in_float64(dtype: torch.dtype) -> None:
    cfg = BASE.replace(static_shift=True)
    eta = (torch.linspace(-1, 1, 999) / 3).to(dtype)
    table = fixed_point.quantize_shift(eta, cfg)
    largest = float(eta.double().abs().max())
    assert table.base == largest / 2047
    assert table.h.tolist() == [round(float(e) * 2.0**cfg.fraction_bits / table.base) for e in eta.double()]
    assert torch.equal(table.real(2), table.h.double() * table.base / 4)
    assert table.real(2).dtype == torch.float64
    assert fixed_point.quantize_shift(torch.zeros(4), cfg).base == 2.0**-8


def test_a_shift_with_a_gradient_is_taken_as_it_is() -> None:
    eta = torch.ones(4, requires_grad=True)
    assert not fixed_point.quantize_shift(eta, BASE.replace(static_shift=True)).h.requires_grad


@pytest.mark.parametrize("width, dtype", [(4, torch.int8), (8, torch.int8), (9, torch.int16), (16, torch.int16)])
def test_tokens_with_the_least_scale(width: int, dtype: torch.dtype) -> None:
    """A token's scale is what its largest number needs, be it above or below 1; numbers are rounded in float64."""
    cfg = BASE.replace(token_shift=True, act_width=width)
    limit = (1 << (width - 1)) - 1
    x = torch.randn(6, 32, generator=torch.Generator().manual_seed(width)) * torch.logspace(-3, 3, 6)[:, None]
    exact = x.double()
    z = exact - exact.mean(1, keepdim=True)
    needed = torch.maximum(exact.abs().amax(1), z.abs().amax(1)) / limit
    got = fixed_point.quantize_tokens(x, cfg, TOKEN)
    assert torch.equal(got.scale.flatten(), needed)
    assert torch.equal(got.q.long(), torch.round(exact / needed[:, None]).long())
    assert got.q.dtype == dtype
    assert fixed_point.quantize_tokens(torch.zeros(1, 32), cfg, TOKEN).scale.tolist() == [[1.0]]


def test_exponents_end_at_0_and_15_and_what_is_larger_is_clamped() -> None:
    cfg = BASE.replace(static_shift=True)
    static = fixed_point.StaticShift(torch.zeros(16, dtype=torch.int64), 1.0)
    sizes = [1e-3, 127.0, 128.0, 254.0, 254.5, 127.0 * 2**15, 127.0 * 2**16, -127.0 * 2**17]
    x = torch.zeros(len(sizes), 16, dtype=torch.float64)
    x[:, 3] = torch.tensor(sizes, dtype=torch.float64)
    got = fixed_point.quantize_tokens(x, cfg, STATIC, static)
    assert got.exponents is not None
    assert got.exponents.tolist() == [0, 0, 1, 1, 2, 15, 15, 15]
    assert got.exponents.dtype == torch.int64
    assert got.q[:, 3].tolist() == [0, 127, 64, 127, 64, 127, 127, -127]
    assert torch.equal(got.scale.flatten(), torch.exp2(got.exponents.double()))


@pytest.mark.parametrize("total", [2**31 - 1, -(2**31)])
def test_a_bias_of_a_shift_may_use_all_of_its_bits(total: int) -> None:
    static = fixed_point.StaticShift(torch.tensor([1, total]), 1.0)
    bias = fixed_point.shift_bias(static, torch.tensor([[0, 1]], dtype=torch.int8))
    assert bias.tolist() == [total]
    assert bias.dtype == torch.int64
    beyond = fixed_point.StaticShift(torch.tensor([int(math.copysign(1, total)), total]), 1.0)
    with pytest.raises(ConfigError, match=f"bias {abs(total) + 1} exceeds 32 bits"):
        fixed_point.shift_bias(beyond, torch.tensor([[1, 1]], dtype=torch.int8))


@pytest.mark.parametrize("bits", [0, 4])
def test_multipliers_of_exact_and_of_requantised_results(bits: int) -> None:
    cfg = BASE.replace(fraction_bits=bits, static_shift=bool(bits))
    scale = torch.tensor([[0.25], [0.5]], dtype=torch.float64)
    exact = fixed_point.parameters(scale, cfg, torch.tensor([3, -4]))
    assert exact.multiplier.tolist() == [0, 0]
    assert exact.bias.tolist() == [3, -4]
    wanted = fixed_point.parameters(scale, cfg, None, c=2.0)
    real = wanted.multiplier.double() * torch.exp2(-wanted.shift.double())
    assert real.tolist() == [0.125 / 2**bits, 0.25 / 2**bits]


def test_sums_of_weights_may_use_all_of_their_bits() -> None:
    one = torch.tensor([0])
    r = Requantization(one, one, one)
    for total in (2**31 - 1, -(2**31)):
        assert parameter_bits(r, torch.tensor([total])) == [(total & 0xFFFF_FFFF) << 64]
    for total in (2**31, -(2**31) - 1):
        with pytest.raises(ConfigError, match=r"^a sum of weights is out of range: "):
            parameter_bits(r, torch.tensor([total]))


def test_parameters_of_some_outputs() -> None:
    columns = torch.arange(12).view(3, 4)
    part = Requantization(*columns).part(slice(1, 3))
    assert [part.bias.tolist(), part.multiplier.tolist(), part.shift.tolist()] == [[1, 2], [5, 6], [9, 10]]
