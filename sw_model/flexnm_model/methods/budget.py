"""How much work a plan may cost, and the plan with the least loss for it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from flexnm_rtl.config import Config, ConfigError

from flexnm_model.cost import decode_bytes, ideal_cycles, multiplications

_G = TypeVar("_G")


class Kind(enum.StrEnum):
    """What is counted: multiplications or bytes of weights read for a token, or cycles for ``Budget.tokens``."""

    MACS = "macs"
    CYCLES = "cycles"
    BYTES = "bytes"


@dataclass(frozen=True)
class Budget:
    """A way to count work (formulas: ``flexnm_model.cost``).

    cfg: the engine, for cycles (rows, cols, lanes) and bytes (bus). tokens: of a job, for cycles.
    Raises ConfigError for an unknown kind and for less than one token.
    """

    kind: Kind | str = Kind.MACS
    cfg: Config = field(default_factory=Config)
    tokens: int = 64

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "kind", Kind(self.kind))
        except ValueError:
            raise ConfigError(f"budget {self.kind} is unknown: choose one of {', '.join(Kind)}") from None
        if self.tokens < 1:
            raise ConfigError(f"{self.tokens} tokens: at least 1 is needed")

    def cost(self, channels: int, outputs: int, n: int, m: int) -> int:
        """Of one layer that keeps ``n`` of ``m``."""
        if self.kind is Kind.MACS:
            return multiplications(channels, outputs, n, m)
        if self.cfg.m_group != m:
            raise ConfigError(f"the engine has blocks of M={self.cfg.m_group}, the plan of M={m}: they must be equal")
        if self.kind is Kind.CYCLES:
            return ideal_cycles(self.cfg, self.tokens, channels, outputs, n=n)
        return decode_bytes(self.cfg, channels, outputs, n)


def allocate(losses: Mapping[_G, Sequence[float]], costs: Mapping[_G, Sequence[int]], allowed: int) -> dict[_G, int]:
    """N of each group of layers, so that the sum of losses is small and that of costs at most ``allowed``.

    losses, costs: of a group that keeps 1, 2, … M. From N = 1 everywhere, always the step that gains most for its cost
    is taken, along the lower convex hull of each group's points (cost, loss): the optimum of the Lagrangian, so the
    best plan of its cost. What is left of the budget then goes to any step that fits, the most gainful first.
    Raises ConfigError when even N = 1 everywhere costs more than ``allowed``.
    """
    kept = {group: _cheapest(costs[group]) for group in losses}
    left = allowed - sum(costs[group][n - 1] for group, n in kept.items())
    if left < 0:
        raise ConfigError(f"the budget of {allowed} is too small: N=1 in all layers costs {allowed - left}")
    hulls = {group: _hull(losses[group], costs[group], kept[group]) for group in losses}
    steps = [(-gain, i, group, n) for i, group in enumerate(losses) for gain, n in hulls[group]]
    for _, _, group, n in sorted(steps, key=lambda step: step[:2]):
        price = costs[group][n - 1] - costs[group][kept[group] - 1]
        if price <= left:
            kept[group], left = n, left - price
    return _filled(kept, losses, costs, left)


def _cheapest(costs: Sequence[int]) -> int:
    """The largest N that costs no more than N = 1 (cycles are equal for all N up to the lanes)."""
    return max(n for n, cost in enumerate(costs, 1) if cost == costs[0])


def _hull(losses: Sequence[float], costs: Sequence[int], n: int) -> list[tuple[float, int]]:
    """(gain for its cost, N reached) of each step along the lower convex hull from ``n`` on; gains fall."""
    steps: list[tuple[float, int]] = []
    while True:
        ahead = [
            ((losses[n - 1] - losses[i - 1]) / (costs[i - 1] - costs[n - 1]), i)
            for i in range(n + 1, len(losses) + 1)
            if losses[i - 1] < losses[n - 1] and costs[i - 1] > costs[n - 1]
        ]
        if not ahead:
            return steps
        gain, n = max(ahead)
        steps.append((gain, n))


def _filled(
    kept: dict[_G, int], losses: Mapping[_G, Sequence[float]], costs: Mapping[_G, Sequence[int]], left: int
) -> dict[_G, int]:
    """``kept`` with single steps of most gain for their cost, as long as one fits into ``left``."""
    while True:
        fitting = [
            ((losses[group][n - 1] - losses[group][n]) / max(price, 1e-9), i, group, price)
            for i, (group, n) in enumerate(kept.items())
            if n < len(losses[group])
            and (price := costs[group][n] - costs[group][n - 1]) <= left
            and losses[group][n] < losses[group][n - 1]
        ]
        if not fitting:
            return kept
        _, _, group, price = max(fitting, key=lambda step: step[:2])
        kept[group], left = kept[group] + 1, left - price
