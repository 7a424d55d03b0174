"""Points that no bench can reach, each with a reason, all of them in one file: verif/coverage_waivers.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexnm_rtl.config import ConfigError

from flexnm_tb.coverage.points import KINDS, Point

_KEYS = {"module", "kind", "source", "part", "reason"}


@dataclass(frozen=True)
class Waiver:
    """Uncovered points that need no cover: those for which all patterns (regular expressions, whole texts) fit.

    module: of Verilog. source: text of the line, without blanks around it. part: see ``Point``. kind: line, branch or
    toggle.
    """

    module: str
    kind: str
    source: str
    part: str
    reason: str

    def fits(self, point: Point, line: str) -> bool:
        """Whether an uncovered point on this line of Verilog is meant."""
        return (
            point.kind == self.kind
            and re.fullmatch(self.module, point.module) is not None
            and re.fullmatch(self.source, line.strip()) is not None
            and re.fullmatch(self.part, point.part) is not None
        )


def read_waivers(file: Path) -> list[Waiver]:
    """The waivers of a file, ``[[waiver]]`` each. Raises ConfigError for one that is incomplete or does not compile."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file.name} is no TOML: {error}") from None
    waivers = []
    for number, entry in enumerate(content.get("waiver", []), 1):
        entry = {"module": ".*", "source": ".*", "part": ".*"} | entry
        if set(entry) != _KEYS or not str(entry["reason"]).strip():
            raise ConfigError(
                f"{file.name}, waiver {number}: it must have kind and reason, and of module, source, part"
            )
        if entry["kind"] not in KINDS:
            raise ConfigError(f"{file.name}, waiver {number}: kind={entry['kind']} must be one of {', '.join(KINDS)}")
        try:
            for name in ("module", "source", "part"):
                re.compile(entry[name])
        except re.error as error:
            raise ConfigError(f"{file.name}, waiver {number}: {name} is no regular expression: {error}") from None
        waivers.append(Waiver(**entry))
    return waivers


def apply(
    waivers: Sequence[Waiver], counts: Mapping[Point, int], sources: Mapping[str, Sequence[str]]
) -> dict[Point, Waiver]:
    """The uncovered points that are waived. sources: lines by file."""
    found: dict[Point, Waiver] = {}
    for point in uncovered(counts):
        for waiver in waivers:
            if waiver.fits(point, _text(sources, point)):
                found.setdefault(point, waiver)
    return found


def check_used(waivers: Iterable[Waiver], used: Iterable[Waiver]) -> None:
    """Raises ConfigError for a waiver that fits no uncovered point: what it says is no longer so."""
    for waiver in set(waivers) - set(used):
        what = f"{waiver.kind}, module {waiver.module}, source {waiver.source}, part {waiver.part}"
        raise ConfigError(f"a waiver fits no uncovered point ({what}): remove it")


def uncovered(counts: Mapping[Point, int]) -> Iterable[Point]:
    """Points that never happened, in order of their place."""
    return sorted(point for point, count in counts.items() if not count)


def _text(sources: Mapping[str, Sequence[str]], point: Point) -> str:
    lines = sources.get(point.file, ())
    return lines[point.line - 1] if point.line <= len(lines) else ""
