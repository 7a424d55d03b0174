"""From real numbers to the integers of ``flexnm_model.token_methods``: scales, factors, shifts, biases.

A value stands for ``v * s_t * 2**-f``. Without a static shift each token has its own scale, with it
``s_t = s_0 * 2**e_t``, so that one table of channels serves all tokens. Either way

    s_t >= max(max_j |x_tj|, max_j |z_tj|) / (2**(act_width-1) - 1)        z = x - eta - eta_t, what is selected from

so clamping takes nothing away, and ``|v * s_t * 2**-f - z| <= s_t * (1/2 + a * 2**-f + b * (1/2 + 2**-f / 2))``: half a
step for x; in static mode a = 1, half a step each for h and its division; in token mode b = 1, half a step each for the
mean of rounded numbers and its own rounding. In static mode ``s_t`` is below twice what is needed, or s_0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from flexnm_rtl.config import BIAS_WIDTH, EXPONENT_WIDTH, Config, ConfigError, ScoreFactor

from flexnm_model.method_tables import Modes
from flexnm_model.quantize import quantize
from flexnm_model.requantize import Requantization, from_scales

_TABLE_PEAK = (1 << 11) - 1
_LAST_EXPONENT = (1 << EXPONENT_WIDTH) - 1


@dataclass(frozen=True)
class StaticShift:
    """A shift by channel as the engine has it. h: int64 (K,). base: s_0; h stands for ``h * base * 2**-f``."""

    h: torch.Tensor
    base: float

    def real(self, fraction_bits: int) -> torch.Tensor:
        """The shift in real numbers, float64 (K,)."""
        return self.h.to(torch.float64) * self.base * 2.0**-fraction_bits


@dataclass(frozen=True)
class Tokens:
    """Quantised activations: ``q * scale``; ``scale = base * 2**exponents`` in static mode, else no exponents.

    q: (T, K), int8 up to 8 bits, int16 above. scale: float64 (T, 1). exponents: int64 (T,).
    """

    q: torch.Tensor
    scale: torch.Tensor
    exponents: torch.Tensor | None = None


def quantize_factors(factor: torch.Tensor, cfg: Config) -> torch.Tensor:
    """Score factors f >= 0, float (K,), as int64 (K,); only their ratios matter.

    ``multiply``: ``round(f_j / max f * (2**width - 1))``, at least 1 for a positive factor; at most ``1/2`` of
    ``max f / (2**width - 1)`` off unless raised to 1. ``shift``: ``round(log2(f_j / max f)) + 2**width - 1``, at least
    0; at most the root of 2 off, either way, unless raised to 0. A channel of factor 0 has the smallest.
    Raises ConfigError for negative numbers, NaN and infinity, and a ``cfg`` without factors.
    """
    exact = factor.detach().to(torch.float64)
    if cfg.score_factor is ScoreFactor.NONE:
        raise ConfigError("the engine has no score factors: build one with SCORE_FACTOR=multiply or shift")
    if not bool((torch.isfinite(exact) & (exact >= 0)).all()):
        raise ConfigError("a score factor is negative, infinite or NaN: factors must be finite and not negative")
    largest = float(exact.max()) or 1.0
    ratio = exact / largest
    top = (1 << cfg.factor_width) - 1
    if cfg.score_factor is ScoreFactor.SHIFT:
        return (torch.round(torch.log2(ratio)) + top).clamp(min=0).to(torch.int64)
    return torch.round(ratio * top).to(torch.int64).clamp(min=1) * (exact > 0)


def quantize_shift(eta: torch.Tensor, cfg: Config, *, token_shift: bool = False, peak: float = 0.0) -> StaticShift:
    """Shift by channel, float (K,), as the engine has it: ``h = round(eta * 2**f / s_0)``, half a step off at most.

    ``s_0 = max(max|eta| / 2047, peak / limit / 2**15)``, limit the largest activation: h needs ``12 + f`` bits, and
    tokens up to ``limit * 2**15 * s_0`` are not clamped: 2032 times the largest shift (8 bits), or ``peak`` if that
    is more. peak: largest ``|x|`` and ``|z|`` that will come, if it is known.
    token_shift: both shifts are on. The token's mean is then that of x, so the mean of eta is taken out of the table:
    ``x - eta - mean(x - eta) = x - (eta - mean eta) - mean x``.
    Raises ConfigError for NaN and infinity.
    """
    exact = eta.detach().to(torch.float64)
    if not bool(torch.isfinite(exact).all()):
        raise ConfigError("a channel shift is NaN or infinite: shifts must be finite")
    if token_shift:
        exact = exact - exact.mean()
    largest = float(exact.abs().max())
    base = max(largest / _TABLE_PEAK, peak / _limit(cfg) / (1 << _LAST_EXPONENT)) or 2.0**-8
    h = torch.round(exact * 2.0**cfg.fraction_bits / base)
    return StaticShift(h.to(torch.int64), base)


def quantize_tokens(x: torch.Tensor, cfg: Config, modes: Modes, static: StaticShift | None = None) -> Tokens:
    """Activations x, float (T, K), with the scales of the module's text; ``quantize.quantize`` without a shift.

    static: needed in static mode. A token too large for exponent 15 is clamped.
    Raises ConfigError for NaN and infinity.
    """
    if not modes.shifts:
        plain = quantize(x, cfg.act_width)
        return Tokens(plain.q, plain.scale)
    if not bool(torch.isfinite(x).all()):
        raise ConfigError("values contain NaN or infinity: quantisation needs finite numbers")
    limit = _limit(cfg)
    exact = x.to(torch.float64)
    z = exact if static is None else exact - static.real(cfg.fraction_bits)
    z = z - exact.mean(1, keepdim=True) if modes.token_shift else z
    needed = torch.maximum(exact.abs().amax(1, keepdim=True), z.abs().amax(1, keepdim=True)) / limit
    exponents = None
    if static is None:
        scale = torch.where(needed > 0, needed, torch.ones_like(needed))
    else:
        fraction, exponent = torch.frexp(needed / static.base)  # fraction * 2**exponent, 1/2 <= fraction < 1, or 0
        exponents = (exponent - (fraction == 0.5).to(exponent.dtype)).clamp(0, _LAST_EXPONENT).to(torch.int64)
        scale, exponents = static.base * torch.exp2(exponents.to(torch.float64)), exponents.squeeze(1)
    q = torch.round(exact / scale).clamp_(-limit, limit)
    return Tokens(q.to(torch.int8 if cfg.act_width <= 8 else torch.int16), scale, exponents)


def shift_bias(static: StaticShift, w: torch.Tensor) -> torch.Tensor:
    """``sum_j h_j w_oj``, int64 (O,), of integer weights w (O, K). Raises ConfigError beyond 32 bits."""
    bias = (static.h.to(torch.float64) @ w.to(torch.float64).T).to(torch.int64)  # below 2**51, exact
    half = 1 << (BIAS_WIDTH - 1)
    if bool(((bias < -half) | (bias >= half)).any()):
        worst = int(bias.abs().max())
        raise ConfigError(
            f"the shift's bias {worst} exceeds {BIAS_WIDTH} bits: use fewer FRACTION_BITS or leave s-pts out"
        )
    return bias


def parameters(w_scale: torch.Tensor, cfg: Config, bias: torch.Tensor | None, c: float | None = None) -> Requantization:
    """Parameters of a layer's outputs. w_scale: of the weights, float64 (O, 1). bias: int64 (O,), see ``shift_bias``.

    c: a requantised result y is to stand for ``y * s_t * c`` (``flexnm_model.requantize``), its multiplier is
    ``w_scale * 2**-f / c``, at most ``2**-16`` of it off; None: exact results only, multipliers 0. A learned scale of
    the outputs belongs into the weights before they are quantised: their integers stay, ``w_scale`` changes.
    """
    scale = w_scale.flatten() * 0 if c is None else w_scale.flatten() * 2.0**-cfg.fraction_bits / c
    return from_scales(scale, bias)


def _limit(cfg: Config) -> int:
    return (1 << (cfg.act_width - 1)) - 1
