"""The plan as it stands in its files.

A file has entries of two kinds. ``[[promise]]``: ``id``, ``document`` (a path from the project's root), ``section``,
``text`` (words of that section), and what holds it:

- ``tests``: a test file, or ``file::function`` for one of its tests with all parameters;
- ``benches``: ``module.function``, cocotb tests of ``flexnm_tb.benches`` that the tests named beside them run;
- ``proofs``: beginnings of names of proofs;
- ``campaigns``: make targets, ``bench:NAME`` for a measurement of ``bench/``;
- ``note``: what else there is to say.

``[[silent]]``: ``document``, ``section``, ``why`` it promises nothing that could be tested.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from flexnm_rtl.config import ConfigError

FOLDER = Path("verif", "testplan")


@dataclass(frozen=True)
class Promise:
    """What a document says, and what holds it."""

    id: str
    document: str
    section: str
    text: str
    tests: tuple[str, ...] = ()
    benches: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()
    note: str = ""

    @property
    def holders(self) -> tuple[str, ...]:
        """All that is checked in a run, or by a command of its own. Benches run inside tests."""
        return self.tests + self.proofs + self.campaigns


@dataclass(frozen=True)
class Silent:
    """A section without a promise."""

    document: str
    section: str
    why: str


@dataclass(frozen=True)
class Plan:
    """All files together, in the order of their names."""

    promises: tuple[Promise, ...]
    silent: tuple[Silent, ...]

    @property
    def documents(self) -> list[str]:
        """Documents with an entry, README first."""
        names = {promise.document for promise in self.promises} | {entry.document for entry in self.silent}
        return sorted(names, key=lambda name: ("/" in name, name))


def load(folder: Path) -> Plan:
    """The plan of a folder. Raises ConfigError, one line that names the file, for what is no plan."""
    promises: list[Promise] = []
    silent: list[Silent] = []
    for file in sorted(folder.glob("*.toml")):
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file.name} is not TOML: {' '.join(str(error).split())}") from None
        unknown = sorted(set(content) - {"promise", "silent"})
        if unknown:
            raise ConfigError(f"{file.name} has a table {unknown[0]}: there are [[promise]] and [[silent]]")
        promises += (Promise(**values) for values in _entries(file.name, content, "promise", Promise))
        silent += (Silent(**values) for values in _entries(file.name, content, "silent", Silent))
    return Plan(tuple(promises), tuple(silent))


def _entries(file: str, content: dict[str, Any], table: str, kind: Any) -> Iterator[dict[str, Any]]:
    """Entries of a table, keys and types as in the dataclass ``kind``."""
    known = {field.name: field.default for field in fields(kind)}
    entries = content.get(table, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{file}: {table} is no list of tables: write [[{table}]]")
    for number, entry in enumerate(entries, 1):
        where = f"{file}: {table} {entry.get('id', number)}"
        wrong = sorted(entry.keys() - known.keys())
        if wrong:
            raise ConfigError(f"{where} has a key {wrong[0]}: there are {', '.join(known)}")
        lacking = [name for name, default in known.items() if default is MISSING and name not in entry]
        if lacking:
            raise ConfigError(f"{where} lacks {lacking[0]}")
        yield {name: _value(f"{where}: {name}", value, known[name]) for name, value in entry.items()}


def _value(where: str, value: object, default: object) -> str | tuple[str, ...]:
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ConfigError(f"{where} is no list of texts")
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where} is no text")
    return value
