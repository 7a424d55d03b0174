"""Liberty files: read, checked, and reduced to what mapping needs.

A foundry's file holds current waveforms, noise and power tables that make up nine tenths of it, and that every start
of ABC would read again.
"""

from __future__ import annotations

import functools
import gzip
import re
import shlex
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flexnm_rtl.config import ConfigError

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/|[{}]|"|/\*', re.DOTALL)
_HEAD = re.compile(r"([A-Za-z_]\w*)\s*\(([^(){};]*)\)\s*$")
_HEAD_LENGTH = 400  # characters before a brace in which the group's name is looked for
_GZIP = b"\x1f\x8b"
_SEQUENTIAL = frozenset({"ff", "ff_bank", "latch", "latch_bank", "statetable"})
_DROPPED = frozenset(
    {
        *("internal_power", "leakage_power", "power_lut_template", "pg_pin", "test_cell"),
        *("output_current_rise", "output_current_fall", "output_current_template", "normalized_driver_waveform"),
        *(f"receiver_capacitance{kind}" for kind in ("", "1_rise", "1_fall", "2_rise", "2_fall")),
        *("rise_capacitance_range", "fall_capacitance_range", "dc_current", "ccsn_first_stage", "ccsn_last_stage"),
        *("wire_load", "wire_load_selection"),
    }
)
"""Groups that neither Yosys nor ABC looks at."""


@dataclass(frozen=True)
class Cell:
    """A cell of a library.

    ``area``: in the library's unit, um2 as a rule. ``load``: capacitance of its first input, in the library's unit.
    ``sequential``: a flip-flop or a latch. ``kind``: ``inverter``; ``flop`` and ``inverting flop`` for a rising edge,
    with no more than clock and data in and one output, of the data or its inverse; empty for all others.
    """

    name: str
    area: float
    load: float
    sequential: bool
    kind: str


@dataclass(frozen=True)
class Library:
    """Liberty files ready for Yosys and ABC: their reduced ``texts``, the ``cells`` of all of them by name.

    ``load_ff``: femtofarads in the unit of the cells' ``load``.
    """

    texts: tuple[str, ...]
    cells: dict[str, Cell]
    load_ff: float

    @property
    def driver(self) -> Cell:
        """The inverter taken to drive every input and, four times, to load every output: the one above the smallest."""
        inverters = self._by_area("inverter")
        larger = [cell for cell in inverters if cell.area > inverters[0].area]
        return (larger or inverters)[0]

    @property
    def avoided(self) -> tuple[str, ...]:
        """Flip-flops that cost more than an inverting one and an inverter: Yosys would take them unasked."""
        plain, inverting = self._by_area("flop"), self._by_area("inverting flop")
        if not plain or not inverting or plain[0].area <= inverting[0].area + self._by_area("inverter")[0].area:
            return ()
        return tuple(cell.name for cell in plain)

    def _by_area(self, kind: str) -> list[Cell]:
        """The cells of a kind, smallest first."""
        return sorted((cell for cell in self.cells.values() if cell.kind == kind), key=lambda c: (c.area, c.name))


def split_files(text: str) -> list[Path]:
    """Files of a setting ``LIBERTY``, separated by blanks, quoted as in a shell. Raises ConfigError."""
    try:
        return [Path(name) for name in shlex.split(text)]
    except ValueError as error:
        raise ConfigError(f"LIBERTY={text} cannot be split into files: {error}") from None


def read_liberty(paths: Sequence[Path]) -> Library:
    """Read Liberty files, plain or gzipped, that make up one library.

    Raises ConfigError for a file that is missing, unreadable, damaged or no Liberty, and for a library without a
    flip-flop or an inverter.
    """
    if not paths:
        raise ConfigError("LIBERTY names no file: give the Liberty files of a standard-cell library")
    parts = [_read_cached(path, *_stamp(path)) for path in paths]
    cells = {name: cell for part in parts for name, cell in part.cells.items()}
    named = ", ".join(map(str, paths))
    if len({part.load_ff for part in parts}) > 1:
        raise ConfigError(f"LIBERTY={named}: the files differ in capacitive_load_unit, so they are not one library")
    for what, there in (
        ("flip-flop", any(cell.sequential for cell in cells.values())),
        ("inverter", any(cell.kind == "inverter" for cell in cells.values())),
    ):
        if not there:
            raise ConfigError(f"LIBERTY={named} has no {what}: give all files of the standard-cell library")
    return Library(tuple(text for part in parts for text in part.texts), cells, parts[0].load_ff)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"LIBERTY={path}: {error.strerror}") from None
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=16)
def _read_cached(path: Path, _time: int, _size: int) -> Library:
    """One file; the same one is read once."""
    text = _reduced(liberty_text(path), path)
    found = {name: _cell(name, body) for name, body in _parts(text, "cell").items()}
    unit = re.search(r'capacitive_load_unit\s*\(\s*([\d.eE+-]+)\s*,\s*"?(\w+)', text)
    scale = {"ff": 1.0, "pf": 1e3}.get(unit[2].lower(), 0.0) * float(unit[1]) if unit else 1e3
    if not scale:
        raise ConfigError(f"LIBERTY={path}: capacitive_load_unit must be in ff or pf")
    return Library((text,), found, scale)


