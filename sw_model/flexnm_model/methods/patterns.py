"""Which channels of a token are kept: the patterns of a method. Each turns activations into pruned activations.

A pattern ranks ``|z_j| * f_j`` (z: activations (…, K); f: the score's factors (K,), 1 if None), keeps the largest, and
among equal ones the lower channel index. The mask is a constant for gradients: they pass through what is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.select import check_pattern, prune, select


def ranked(z: torch.Tensor, factor: torch.Tensor | None) -> torch.Tensor:
    """Signed scores ``z * f`` (…, K), in float32 at least; their magnitude is what counts."""
    return z if factor is None else z * factor


@dataclass(frozen=True)
class Pattern:
    """Keeps what ``mask`` says. ``selects``: activations are ranked at all, so that a score has a meaning."""

    selects: ClassVar[bool] = True

    def mask(self, scores: torch.Tensor) -> torch.Tensor:
        """Kept channels, bool, of scores (…, K) ranked by magnitude. Raises ConfigError for NaN."""
        raise NotImplementedError

    def prune(self, z: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        """``S(z)`` (…, K), same type; differentiable where something is kept. Raises ConfigError for NaN."""
        return torch.where(self.mask(ranked(z, factor).detach()), z, 0)

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """The weights (O, K) to use: other ones if the pattern prunes weights."""
        return weight

    def layers(self, names: Iterable[str]) -> Mapping[str, Pattern]:
        """The pattern of each layer; a plain pattern is the same for all."""
        return dict.fromkeys(names, self)


@dataclass(frozen=True)
class Blocks(Pattern):
    """``n:m``, keep n of every m consecutive channels (arXiv 2509.22166); the rule is that of ``flexnm_model.select``.

    Raises ConfigError unless 1 <= n <= m <= 32.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        check_pattern(self.n, self.m)

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    def mask(self, scores: torch.Tensor) -> torch.Tensor:
        """See ``Pattern.mask``."""
        return select(scores, self.n, self.m)

    def prune(self, z: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        """See ``Pattern.prune``."""
        if torch.is_grad_enabled() and z.requires_grad:
            return super().prune(z, factor)
        return prune(z, self.n, self.m, None if factor is None else ranked(z, factor))


@dataclass(frozen=True)
class Planned(Pattern):
    """``plan:FILE``, a pattern for each layer: JSON with ``{"layers": {"layers.0.mlp.up_proj": "5:16", …}}``.

    Raises ConfigError, when it is applied, for a file that is missing or damaged, or lacks a layer.
    """

    file: str

    def __str__(self) -> str:
        return f"plan:{self.file}"

    def layers(self, names: Iterable[str]) -> Mapping[str, Pattern]:
        """See ``Pattern.layers``."""
        plan, _ = read_plan(self.file)
        missing = [name for name in names if name not in plan]
        if missing:
            raise ConfigError(f"plan {self.file} has no pattern for {missing[0]}: was it made for another model?")
        return {name: plan[name] for name in names}


def read_plan(file: str) -> tuple[dict[str, Blocks], dict[str, Any]]:
    """The layers' patterns of a plan file, and what else it says. Raises ConfigError if it is missing or damaged."""
    try:
        header = json.loads(Path(file).read_text(encoding="utf-8"))
        return {name: parse_blocks(str(text)) for name, text in header.pop("layers").items()}, header
    except OSError as error:
        raise ConfigError(f"plan {file} cannot be read ({error.strerror}): name a plan file") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"plan {file} is damaged: it must map each layer to a pattern N:M") from None


def parse_blocks(text: str) -> Blocks:
    """``"8:16"`` -> ``Blocks(8, 16)``. Raises ConfigError for anything else."""
    n, colon, m = (part.strip() for part in text.partition(":"))
    # isdecimal() alone would let other scripts' digits and any length through.
    if not (colon and n.isascii() and m.isascii() and n.isdecimal() and m.isdecimal() and len(n + m) <= 8):
        raise ConfigError(f"pattern {text.strip()} is not N:M: write patterns like 8:16,2:4")
    return Blocks(int(n), int(m))
