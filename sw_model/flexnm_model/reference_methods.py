"""The integer rule of ``flexnm_model.token_methods`` in slow, obvious Python on plain integers, one token at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from flexnm_rtl.config import GAIN_FRACTION, GAIN_WIDTH, Config, ScoreFactor

from flexnm_model.reference import clamp, magnitude, pad_token, select


@dataclass(frozen=True)
class TokenJob:
    """One token of a job. None leaves a method out.

    x: K activations. factors, shifts: a number a channel. exponent: of the token's scale. token_shift, variance:
    whether these methods are on. bias, rowsums: a number an output.
    """

    x: Sequence[int]
    factors: Sequence[int] | None = None
    shifts: Sequence[int] | None = None
    exponent: int = 0
    token_shift: bool = False
    variance: bool = False
    bias: Sequence[int] | None = None
    rowsums: Sequence[int] | None = None


def token_shift(job: TokenJob, cfg: Config) -> int:
    """eta: the mean of the activations as they come, in the unit of values. ``round`` of a Fraction is exact and goes
    half to even.
    """
    return round(Fraction(sum(job.x) << cfg.fraction_bits, len(job.x))) if job.token_shift else 0


def shifted(job: TokenJob, cfg: Config) -> list[int]:
    """The values that are selected and multiplied, one a channel."""
    shifts = [0] * len(job.x) if job.shifts is None else [round(Fraction(h, 1 << job.exponent)) for h in job.shifts]
    eta = token_shift(job, cfg)
    return [clamp((x << cfg.fraction_bits) - h - eta, cfg.value_width) for x, h in zip(job.x, shifts, strict=True)]


def scores(job: TokenJob, cfg: Config) -> list[int]:
    """What the selection ranks, one a channel."""
    magnitudes = [magnitude(v) for v in shifted(job, cfg)]
    if job.factors is None:
        return magnitudes
    if cfg.score_factor is ScoreFactor.MULTIPLY:
        return [v * f for v, f in zip(magnitudes, job.factors, strict=True)]
    return [v << f for v, f in zip(magnitudes, job.factors, strict=True)]


def mask(job: TokenJob, cfg: Config) -> list[bool]:
    """Which channels are kept; of padding, which has score 0, nothing is said."""
    blocks = pad_token(scores(job, cfg), cfg.m_group)
    return [keep for block in blocks for keep in select(block, cfg.n_keep)][: len(job.x)]


def kept(job: TokenJob, cfg: Config) -> list[int]:
    """The values with 0 where dropped."""
    return [v if keep else 0 for v, keep in zip(shifted(job, cfg), mask(job, cfg), strict=True)]


def variance(values: Sequence[int]) -> Fraction:
    """Population variance, by its definition."""
    mean = Fraction(sum(values), len(values))
    return sum(((v - mean) ** 2 for v in values), Fraction(0)) / len(values)


def gain(job: TokenJob, cfg: Config) -> int:
    """nu: the root of the quotient of the variances before and after, ``GAIN_FRACTION`` bits below the point."""
    after = variance(kept(job, cfg)) if job.variance else 0
    if not after:
        return 1 << GAIN_FRACTION
    quotient = variance(shifted(job, cfg)) / after * 4**GAIN_FRACTION
    return min(math.isqrt(math.floor(quotient)), (1 << GAIN_WIDTH) - 1)


def totals(job: TokenJob, w: Sequence[Sequence[int]], cfg: Config) -> list[int]:
    """A total an output: weights w (O x K)."""
    values, eta, nu = kept(job, cfg), token_shift(job, cfg), gain(job, cfg)
    row = []
    for output, weights in enumerate(w):
        total = sum(v * weight for v, weight in zip(values, weights, strict=True))
        if job.variance:
            total = round(Fraction(total * nu, 1 << GAIN_FRACTION))
        if job.token_shift:
            total += eta * (sum(weights) if job.rowsums is None else job.rowsums[output])
        if job.bias is not None:
            shift = job.exponent if job.shifts is not None else 0
            total += round(Fraction(job.bias[output], 1 << shift))
        row.append(total)
    return row