def liberty_text(path: Path) -> str:
    """A Liberty file as it is, unpacked. Raises ConfigError for one that cannot be read."""
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
        return content.decode("utf-8", "replace")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"LIBERTY={path} is damaged: {error}") from None
    except OSError as error:
        raise ConfigError(f"LIBERTY={path}: {error.strerror}") from None


def _reduced(text: str, path: Path) -> str:
    """The text without comments and without the groups of ``_DROPPED``, line by line where it was.

    Raises ConfigError unless it is a library.
    """
    kept: list[str] = []
    position = depth = dropped = 0  # dropped: depth of the group that is being left out, 0 for none
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in ('"', "/*"):
            raise ConfigError(f"LIBERTY={path} is damaged: a text or a comment does not end")
        if mark.startswith("/*"):
            kept.append("" if dropped else text[position : token.start()])
            kept.append("\n" * mark.count("\n"))
            position = token.end()
        elif mark == "{":
            depth += 1
            head = None if dropped else _HEAD.search(text, max(position, token.start() - _HEAD_LENGTH), token.start())
            if depth == 1 and (head is None or head[1] != "library"):
                depth = 0
                break
            if head is not None and head[1] in _DROPPED:
                kept.append(text[position : head.start()])
                position, dropped = head.start(), depth
        elif mark == "}":
            if depth == dropped:
                kept.append("\n" * text.count("\n", position, token.end()))
                position, dropped = token.end(), 0
            depth -= 1
            if depth == 0:
                kept.append(text[position : token.end()])
                return "".join(kept) + "\n"
    if depth <= 0:
        raise ConfigError(f"LIBERTY={path} is no Liberty file: it does not begin with library (...) {{")
    raise ConfigError(f"LIBERTY={path} is damaged: {depth} groups do not end")


def _parts(text: str, kind: str) -> dict[str, str]:
    """Groups of a kind that follow each other: the text from one to the next, by name."""
    heads = list(re.finditer(rf'\b{kind}\s*\(\s*"?([^\s"()]+)"?\s*\)\s*{{', text))
    ends = [head.start() for head in heads[1:]] + [len(text)] * bool(heads)
    return {head[1]: text[head.end() : end] for head, end in zip(heads, ends, strict=True)}


def cell_functions(library: Library) -> dict[str, tuple[tuple[str, ...], dict[str, str]]]:
    """By cell: its input pins, and the functions of its outputs as they are written."""
    found = {}
    for name, body in (pair for text in library.texts for pair in _parts(text, "cell").items()):
        pins = _parts(body, "pin")
        inputs = tuple(pin for pin, text in pins.items() if _attribute(text, "direction") == "input")
        written = {pin: re.search(r'\bfunction\s*:\s*"([^"]*)"', text) for pin, text in pins.items()}
        found[name] = (inputs, {pin: text[1] for pin, text in written.items() if text and pin not in inputs})
    return found


def _cell(name: str, text: str) -> Cell:
    pins = _parts(text, "pin")
    inputs = [pin for pin, body in pins.items() if _attribute(body, "direction") == "input"]
    functions = [_attribute(body, "function") for pin, body in pins.items() if pin not in inputs]
    sequential = any(re.search(rf"\b{kind}\s*\(", text) for kind in _SEQUENTIAL)
    load = _attribute(pins[inputs[0]], "capacitance") if inputs else ""
    inverts = len(inputs) == 1 and functions in ([f"!{inputs[0]}"], [f"{inputs[0]}'"])
    kind = _flop(text, inputs, functions) if sequential else "inverter" if inverts else ""
    return Cell(name, _number(_attribute(text, "area")), _number(load), sequential, kind)


def _flop(text: str, inputs: list[str], functions: list[str]) -> str:
    """``Cell.kind`` of a sequential cell."""
    found = re.search(r'\bff\s*\(\s*"?(\w+)"?\s*,\s*"?(\w+)"?\s*\)\s*{([^{}]*)}', text)
    if found is None or len(inputs) != 2 or len(functions) != 1 or _attribute(found[3], "clocked_on") not in inputs:
        return ""
    state = _attribute(found[3], "next_state")
    inverted = state.startswith("!")
    if state.removeprefix("!") not in inputs or functions[0] not in (found[1], found[2]):
        return ""
    return "inverting flop" if inverted != (functions[0] == found[2]) else "flop"


def _attribute(body: str, key: str) -> str:
    """Value of the first attribute of that name, without quotes, blanks and parentheses; empty when there is none."""
    found = re.search(rf'\b{key}\s*:\s*(?:"([^"]*)"|([^;\s]+))', body)
    return re.sub(r"[\s()]", "", found[1] or found[2] or "") if found else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
