"""The table of a sweep: SQLite, one row a point. The process that runs the sweep is the only one that writes."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexnm_gen.synth import ASIC
from flexnm_model.cache import digest
from flexnm_rtl.config import ConfigError

from flexnm_tb.sweep.environment import Environment
from flexnm_tb.sweep.grid import Point, elements_per_cycle

MEASURED, INVALID, FAILED = "measured", "invalid", "failed"
"""Status of a point. invalid: it cannot be built. failed: something went wrong, the next run tries again."""

_FPGA_KINDS = ("luts", "flip_flops", "carry", "lut_ram", "block_ram", "dsp")
_ASIC_KINDS = ("area_um2", "sequential_area_um2", "cells", "memory_bits", "min_period_ps")
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table ``points``; docs/sweep.md says what the columns mean. None where there is nothing to say."""

    key: str
    status: str
    reason: str | None = None
    top: str
    target: str
    pattern: str
    n: int
    m: int
    selector: str | None = None
    metadata: str
    lanes: int | None = None
    array: str | None = None
    module: str | None = None
    clock_mhz: float
    area_um2: float | None = None
    sequential_area_um2: float | None = None
    cells: int | None = None
    memory_bits: int | None = None
    luts: int | None = None
    flip_flops: int | None = None
    carry: int | None = None
    lut_ram: int | None = None
    block_ram: int | None = None
    dsp: int | None = None
    min_period_ps: float | None = None
    fmax_mhz: float | None = None
    elements_per_cycle: float | None = None
    gelements_per_s: float | None = None
    area_per_element: float | None = None
    seconds: float | None = None
    record: str | None = None

    @property
    def name(self) -> str:
        """All that is set, for people."""
        parts = [self.top, self.pattern, self.selector, self.metadata, self.lanes and f"lanes={self.lanes}", self.array]
        return f"{' '.join(str(part) for part in parts if part)} on {self.target}"

    @property
    def size(self) -> float | None:
        """What plots call area: um2 of standard cells, LUTs of an FPGA."""
        return self.area_um2 if self.target == ASIC else self.luts

    @property
    def all_lanes(self) -> bool:
        """Whether a processing element takes a block a cycle."""
        return self.lanes == self.n


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))


def point_key(point: Point, environment: Environment) -> str:
    """Equal keys, equal figures."""
    return digest(dataclasses.astuple(point), environment.digest)


def without_figures(point: Point, environment: Environment, status: str, reason: str) -> Row:
    """The row of a point that is not measured."""
    return Row(
        key=point_key(point, environment),
        status=status,
        reason=" ".join(reason.split()),
        top=point.top,
        target=point.target,
        pattern=point.pattern,
        n=point.n,
        m=point.m,
        selector=point.selector,
        metadata=point.metadata,
        lanes=(int(point.lanes) if point.lanes.isdigit() else point.n) if point.lanes else None,
        array=point.array_text,
        clock_mhz=environment.shared["clock_mhz"],
    )


def with_figures(point: Point, environment: Environment, record: Mapping[str, Any]) -> Row:
    """The row of a measured point; ``record`` is that of ``flexnm_gen.synth.measure`` (docs/synth.md)."""
    figures = record["figures"]
    row = without_figures(point, environment, MEASURED, "")
    fmax, work = figures["fmax_mhz"], elements_per_cycle(point.top, point.cfg)
    kinds = _ASIC_KINDS if point.target == ASIC else _FPGA_KINDS
    row = dataclasses.replace(
        row,
        reason=figures["reason"],
        selector=point.selector and record["config"]["selector"],
        module=record["module"],
        fmax_mhz=fmax,
        elements_per_cycle=work,
        gelements_per_s=None if fmax is None else fmax * work / 1e3,
        seconds=record["seconds"],
        record=json.dumps(record, sort_keys=True),
        **{kind: figures[kind] for kind in kinds},
    )
    return dataclasses.replace(row, area_per_element=None if row.size is None else row.size / work)


class Store:
    """The table in a file, made when it is missing. A context manager; rows are on disk when ``add`` returns.

    Raises ConfigError for a file that is something else.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        names = ", ".join(f"{name} PRIMARY KEY" if name == "key" else name for name in COLUMNS)
        try:
            self._connection = sqlite3.connect(file, timeout=30)
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            with self._connection:
                self._connection.execute(f"CREATE TABLE IF NOT EXISTS points ({names})")
                self._connection.execute(f"PRAGMA user_version = {version or _VERSION}")
            found = [column[1] for column in self._connection.execute("PRAGMA table_info(points)")]
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                f"{file} cannot be used ({error}): move it away, or name another folder with OUT"
            ) from None
        if (version or _VERSION, found) != (_VERSION, list(COLUMNS)):
            self.close()
            raise ConfigError(f"{file} is of another version: move it away, or name another folder with OUT")

    def add(self, row: Row) -> None:
        """Write a row, in the place of one with the same key."""
        marks = ", ".join("?" * len(COLUMNS))
        with self._connection:
            values = [getattr(row, name) for name in COLUMNS]
            self._connection.execute(f"INSERT OR REPLACE INTO points VALUES ({marks})", values)

    def rows(self, keys: Iterable[str]) -> list[Row]:
        """Those of ``keys`` that are there, in their order."""
        names = ", ".join(COLUMNS)
        found = []
        for key in keys:
            values = self._connection.execute(f"SELECT {names} FROM points WHERE key = ?", [key]).fetchone()
            if values is not None:
                found.append(Row(**dict(zip(COLUMNS, values, strict=True))))
        return found

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
