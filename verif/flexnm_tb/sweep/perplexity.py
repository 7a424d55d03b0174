"""Perplexity by pattern, as ``flexnm ppl --json`` writes it: what the figures of a sweep are joined with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flexnm_rtl.config import ConfigError

DEFAULT = Path(__file__).parent / "perplexity.json"
"""Measured with ``make ppl`` on SmolLM2-135M-Instruct (docs/accuracy.md)."""
DENSE = "dense"


@dataclass(frozen=True)
class Perplexities:
    """``values``: by pattern, ``dense`` among them. ``source``: what they were measured on, for people."""

    values: Mapping[str, float]
    source: str

    def loss(self, pattern: str) -> float | None:
        """ln(perplexity / dense perplexity): nats a token (docs/accuracy.md). None for a pattern that is not there."""
        value = self.values.get(pattern)
        return None if value is None else math.log(value / self.values[DENSE])


def read_perplexities(file: Path) -> Perplexities:
    """Raises ConfigError for a file that ``flexnm ppl --json`` does not write, OSError for one that is missing."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        values = {str(row["pattern"]): float(row["perplexity"]) for row in content["rows"]}
        model, windows, window = content["model"], content["windows"], content["window"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"PERPLEXITY={file} is not understood: give a file of `make ppl JSON=...`") from error
    if DENSE not in values or not all(math.isfinite(value) and value > 0 for value in values.values()):
        raise ConfigError(f"PERPLEXITY={file} needs a positive perplexity of every pattern, and of `{DENSE}`")
    name = Path(model).name if model else "SmolLM2-135M-Instruct"
    return Perplexities(values, f"{name}, {windows} windows of {window} tokens")
