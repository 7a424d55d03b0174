"""The best of several mappings of one design."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

from flexnm_rtl.config import ConfigError

from flexnm_gen.asic import Mapped, map_area
from flexnm_gen.asic_recipes import RECIPES, USUAL, Hierarchy, Recipe
from flexnm_gen.full_adder import full_adder
from flexnm_gen.liberty import read_liberty
from flexnm_gen.timing import minimum_period


class Effort(StrEnum):
    """``fast``: one recipe. ``best``: all of them, and the best result."""

    FAST = "fast"
    BEST = "best"


def map_best(
    source: str,
    top: str,
    liberty: Sequence[Path],
    *,
    clock_ps: float | None = None,
    hierarchy: Hierarchy = Hierarchy.REPEATED,
    effort: Effort = Effort.BEST,
    jobs: int = 0,
) -> Mapped:
    """``map_area`` by every recipe, ``jobs`` at a time (0: as many as processors), and of the results the best one.

    That is the smallest that meets the clock by OpenSTA; where none does, the fastest. Without a clock, without ``sta``
    or without any path to time: the smallest. Equal results: the earlier recipe of ``RECIPES``. Raises ConfigError.
    """
    recipes = recipes_of(liberty, effort)

    def mapped(recipe: Recipe) -> Mapped:
        return map_area(source, top, liberty, clock_ps=clock_ps, hierarchy=hierarchy, recipe=recipe)

    if len(recipes) == 1:
        return mapped(recipes[0])
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        rated = pool.map(lambda recipe: _rated(mapped(recipe), liberty, clock_ps), recipes)
        return min(rated, key=lambda pair: pair[0])[1]


def recipes_of(liberty: Sequence[Path], effort: Effort) -> tuple[Recipe, ...]:
    """Those to try: with full adders only where the library has such a cell."""
    if effort is Effort.FAST:
        return (USUAL,)
    adder = full_adder(read_liberty(liberty))
    return tuple(recipe for recipe in RECIPES if adder or not recipe.full_adders)


def _rated(mapped: Mapped, liberty: Sequence[Path], clock_ps: float | None) -> tuple[tuple[float, float], Mapped]:
    """A mapping, and what is least for the best one: the time beyond the clock, then the area."""
    late = 0.0
    if clock_ps and shutil.which("sta"):
        try:
            late = max(0.0, minimum_period(mapped, liberty).period_ps - clock_ps)
        except (ConfigError, ValueError):  # a library that sta does not read, or nothing but memories
            late = 0.0
    return (late, mapped.area), mapped
