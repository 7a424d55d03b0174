"""Functional coverage of runs: cocotb-coverage's files, merged, and what is said of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from flexnm_rtl.config import Config, ConfigError

from flexnm_tb.coverage.functional import ignored

CROSSES = {"data": "pattern x pauses x tokens", "outcomes": "pattern x pauses x error", "all": "all four"}
"""Crosses of ``flexnm_tb.coverage.functional``, and what is crossed."""


@dataclass(frozen=True)
class Functional:
    """hits: by point or cross, by bin. ignored: bins that cannot be, with the reason."""

    hits: Mapping[str, Mapping[str, int]]
    ignored: Mapping[str, str]

    def rate(self, name: str) -> float:
        """Bins hit of a point or cross, of all its bins."""
        bins = self.hits[name].values()
        return sum(count > 0 for count in bins) / len(bins)

    def never(self, name: str) -> list[str]:
        """Bins of a point or cross that were not hit."""
        return [found for found, count in self.hits[name].items() if not count]

    def cells(self) -> list[str]:
        """A cell of a table for each cross."""
        return [f"{100 * self.rate(name):.1f} % of {len(self.hits[name])}" for name in CROSSES]

    def lines(self) -> list[str]:
        """Bins of the two small crosses that were not hit."""
        return [f"{CROSSES[name]}: {found}" for name in ("data", "outcomes") for found in self.never(name)]

    def record(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "rates": {name: self.rate(name) for name in self.hits},
            "bins": {name: len(bins) for name, bins in self.hits.items()},
            "never": {name: self.never(name) for name in self.hits},
            "ignored": dict(self.ignored),
        }


def read_functional(files: Sequence[Path], top: str, cfg: Config) -> Functional:
    """What several runs of a unit's benches have hit together. Raises ConfigError for a file without these bins."""
    from cocotb_coverage.coverage import merge_coverage

    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder, "merged.xml")
        merge_coverage(lambda text: None, str(merged), *map(str, files))
        root = ElementTree.parse(merged).getroot()
    unit = root.find(top)
    if unit is None or not set(CROSSES) <= {point.tag for point in unit}:
        raise ConfigError(f"{files[0]} has no functional coverage of {top}: run with --fresh")
    hits = {point.tag: {b.attrib["bin"]: int(b.attrib["hits"]) for b in point} for point in unit}
    return Functional(hits, {f"{pattern} x {value}": why for (pattern, value), why in ignored(top, cfg).items()})
