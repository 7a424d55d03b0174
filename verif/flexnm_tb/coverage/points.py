"""Verilator's coverage files: reading, merging, counting.

A file is text, one point a line: ``C '<fields>' <count>``; a field is ``\\x01<key>\\x02<value>``. Keys used: ``f``
file, ``l`` line, ``n`` column, ``page`` ``v_<kind>/<module>``, ``o`` what of the line it is, ``h`` instance. Points of
several instances of a module are one point: it is covered when one of them was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flexnm_rtl.config import ConfigError

KINDS = ("line", "branch", "toggle")
_HEADER = "# SystemC::Coverage-3"
_LINE = re.compile(r"C '(.*)' (\d+)")
_MODULE = re.compile(r"module (\S+?) *\(")
_ESCAPED = re.compile(r"___05F|__0([0-9A-Fa-f]{2})")


@dataclass(frozen=True, order=True)
class Point:
    """Something that should happen. file: name without folder. part: which branch, or the bit and edge of a toggle."""

    file: str
    line: int
    column: int
    kind: str
    module: str
    part: str


def read_points(text: str) -> Counter[Point]:
    """Counts by point of a file's text. Raises ConfigError when it is not Verilator's coverage."""
    lines = text.splitlines()
    if not lines or lines[0] != _HEADER:
        raise ConfigError(f"not a coverage file of Verilator: its first line would be {_HEADER}")
    counts = Counter[Point]()
    for line in lines[1:]:
        found = _LINE.fullmatch(line)
        if not found:
            raise ConfigError(f"not a coverage point of Verilator: {line[:60]!r}")
        fields = dict(field.split("\x02", 1) for field in found[1].split("\x01") if field)
        kind, _, module = fields["page"].removeprefix("v_").partition("/")
        place = (Path(fields["f"]).name, int(fields["l"]), int(fields.get("n", 0)))
        counts[Point(*place, kind, module, _plain(fields.get("o", "")))] += int(found[2])
    return counts


def merge(parts: Iterable[Mapping[Point, int]]) -> Counter[Point]:
    """Counts added up; a point that is 0 everywhere stays, uncovered."""
    total = Counter[Point]()
    for part in parts:
        total.update(part)
    return total


def named(counts: Mapping[Point, int], sources: Mapping[str, Sequence[str]]) -> Counter[Point]:
    """The points with their modules' names from the Verilog, as Verilator hashes long ones. sources: lines by file."""
    found = Counter[Point]()
    for file, lines in sources.items():
        modules, name = [], ""
        for line in lines:
            start = _MODULE.match(line)
            name = start[1].removeprefix("\\") if start else name
            modules.append(name)
        own = {point: count for point, count in counts.items() if point.file == file}
        found.update({replace(point, module=modules[point.line - 1]): count for point, count in own.items()})
    return found


def _plain(name: str) -> str:
    """A name without Verilator's encoding: ``o___05Fvalid`` is ``o__valid``, ``__0242`` is ``$42``."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "__", name)


@dataclass(frozen=True)
class Share:
    """How many points of a kind there are, are covered, and are waived."""

    points: int
    covered: int
    waived: int

    @property
    def rate(self) -> float:
        """Covered, of those that are not waived."""
        return self.covered / (self.points - self.waived) if self.points > self.waived else 1.0


def share(counts: Mapping[Point, int], kinds: Iterable[str], waived: Iterable[Point] = ()) -> Share:
    """The share of some kinds of points. waived: points that need no cover, all of them uncovered."""
    wanted = set(kinds)
    own = [count for point, count in counts.items() if point.kind in wanted]
    left_out = sum(point.kind in wanted for point in waived)
    return Share(len(own), sum(count > 0 for count in own), left_out)
