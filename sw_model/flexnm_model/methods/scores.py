"""Selection scores: ``|z_j| * f_j``, largest kept. Each is a factor f (K,) for a layer, independent of the token.

Formulas: arXiv 2509.22166. A constant common to all channels changes no selection and is left out where it costs work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch


class Part:
    """What scores and mitigations have in common.

    name: in the method's text. needs: tensors of the layer that must be known, and their shapes in the letters O
    (outputs), K (inputs), r (rank). learned: they come from training (``methods.train``), not from a pass over a text.
    starts: what training begins with, written like ``needs``.
    """

    name: ClassVar[str]
    needs: ClassVar[Mapping[str, str]] = {}
    learned: ClassVar[bool] = False
    starts: ClassVar[Mapping[str, str]] = {}


class Score(Part):
    """A selection score."""

    def factor(self, weight: torch.Tensor, stats: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """Factors (K,) >= 0, float64, or None for 1. weight: (O, K). stats: the layer's tensors, those of ``needs``.

        With ``scaling`` both are those of the scaled layer: ``W s`` and the statistics of ``x / s``.
        """
        raise NotImplementedError


class Act(Score):
    """``act``: f_j = 1, the magnitude of the activation."""

    name = "act"

    def factor(self, weight: torch.Tensor, stats: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """See ``Score.factor``."""
        return None


class Clact(Score):
    """``clact``: f_j = ||X_:j||_2 over the calibration text. The row norm, the same in a token, is left out."""

    name = "clact"
    needs = {"norm": "K"}

    def factor(self, weight: torch.Tensor, stats: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """See ``Score.factor``."""
        return stats["norm"].double()


class Amber(Score):
    """``amber`` (Amber-Pruner): f_j = ||What_:j||_2 / min_k ||What_:k||_2, What = (W - mean) / std.

    mean and std over the weights from the 0.5 % to the 99.5 % quantile (linear interpolation, both ends included);
    std cancels. If the smallest norm is 0, the norms themselves are the factors.
    """

    name = "amber"

    def factor(self, weight: torch.Tensor, stats: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """See ``Score.factor``."""
        low, high = _quantiles(weight, 0.005)
        w = weight.double()
        mean = w[(w >= low) & (w <= high)].mean()
        norms = (w - mean).square().sum(0).sqrt()
        smallest = norms.min()
        return norms / smallest if smallest > 0 else norms


class Variance(Score):
    """``variance``: f_j = Var(W_:j), the population variance over the O outputs."""

    name = "variance"

    def factor(self, weight: torch.Tensor, stats: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """See ``Score.factor``."""
        return weight.double().var(dim=0, correction=0)


def _quantiles(values: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``share`` and ``1 - share`` quantiles of all values, 0 < share < 0.5, interpolated linearly."""
    # torch.quantile sorts everything, and refuses more than 2**24 numbers, fewer than a layer of a 7B model has.
    position = share * (values.numel() - 1)
    below = int(position)
    count = min(below + 2, values.numel())
    ends = (values.flatten().topk(count, largest=largest).values.double() for largest in (False, True))
    low, high = (torch.lerp(end[below], end[count - 1], position - below) for end in ends)
    return low, high
