"""What N:M activation sparsity is compared with: no pruning, unstructured pruning, pruning of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.methods.patterns import Pattern
from flexnm_model.select import check_pattern, magnitude, prune, resolve_ties


@dataclass(frozen=True)
class Dense(Pattern):
    """``dense``: everything is kept."""

    selects: ClassVar[bool] = False

    def __str__(self) -> str:
        return "dense"

    def mask(self, scores: torch.Tensor) -> torch.Tensor:
        """See ``Pattern.mask``."""
        return torch.ones_like(scores, dtype=torch.bool)

    def prune(self, z: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        """``z`` itself."""
        return z


@dataclass(frozen=True)
class Top(Pattern):
    """``50%``, the largest 50 % of each token's K channels: round(K * percent / 100), halves up, one at least.

    The paper's "unstructured 70 %" is a sparsity and is called ``30%`` here. Raises ConfigError unless 1 .. 100.
    """

    percent: int

    def __post_init__(self) -> None:
        if not 1 <= self.percent <= 100:
            raise ConfigError(f"{self.percent}% cannot be kept: the share of a token must be from 1% to 100%")

    def __str__(self) -> str:
        return f"{self.percent}%"

    def count(self, channels: int) -> int:
        """How many of ``channels`` are kept."""
        return max(1, (channels * self.percent + 50) // 100)

    def mask(self, scores: torch.Tensor) -> torch.Tensor:
        """See ``Pattern.mask``."""
        rows = magnitude(scores).reshape(-1, scores.shape[-1])
        if bool(rows.isnan().any()):
            raise ConfigError("scores contain NaN: selection needs numbers (infinity is allowed)")
        count = self.count(rows.shape[1])
        threshold = rows.topk(count, sorted=False).values.amin(1, keepdim=True)
        kept = rows >= threshold
        tied = (kept.sum(1) > count).nonzero().squeeze(1)
        kept[tied] = resolve_ties(rows[tied], threshold[tied], count)
        return kept.view(scores.shape)


@dataclass(frozen=True)
class WeightBlocks(Dense):
    """``w8:16``, weights pruned instead: of every m consecutive inputs of an output the n largest weights stay.

    Magnitude pruning, one shot, without any calibration; activations stay dense.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        check_pattern(self.n, self.m)

    def __str__(self) -> str:
        return f"w{self.n}:{self.m}"

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """The pruned weights (O, K)."""
        return prune(weight, self.n, self.m)
