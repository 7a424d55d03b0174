"""Integer matrix products, bit for bit what the array's accumulators hold.

A float64 matrix product is exact for them: a product of two 16-bit numbers is at most 2**30 and K at most 2**20
(``config.MAX_K``), so every partial sum, in whatever order, stays within 2**50 < 2**53.
"""

from __future__ import annotations

import torch
from flexnm_rtl.config import Config, ConfigError

from flexnm_model.compress import check_range, compress, decompress


def wrap(values: torch.Tensor, width: int) -> torch.Tensor:
    """int64 ``values`` as two's complement registers of ``width`` bits (2 to 63) hold them, same shape."""
    half = 1 << (width - 1)
    return torch.remainder(values + half, 2 * half) - half


def dense_matmul(x: torch.Tensor, w: torch.Tensor, cfg: Config, *, acc_width: int | None = None) -> torch.Tensor:
    """``x w^T`` in accumulators of ``acc_width`` bits (``cfg.acc_width``, which never overflows, when left out).

    With ``fraction_bits`` f the array multiplies ``x << f``, and a sum is ``2**f`` times the product.
    x: (T, K) signed integers of ``cfg.act_width`` bits; w: (O, K), ``cfg.weight_width`` bits. Returns int64 (T, O).
    Raises ConfigError for other shapes or types, numbers out of range, and K above ``cfg.k_max``.
    """
    if x.dim() != 2 or w.dim() != 2 or x.shape[1] != w.shape[1]:
        raise ConfigError(f"cannot multiply {tuple(x.shape)} by {tuple(w.shape)}: (T, K) and (O, K) are needed")
    if x.shape[1] > cfg.k_max:
        raise ConfigError(f"K={x.shape[1]} exceeds K_MAX={cfg.k_max}: raise K_MAX or split the layer")
    check_range("activations", x, cfg.act_width)
    check_range("weights", w, cfg.weight_width)
    exact = (x.to(torch.float64) @ w.to(torch.float64).T).to(torch.int64)
    return wrap(exact << cfg.fraction_bits, cfg.acc_width if acc_width is None else acc_width)


def sparse_matmul(x: torch.Tensor, w: torch.Tensor, cfg: Config, *, acc_width: int | None = None) -> torch.Tensor:
    """``S(x) w^T``: like ``dense_matmul`` with ``x`` pruned to ``cfg.pattern`` along K, padded with zeros if needed."""
    return dense_matmul(decompress(compress(x, cfg)), w, cfg, acc_width=acc_width)
