"""R-Sparse on the linear engine: what the selection drops goes through a product of low rank, in two dense jobs.

    y = S(z) W^T + (z - S(z)) B^T A^T          A (O, r), B (r, K); arXiv 2509.22166

After the sparse job of W, with f = ``fraction_bits`` and the integers v of ``token_methods``:

    r = quantize(v - S(v)), act_width bits, scale s_r[t]       each token by its largest number, see ``quantize``
    u = (r << f) B_q^T                                         dense job
    p = quantize(u * s_B), act_width bits, scale s_p[t]
    c = (p << f) A_q^T                                         dense job

u stands for ``u * s_r[t] * s_t * 2**-2f * s_B`` and c for ``c * s_p[t] * s_r[t] * s_t * 2**-3f * s_A[o]``: a value is
in units of ``s_t * 2**-f``, and a dense job multiplies its activations by ``2**f``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from flexnm_rtl.config import Config

from flexnm_model.driver import JobResult, LinearDriver, Weights
from flexnm_model.integer_linear import dequantize_sums
from flexnm_model.method_tables import Methods
from flexnm_model.quantize import Quantized, quantize
from flexnm_model.token_methods import Selected, select_values

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Integers (T, K) and weights (O, K) to the sums of a dense job, int64 (T, O)."""


@dataclass(frozen=True)
class LowRank:
    """The two factors, quantised by row: inner B (r, K), outer A (O, r)."""

    inner: Quantized
    outer: Quantized

    @staticmethod
    def of(a: torch.Tensor, b: torch.Tensor, width: int) -> LowRank:
        """A (O, r) and B (r, K), float, as integers of ``width`` bits. Raises ConfigError for NaN and infinity."""
        return LowRank(quantize(b.detach(), width), quantize(a.detach(), width))


def residual(selected: Selected, scale: torch.Tensor, low_rank: LowRank, cfg: Config, product: Product) -> torch.Tensor:
    """The term of low rank, float32 (T, O). scale: s_t, float64 (T, 1). product: runs a dense job."""
    dropped = quantize(selected.dropped.to(torch.float64), cfg.act_width)
    sums = product(dropped.q, low_rank.inner.q).to(torch.float64)
    hidden = quantize(sums * low_rank.inner.scale.T, cfg.act_width)
    unit = scale * dropped.scale * hidden.scale * 2.0 ** (-3 * cfg.fraction_bits)
    return dequantize_sums(product(hidden.q, low_rank.outer.q), unit, low_rank.outer.scale, None)


def run_r_sparse(
    driver: LinearDriver,
    x: torch.Tensor,
    scale: torch.Tensor,
    weights: Weights,
    low_rank: LowRank,
    factors: tuple[Weights, Weights],
    methods: Methods | None = None,
) -> tuple[JobResult, torch.Tensor]:
    """The three jobs on an engine: exact totals of the sparse one, and the term of low rank, float32 (T, O).

    x: quantised activations (T, K) of ``scale``, float64 (T, 1). factors: inner and outer factor of ``low_rank`` as
    ``driver.prepare`` packed them. methods: those of the sparse job. The counters are those of the sparse job.
    Raises ConfigError and DeviceError like ``LinearDriver.run``.
    """
    inner, outer = factors
    sparse = driver.run(x, weights, requantize=False, methods=methods)

    def product(values: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return driver.run(values, inner if w is low_rank.inner.q else outer, dense=True).results

    selected = select_values(x, driver.cfg, methods or Methods())
    return sparse, residual(selected, scale, low_rank, driver.cfg, product)
