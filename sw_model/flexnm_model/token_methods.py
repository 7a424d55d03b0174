"""The integer rule of the linear engine's methods; software and hardware follow it to the last bit.

``reference_methods`` states it in plain Python, ``fixed_point`` chooses its numbers from real ones.

For a token t of K real channels j, f = ``fraction_bits``, ``rhe`` rounding half to even; what a mode leaves out is 0:

    shift     eta_t = rhe(2**f * sum_j x_tj / K)
    value     v_tj = clamp((x_tj << f) - rhe(h_j / 2**e_t) - eta_t, value_width bits)
    score     |v_tj| * factor_j, or |v_tj| << factor_j, or |v_tj|; then exactly N of M, ties to the lower channel
    sum       sum_to = sum of v_tj * w_oj over the kept channels
    gain      nu_t = min(isqrt(floor(V * 2**24 / V')), 2**16 - 1), 2**12 if V' = 0; V = K sum v**2 - (sum v)**2 over the
              K channels, V' the same with 0 for every dropped channel
    total     rhe(sum_to * nu_t / 2**12) + eta_t * rowsum_o + (static mode: rhe(bias_o / 2**e_t), else bias_o)

Static mode is S-PTS and L-PTS: h is the shift in units of ``s_0 * 2**-f`` where the token's scale is ``s_0 * 2**e_t``,
and ``bias_o = sum_j h_j w_oj`` gives back what was taken away. Token mode is D-PTS with the mean, and ``rowsum_o =
sum_j w_oj``. Variance mode is VAR. A total stands for ``total * s_t * 2**-f * s_w[o]``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from flexnm_rtl.config import (
    GAIN_FRACTION,
    GAIN_WIDTH,
    ROW_SUM_WIDTH,
    Config,
    ConfigError,
    ScoreFactor,
)

from flexnm_model.compress import check_range
from flexnm_model.matmul import dense_matmul
from flexnm_model.method_tables import ChannelTable, Methods, Modes, check_vector
from flexnm_model.requantize import Requantization, add_bias, requantize
from flexnm_model.select import select_blocks


@dataclass(frozen=True)
class Selected:
    """What is selected from, and what of it: values, scores int64 (T, K); mask bool (T, blocks, M), padding included;
    eta int64 (T,).
    """

    values: torch.Tensor
    scores: torch.Tensor
    mask: torch.Tensor
    eta: torch.Tensor

    @property
    def kept(self) -> torch.Tensor:
        """The values that are multiplied, (T, K), zero where dropped."""
        return self.values * self.mask.flatten(-2)[:, : self.values.shape[1]]

    @property
    def dropped(self) -> torch.Tensor:
        """The other values, (T, K), zero where kept."""
        return self.values * ~self.mask.flatten(-2)[:, : self.values.shape[1]]


@dataclass(frozen=True)
class TokenResults(Selected):
    """What a job computes: gain int64 (T,); sums, totals int64 (T, O)."""

    gain: torch.Tensor
    sums: torch.Tensor
    totals: torch.Tensor


def compute(
    x: torch.Tensor,
    w: torch.Tensor,
    cfg: Config,
    modes: Modes,
    table: ChannelTable | None = None,
    exponents: torch.Tensor | None = None,
    requantization: Requantization | None = None,
    rowsum: torch.Tensor | None = None,
    *,
    gain_fraction: int = GAIN_FRACTION,
) -> TokenResults:
    """The rule: x (T, K), ``act_width`` bits, w (O, K), ``weight_width`` bits, signed integers, to totals (T, O).

    modes, table, exponents: see ``Methods``. requantization: its bias is added; the static shift needs it.
    rowsum: int64 (O,), the sums of ``w`` if left out. gain_fraction: bits of the gain; the hardware has the default.
    Raises ConfigError for other shapes, types and ranges, and methods that ``cfg`` has no hardware for.
    """
    if x.dim() != 2 or w.dim() != 2 or x.shape[1] != w.shape[1] or not x.shape[1]:
        raise ConfigError(f"cannot multiply {tuple(x.shape)} by {tuple(w.shape)}: (T, K) and (O, K) are needed")
    selected = select_values(x, cfg, Methods(modes, table, exponents))
    v, kept = selected.values, selected.kept
    totals = sums = dense_matmul(kept, w, _plain(cfg))
    nu = torch.full_like(selected.eta, 1 << gain_fraction)
    if modes.variance:
        nu = gain(v, kept, gain_fraction)
        totals = apply_gain(sums, nu, gain_fraction)
    if modes.token_shift:
        totals = totals + selected.eta[:, None] * _rowsum(w, rowsum)
    if requantization is not None:
        totals = totals + token_bias(requantization.bias, exponents if modes.static_shift else None)
    elif modes.static_shift:
        raise ConfigError("a static shift needs the bias that gives it back: give the requantisation parameters")
    return TokenResults(v, selected.scores, selected.mask, selected.eta, nu, sums, totals)


def select_values(x: torch.Tensor, cfg: Config, methods: Methods) -> Selected:
    """The part of the rule before the multiplication. x: (T, K). Raises ConfigError like ``compute``."""
    check_range("activations", x, cfg.act_width)
    methods.check(cfg, *x.shape)
    modes, table, exponents = methods.modes, methods.table, methods.exponents
    eta = token_mean(x, cfg.fraction_bits) if modes.token_shift else torch.zeros_like(x[:, 0], dtype=torch.int64)
    static = static_shift(table.shift, exponents) if modes.static_shift and table and exponents is not None else None
    v = values(x, static, eta, cfg)
    ranks = scores(v, table.factor if modes.factors and table else None, cfg)
    return Selected(v, ranks, select_blocks(ranks.to(torch.int32), cfg.n_keep, cfg.m_group), eta)


def finish(totals: torch.Tensor, cfg: Config, requantization: Requantization | None = None) -> torch.Tensor:
    """Results of totals (T, O), which have their bias, int64: exact (clamped to ``result_width`` bits), or requantised
    to ``act_width`` bits by the multipliers and shifts of ``requantization``.
    """
    zeros = torch.zeros(totals.shape[1], dtype=torch.int64, device=totals.device)
    if requantization is None:
        return add_bias(totals, Requantization(zeros, zeros, zeros), cfg.result_width)
    return requantize(totals, Requantization(zeros, requantization.multiplier, requantization.shift), cfg.act_width)


def divide_half_even(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """``numerator / denominator``, int64 of shapes that broadcast, rounded half to even. denominator: positive, below
    2**62. Exact.
    """
    floor = torch.div(numerator, denominator, rounding_mode="floor")
    twice = 2 * (numerator - floor * denominator)
    return floor + ((twice > denominator) | ((twice == denominator) & (floor & 1 == 1)))


def static_shift(shift: torch.Tensor, exponents: torch.Tensor) -> torch.Tensor:
    """``rhe(h_j / 2**e_t)``: shift h (K,), exponents (T,), to (T, K); all int64."""
    return divide_half_even(shift[None], (1 << exponents)[:, None])


def token_mean(x: torch.Tensor, fraction_bits: int) -> torch.Tensor:
    """``rhe(2**f sum_j x_tj / K)``: integers x (T, K) to int64 (T,)."""
    channels = torch.tensor(x.shape[1])
    return divide_half_even(x.to(torch.int64).sum(1) << fraction_bits, channels)


def values(x: torch.Tensor, static: torch.Tensor | None, eta: torch.Tensor, cfg: Config) -> torch.Tensor:
    """``clamp((x << f) - static - eta)``: x (T, K), static int64 (T, K), eta (T,), to int64 (T, K)."""
    wide = x.to(torch.int64) << cfg.fraction_bits
    half = 1 << (cfg.value_width - 1)
    shifted = (wide if static is None else wide - static) - eta[:, None]
    return shifted.clamp(-half, half - 1)


def scores(v: torch.Tensor, factor: torch.Tensor | None, cfg: Config) -> torch.Tensor:
    """Unsigned scores of values v (T, K), int64, below 2**31: a value has at most 16 bits, so ``|v| <= 2**15``, and is
    multiplied by at most ``2**16 - 1`` or shifted by at most 15. factor: (K,) or None for magnitudes.
    """
    if factor is None:
        return v.abs()
    return v.abs() * factor if cfg.score_factor is ScoreFactor.MULTIPLY else v.abs() << factor


def gain(v: torch.Tensor, kept: torch.Tensor, fraction: int = GAIN_FRACTION) -> torch.Tensor:
    """nu of each token, int64 (T,), with ``fraction`` bits: values v (T, K) and the same with 0 where dropped.

    Python's integers: ``K sum v**2 2**24`` needs up to 95 bits.
    """
    before, after = _spread(v), _spread(kept)
    largest = (1 << GAIN_WIDTH) - 1
    gains = [
        min(math.isqrt((a << 2 * fraction) // b), largest) if b else 1 << fraction
        for a, b in zip(before, after, strict=True)
    ]
    return torch.tensor(gains, dtype=torch.int64, device=v.device)


def apply_gain(sums: torch.Tensor, gains: torch.Tensor, fraction: int = GAIN_FRACTION) -> torch.Tensor:
    """``rhe(sum_to * nu_t / 2**fraction)``: int64 (T, O) and (T,) to (T, O).

    A sum of 52 bits times a gain of 16 does not fit int64: the sum's upper bits are multiplied apart (56 bits).
    """
    one = 1 << fraction
    nu = gains[:, None]
    low = (sums & (one - 1)) * nu
    floor = (sums >> fraction) * nu + (low >> fraction)
    lost = 2 * (low & (one - 1))
    return floor + ((lost > one) | ((lost == one) & (floor & 1 == 1)))


def token_bias(bias: torch.Tensor, exponents: torch.Tensor | None) -> torch.Tensor:
    """What is added to a token's sums: bias (O,), or with exponents (T,) ``rhe(bias_o / 2**e_t)`` (T, O)."""
    return bias if exponents is None else divide_half_even(bias[None], (1 << exponents)[:, None])


def _spread(v: torch.Tensor) -> list[int]:
    """``K sum v**2 - (sum v)**2`` of each token; the sums fit int64, 2**20 values of 16 bits."""
    totals, squares = v.sum(1).tolist(), (v * v).sum(1).tolist()
    return [int(v.shape[1] * square - total * total) for total, square in zip(totals, squares, strict=True)]


def _rowsum(w: torch.Tensor, rowsum: torch.Tensor | None) -> torch.Tensor:
    if rowsum is None:
        return w.to(torch.int64).sum(1)
    half = 1 << (ROW_SUM_WIDTH - 1)
    check_vector("sums of weights", rowsum, w.shape[0], -half, half - 1)
    return rowsum


def _plain(cfg: Config) -> Config:
    """The multiplier alone: its operands are values."""
    return cfg.replace(
        act_width=cfg.value_width,
        score_factor=ScoreFactor.NONE,
        factor_width=0,
        static_shift=False,
        token_shift=False,
        variance=False,
        fraction_bits=0,
    )
