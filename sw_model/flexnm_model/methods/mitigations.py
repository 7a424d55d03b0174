"""Error mitigation: what is added around the pruned product ``S(z) W'^T``, one class a method.

Formulas: arXiv 2509.22166; order of the steps: ``methods.layer``. A slot is a step, and a method has one part in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from flexnm_model.methods.scores import Part

Tensors = Mapping[str, torch.Tensor]


class Mitigation(Part):
    """Every hook changes nothing unless a method overrides it. Tensors are those of the layer named by ``needs``."""

    slot: ClassVar[str]

    def initial(self, weight: torch.Tensor, tensors: Tensors) -> dict[str, torch.Tensor]:
        """Where the training of a learned method starts: its ``needs``, for (scaled) weights (O, K) and statistics."""
        return {}

    def scale(self, weight: torch.Tensor, tensors: Tensors) -> torch.Tensor | None:
        """s (K,), float64: the layer becomes ``x / s`` and ``W s``. weight: (O, K)."""
        return None

    def shift(self, tensors: Tensors) -> torch.Tensor | None:
        """eta (K,), subtracted from every token of the scaled input."""
        return None

    def weight(self, weight: torch.Tensor, tensors: Tensors) -> torch.Tensor:
        """Weights (O, K) to use in the place of the (scaled) ones."""
        return weight

    def token_shift(self, z: torch.Tensor) -> torch.Tensor | None:
        """eta_t (…, 1), subtracted from all channels of the token z (…, K)."""
        return None

    def gain(self, z: torch.Tensor, kept: torch.Tensor) -> torch.Tensor | None:
        """nu_t (…, 1), by which the product is multiplied. z, kept = S(z): (…, K)."""
        return None

    def residual(self, dropped: torch.Tensor, tensors: Tensors) -> torch.Tensor | None:
        """Added to the product: (…, O), from what was dropped, ``z - S(z)`` (…, K)."""
        return None

    def output(self, y: torch.Tensor, tensors: Tensors) -> torch.Tensor:
        """The corrected output (…, O)."""
        return y


class Scaling(Mitigation):
    """``scaling``, as in SmoothQuant: y = S(x / s) (W s)^T, s_j = sqrt(max|x_:j| / max|W_:j|), 1 if a maximum is 0."""

    name, slot = "scaling", "scale"
    needs = {"peak": "K"}

    def scale(self, weight: torch.Tensor, tensors: Tensors) -> torch.Tensor:
        """See ``Mitigation.scale``."""
        peak, largest = tensors["peak"].double(), weight.double().abs().amax(dim=0)
        s = (peak / largest).sqrt()
        return torch.where((peak > 0) & (largest > 0), s, torch.ones_like(s))


class SPts(Mitigation):
    """``s-pts``: eta_j = mean of x_:j over the calibration text. y = S(x - eta) W^T + eta W^T."""

    name, slot = "s-pts", "shift"
    needs = {"mean": "K"}

    def shift(self, tensors: Tensors) -> torch.Tensor:
        """See ``Mitigation.shift``."""
        return tensors["mean"]


class LPts(Mitigation):
    """``l-pts``: like ``s-pts`` with a learned eta."""

    name, slot = "l-pts", "shift"
    needs = {"eta": "K"}
    starts = {"mean": "K"}
    learned = True

    def initial(self, weight: torch.Tensor, tensors: Tensors) -> dict[str, torch.Tensor]:
        """The calibrated mean, ``s-pts``."""
        return {"eta": tensors["mean"]}

    def shift(self, tensors: Tensors) -> torch.Tensor:
        """See ``Mitigation.shift``."""
        return tensors["eta"]


class DPts(Mitigation):
    """``d-pts``: eta_t = mean of the token. y = S(x - eta_t) W^T + eta_t rowsum(W)."""

    name, slot = "d-pts", "token shift"

    def token_shift(self, z: torch.Tensor) -> torch.Tensor:
        """See ``Mitigation.token_shift``."""
        return z.mean(-1, keepdim=True)


class DPtsMedian(Mitigation):
    """``d-pts-median``: eta_t = median of the token, the lower of the two middle ones if K is even (authors' code)."""

    name, slot = "d-pts-median", "token shift"

    def token_shift(self, z: torch.Tensor) -> torch.Tensor:
        """See ``Mitigation.token_shift``."""
        return z.median(-1, keepdim=True).values


class Var(Mitigation):
    """``var``: y = nu_t S(z) W^T, nu_t = sqrt(Var(z_t) / Var(S(z_t))), population variances; 1 if the last is 0."""

    name, slot = "var", "gain"

    def gain(self, z: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """See ``Mitigation.gain``."""
        wide = torch.promote_types(z.dtype, torch.float32)
        of_kept = kept.to(wide).var(-1, correction=0, keepdim=True)
        ratio = z.to(wide).var(-1, correction=0, keepdim=True) / of_kept.where(of_kept > 0, 1)
        # The inner where keeps 0 / 0 and sqrt'(0) out of the gradients.
        return torch.where(of_kept > 0, ratio.where(of_kept > 0, 1).sqrt(), 1).to(z.dtype)


class Ls(Mitigation):
    """``ls``: y = S(z) W^T (1 + a) + b with learned a, b (O,), before the layer's own bias."""

    name, slot = "ls", "output"
    needs: ClassVar[Mapping[str, str]] = {"a": "O", "b": "O"}
    learned = True

    def initial(self, weight: torch.Tensor, tensors: Tensors) -> dict[str, torch.Tensor]:
        """0: the output as it is."""
        return {name: weight.new_zeros(len(weight)) for name in self.needs}

    def output(self, y: torch.Tensor, tensors: Tensors) -> torch.Tensor:
        """See ``Mitigation.output``."""
        return torch.addcmul(tensors["b"], y, 1 + tensors["a"])


class LsScale(Ls):
    """``ls-scale``: ``ls`` with b = 0."""

    name = "ls-scale"
    needs: ClassVar[Mapping[str, str]] = {"a": "O"}

    def output(self, y: torch.Tensor, tensors: Tensors) -> torch.Tensor:
        """See ``Mitigation.output``."""
        return y * (1 + tensors["a"])


class RSparse(Mitigation):
    """``r-sparse``: y = S(z) W^T + (z - S(z)) B^T A^T, learned A (O, r), B (r, K), r = 128, or min(O, K) if less."""

    name, slot = "r-sparse", "residual"
    needs = {"A": "Or", "B": "rK"}
    starts = {"norm": "K"}
    learned = True
    rank: ClassVar[int] = 128

    def initial(self, weight: torch.Tensor, tensors: Tensors) -> dict[str, torch.Tensor]:
        """A B = the matrix of rank r closest to W in the Frobenius norm of ``(W - A B) diag(norm)``."""
        w = weight.float()
        u, sizes, _ = torch.linalg.svd(w * tensors["norm"].to(w), full_matrices=False)
        u, root = u[:, : self.rank], sizes[: self.rank].sqrt()
        # Both factors alike in size, for the optimiser's sake; A B is u u^T W whatever the sizes are.
        inverse = torch.where(root > 0, 1 / root, 0)
        return {"A": u * root, "B": inverse[:, None] * (u.T @ w)}

    def residual(self, dropped: torch.Tensor, tensors: Tensors) -> torch.Tensor:
        """See ``Mitigation.residual``."""
        return dropped @ tensors["B"].T @ tensors["A"].T


class RSparse64(RSparse):
    """``r-sparse64``: ``r-sparse`` of rank 64."""

    name = "r-sparse64"
    rank = 64


class Refit(Mitigation):
    """``refit``, flexnm's own: W' = ridge regression of the dense outputs onto the pruned inputs, calibrated."""

    name, slot = "refit", "weight"
    needs = {"weight": "OK"}

    def weight(self, weight: torch.Tensor, tensors: Tensors) -> torch.Tensor:
        """See ``Mitigation.weight``."""
        return tensors["weight"]
