"""Top-N-of-M selection: the interface every selector has, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from amaranth.hdl import Const, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.config import Config, Selector, bits_for

if TYPE_CHECKING:
    from flexnm_rtl.select_flexible import FlexibleSelector

RANK_MAX_GROUP = 16
"""Largest M for which ``auto`` takes the comparator matrix, whose size grows with M squared."""

RANK_MAX_WIDTH = 8
"""Widest score for which ``auto`` compares and counts in one cycle."""


class SelectorBase(wiring.Component):
    """Picks exactly ``n_keep`` of ``m_group`` unsigned scores: the largest, the lower channel first among equals.

    ``scores``: M unsigned scores of ``score_width`` bits, channel 0 lowest. ``enable``: one bit per register stage;
    bit k loads stage k. ``mask``: bit i set when channel i is kept, from a register, ``latency`` enables later.
    A block takes one cycle per stage, and a new one can enter in every cycle. ``runtime_n``: how many are kept is the
    port ``n``, 1 .. M, which must not change while blocks are under way; ``n_keep`` is then not used. ``score_max``:
    no score is larger (default: any number of ``score_width`` bits); saves hardware.
    """

    def __init__(
        self,
        n_keep: int,
        m_group: int,
        score_width: int,
        *,
        latency: int,
        score_max: int | None = None,
        runtime_n: bool = False,
    ) -> None:
        self.n_keep = n_keep
        self.runtime_n = runtime_n
        self.m_group = m_group
        self.score_width = score_width
        self.score_max = (1 << score_width) - 1 if score_max is None else score_max
        self.latency = latency
        ports: dict[str, Any] = {"n": In(range(m_group + 1))} if runtime_n else {}
        super().__init__(
            ports
            | {
                "scores": In(data.ArrayLayout(unsigned(score_width), m_group)),
                "enable": In(latency),
                "mask": Out(m_group),
            }
        )

    def _keep(self) -> Value:
        """How many are kept."""
        return self.n if self.runtime_n else Const(self.n_keep, bits_for(self.n_keep + 1))


def resolve_selector(cfg: Config) -> Selector:
    """The selector the generator builds: the configured one, or the choice of ``auto`` by M and the score's width."""
    if cfg.selector is not Selector.AUTO:
        return cfg.selector
    if cfg.m_group > RANK_MAX_GROUP or cfg.flexible:
        return Selector.RADIX
    return Selector.RANK if cfg.score_width <= RANK_MAX_WIDTH else Selector.RANK2


def make_flexible(cfg: Config) -> FlexibleSelector:
    """The selector of a flexible configuration."""
    from flexnm_rtl.select_flexible import FlexibleSelector

    return FlexibleSelector(cfg.m_group, cfg.score_width, score_max=cfg.score_max)


def make_selector(cfg: Config, *, runtime_n: bool = False) -> SelectorBase:
    """The selector of a configuration; ``runtime_n``: with N as a port."""
    from flexnm_rtl.select_radix import RadixSelector
    from flexnm_rtl.select_rank import RankSelector

    kinds: dict[Selector, Callable[..., SelectorBase]] = {
        Selector.RANK: RankSelector,
        Selector.RANK2: partial(RankSelector, split=True),
        Selector.RADIX: RadixSelector,
    }
    build = kinds[resolve_selector(cfg)]
    return build(cfg.n_keep, cfg.m_group, cfg.score_width, score_max=cfg.score_max, runtime_n=runtime_n)
