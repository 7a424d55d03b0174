"""What mutmut changed in a function of the software model, and whether somebody knows why it goes unnoticed."""

from __future__ import annotations

import ast
import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_MARK = "__mutmut_"


class Change(NamedTuple):
    """One mutant. place: module and function, as in ``select.prune``. old, new: the statement without and with it."""

    place: str
    old: str
    new: str

    @property
    def identity(self) -> str:
        """A name that depends neither on the mutant's number nor on a line's."""
        return f"{self.place}: {self.new or 'without ' + self.old}"


class Reason(NamedTuple):
    """Why a mutant goes unnoticed. equivalent: nothing can notice it, so it does not count."""

    why: str
    equivalent: bool


class Reasons:
    """The entries of ``explained_model.toml``.

    why: the reason. equivalent: whether no test could notice. mutants: identities. ignoring: regular expressions; a
    change belongs here if both statements are the same without what one of them finds.
    """

    def __init__(self, path: Path) -> None:
        self.entries = tomllib.loads(path.read_text(encoding="utf-8"))["reason"]
        self.unused = {name for entry in self.entries for name in entry.get("mutants", ())}

    def find(self, change: Change) -> Reason | None:
        """The first entry that speaks of this change."""
        for entry in self.entries:
            rules = [re.compile(rule) for rule in entry.get("ignoring", ())]
            if change.identity in entry.get("mutants", ()):
                self.unused.discard(change.identity)
            elif not any(rule.sub("", change.old) == rule.sub("", change.new) for rule in rules):
                continue
            return Reason(entry["why"], entry.get("equivalent", False))
        return None


def functions(source: Path) -> Mapping[str, ast.FunctionDef]:
    """Every function of a file that mutmut wrote, mutants among them, by name."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def change(name: str, written: Mapping[str, ast.FunctionDef]) -> Change:
    """What the mutant ``name``, as in ``flexnm_model.select.x_prune__mutmut_3``, does to its function."""
    module, _, mutant = name.removeprefix("flexnm_model.").partition(".")
    function = mutant.rpartition(_MARK)[0]
    before, after = (
        ast.unparse(written[key]).splitlines()[1:] for key in (f"{function}{_MARK}orig", mutant)
    )  # the first line is the name
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    old, new = (" ".join(line[2:].strip() for line in changed if line[0] == sign) for sign in "-+")
    place = function.removeprefix("x_").replace("xǁ", "").replace("ǁ", ".")
    return Change(f"{module}.{place}", old, new)
