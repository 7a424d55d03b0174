"""Requantisation parameters for which every bit of a product decides about some result."""

from __future__ import annotations

import dataclasses
import random

import torch
from flexnm_model import packing
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_model.requantize import Requantization
from flexnm_rtl.config import BIAS_WIDTH, MULTIPLIER_WIDTH, SHIFT_WIDTH

from flexnm_tb.engine_jobs import Job

_HALF = 1 << (BIAS_WIDTH - 1)


def with_scales(rng: random.Random, job: Job) -> Job:
    """The job, which fills its blocks and tiles, with other parameters.

    Of each output one token's sum becomes, by the bias, a number of random sign and size; the multiplier is of random
    size too, and the shift makes the product of the two about as large as a result. Every fourth product ends in a one
    and zeros, which the shift makes an exact half.
    """
    sums = (dense_matmul if job.mode.dense else sparse_matmul)(job.x, job.w, job.pruned)
    columns = [_scales(rng, column, job.cfg.act_width) for column in sums.T.tolist()]
    r = Requantization(*(torch.tensor(values, dtype=torch.int64) for values in zip(*columns, strict=True)))
    changed = dataclasses.replace(job, r=r)
    return dataclasses.replace(changed, weights=packing.pack_weights(job.w, job.cfg, changed.parameter_words()))


def _scales(rng: random.Random, sums: list[int], width: int) -> tuple[int, int, int]:
    """Bias, multiplier, shift."""
    if not rng.randrange(4):
        return _half(rng, sums, width)
    size = rng.randrange(BIAS_WIDTH - 1)
    wanted = rng.choice([-1, 1]) * ((1 << size) | rng.getrandbits(size))
    bias = max(-_HALF, min(_HALF - 1, wanted - rng.choice(sums)))
    bits = rng.randint(1, MULTIPLIER_WIDTH)
    multiplier = (1 << (bits - 1)) | rng.getrandbits(bits - 1) if bits > 1 else 1
    product = abs(wanted * multiplier).bit_length()
    return bias, multiplier, min(max(0, product - width + rng.randint(-1, 4)), (1 << SHIFT_WIDTH) - 1)


def _half(rng: random.Random, sums: list[int], width: int) -> tuple[int, int, int]:
    """Bias, multiplier and shift by which a sum becomes a result and a half: any bit that is lost counts then."""
    factor = 2 * rng.getrandbits(rng.randrange(width // 2)) + 1
    wanted = rng.choice([-1, 1]) * (2 * rng.getrandbits(rng.randrange(width // 2)) + 1)
    zeros = [rng.randrange(BIAS_WIDTH - width), rng.randrange(MULTIPLIER_WIDTH - width // 2)]
    bias = (wanted << zeros[0]) - rng.choice(sums)
    return bias, factor << zeros[1], sum(zeros) + 1
