"""The axes of a sweep, and the points between them: which designs are measured on which targets."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TypeVar

from flexnm_gen.synth import TARGETS
from flexnm_gen.tops import module_name
from flexnm_rtl.config import Config, ConfigError, Metadata, Selector

ALL_LANES = "N"
"""Written among ``LANES``: as many multipliers in a processing element as values are kept."""
LIMIT = 100_000
"""Most combinations that are looked at."""

UNITS: dict[str, tuple[str, ...]] = {
    "compressor": ("selector", "metadata"),
    "decompressor": ("metadata",),
    "dense_splitter": ("metadata",),
    "mac_array": ("lanes", "array", "metadata"),
    "linear": ("selector", "lanes", "array", "metadata"),
}
"""Units with a throughput of their own, and the axes that each depends on. The decode engine's is its memory's."""

_T = TypeVar("_T")


def elements_per_cycle(top: str, cfg: Config) -> float:
    """Dense elements that a unit takes care of in a cycle.

    Units on the way of the activations: channels of a block, M. The splitter needs ``dense_beats`` cycles for them.
    Array and engine: products of the dense matrix product, of which N of M are computed, rows x cols x M / steps.
    """
    if top in ("mac_array", "linear"):
        return cfg.rows * cfg.cols * cfg.m_group / cfg.steps
    return cfg.m_group / (cfg.dense_beats if top == "dense_splitter" else 1)


@dataclass(frozen=True)
class Point:
    """One design on one target. An axis that the unit does not depend on is None. ``lanes``: a number or ``N``."""

    top: str
    target: str
    n: int
    m: int
    selector: str | None
    metadata: str
    lanes: str | None
    array: tuple[int, int] | None

    @property
    def cfg(self) -> Config:
        """The configuration; what is not an axis is as in the default preset. Raises ConfigError."""
        rows, cols = self.array or (1, 1)
        lanes = self.n if self.lanes in (None, ALL_LANES) else int(str(self.lanes))
        return Config(
            n_keep=self.n,
            m_group=self.m,
            rows=rows,
            cols=cols,
            lanes=max(1, lanes),
            metadata=Metadata(self.metadata),
            selector=Selector(self.selector or Selector.AUTO),
        )

    @property
    def pattern(self) -> str:
        """``8:16``."""
        return f"{self.n}:{self.m}"

    @property
    def array_text(self) -> str | None:
        """``4x8``, rows first."""
        return None if self.array is None else f"{self.array[0]}x{self.array[1]}"


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The values of every axis, each at least once; ``Axes.parse`` reads them as people write them."""

    patterns: tuple[tuple[int, int], ...]
    tops: tuple[str, ...]
    selectors: tuple[str, ...]
    lanes: tuple[str, ...]
    arrays: tuple[tuple[int, int], ...]
    metadata: tuple[str, ...]
    targets: tuple[str, ...]

    @classmethod
    def parse(cls, **written: str) -> Axes:
        """From lists with commas, one for each axis: ``patterns="2:4,8:16"``, ``arrays="4x8"``. Raises ConfigError."""
        readers: dict[str, Callable[[str, str], object]] = {
            "patterns": lambda name, text: _pair(name, text, ":", "8:16"),
            "tops": _choice(UNITS),
            "selectors": _choice(Selector),
            "lanes": _lanes,
            "arrays": lambda name, text: _pair(name, text, "x", "4x8"),
            "metadata": _choice(Metadata),
            "targets": _choice(TARGETS),
        }
        return cls(**{axis: _list(axis.upper(), written[axis], reader) for axis, reader in readers.items()})  # type: ignore[arg-type]

    def describe(self) -> dict[str, str]:
        """The axes as ``parse`` reads them, in the order of ``make sweep``'s settings."""
        texts: dict[str, str] = {}
        for axis in fields(self):
            joint = {"patterns": ":", "arrays": "x"}.get(axis.name, "")
            values = getattr(self, axis.name)
            texts[axis.name] = ",".join(joint.join(map(str, v)) if joint else v for v in values)
        return texts

    def points(self) -> list[Point]:
        """All different designs on all targets; those that cannot be built are among them.

        Two combinations are the same design when the generator gives them one module name (``auto`` and what it
        chooses, for example); the first stays. Raises ConfigError for more than ``LIMIT`` combinations.
        """
        number = 1
        for axis in fields(self):
            number *= len(getattr(self, axis.name))
        if number > LIMIT:
            raise ConfigError(f"the axes have {number} combinations: leave at most {LIMIT}")
        found: dict[tuple[object, ...], Point] = {}
        for target, top, (n, m) in itertools.product(self.targets, self.tops, self.patterns):
            relevant = UNITS[top]
            choices = itertools.product(
                self.selectors if "selector" in relevant else [None],
                self.metadata,
                self.lanes if "lanes" in relevant else [None],
                self.arrays if "array" in relevant else [None],
            )
            for selector, metadata, lanes, array in choices:
                point = Point(top, target, n, m, selector, metadata, lanes, array)
                found.setdefault(_identity(point), point)
        return list(found.values())


def _identity(point: Point) -> tuple[object, ...]:
    try:
        return (point.target, module_name(point.top, point.cfg))
    except ConfigError:
        return (point,)


def _list(name: str, text: str, read: Callable[[str, str], _T]) -> tuple[_T, ...]:
    items = [part.strip() for part in text.split(",") if part.strip()]
    if not items:
        raise ConfigError(f"{name} is empty: give at least one value")
    return tuple(dict.fromkeys(read(name, item) for item in items))


def _pair(name: str, text: str, joint: str, example: str) -> tuple[int, int]:
    found = re.fullmatch(rf"(\d{{1,6}}){joint}(\d{{1,6}})", text)
    if found is None:
        raise ConfigError(f"{name}: {text} is not understood: write for example {example}")
    return int(found[1]), int(found[2])


def _lanes(name: str, text: str) -> str:
    if text != ALL_LANES and not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise ConfigError(f"{name}: {text} is not understood: write numbers, or {ALL_LANES} for as many as are kept")
    return text


def _choice(known: Iterable[str]) -> Callable[[str, str], str]:
    names = [str(name) for name in known]

    def read(name: str, text: str) -> str:
        if text not in names:
            raise ConfigError(f"{name}: {text} is unknown: choose from {', '.join(names)}")
        return text

    return read
