"""The plan against the project: every section is dealt with, every quote and every name is there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from flexnm_tb.testplan.plan import Plan, Promise

_BENCHES = Path("verif", "flexnm_tb", "benches")


def sections(text: str) -> dict[str, str]:
    """Headings of a Markdown text down to ###, with the text below each, up to the next heading.

    A heading that occurs twice has the one above it in front: ``Linear engine / Parts``. Whitespace is one blank.
    """
    found: list[tuple[str, str, str]] = []
    above = {1: "", 2: ""}
    for part in re.split(r"^(?=#{1,3} )", text, flags=re.MULTILINE):
        heading = re.match(r"(#{1,3}) (.*)\n?", part)
        if heading is None:
            continue
        level, title = len(heading[1]), heading[2].strip()
        found.append((title, above.get(level - 1, ""), " ".join(part[heading.end() :].split())))
        above[level] = title
    count = Counter(title for title, _, _ in found)
    return {title if count[title] == 1 else f"{parent} / {title}": body for title, parent, body in found}


def documents(root: Path) -> list[str]:
    """The documents whose promises are planned."""
    return ["README.md", *(f"docs/{page.name}" for page in sorted((root / "docs").glob("*.md")))]


def errors(plan: Plan, root: Path, proofs: list[str]) -> list[str]:
    """What is wrong with the plan, a line each. ``proofs``: names of all proofs."""
    check = _Check(plan, root, proofs)
    return [
        *check.entries(),
        *check.sections(),
        *(line for promise in plan.promises for line in check.promise(promise)),
    ]


class _Check:
    def __init__(self, plan: Plan, root: Path, proofs: list[str]) -> None:
        self.plan, self.root, self.proofs = plan, root, proofs
        self._functions: dict[str, set[str] | None] = {}

    @cached_property
    def pages(self) -> dict[str, dict[str, str]]:
        """Sections by document."""
        return {name: sections((self.root / name).read_text(encoding="utf-8")) for name in documents(self.root)}

    @cached_property
    def targets(self) -> set[str]:
        """Targets of the Makefile that have a description."""
        return set(re.findall(r"^([a-z_]+):.*##", (self.root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    def entries(self) -> Iterator[str]:
        """Identities, and places that are not there."""
        for name, count in Counter(promise.id for promise in self.plan.promises).items():
            if not re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", name):
                yield f"{name}: an id is small letters and digits, with dots and hyphens between them"
            if count > 1:
                yield f"{name}: {count} promises have this id"
        places = [(promise.id, promise.document, promise.section) for promise in self.plan.promises]
        places += [("silent", entry.document, entry.section) for entry in self.plan.silent]
        for who, document, section in places:
            if document not in self.pages:
                yield f"{who}: there is no document {document}"
            elif section not in self.pages[document]:
                yield f"{who}: {document} has no section {section}"

    def sections(self) -> Iterator[str]:
        """Sections that nobody speaks of, or that are said to be silent and are not."""
        promised = {(promise.document, promise.section) for promise in self.plan.promises}
        silent = {(entry.document, entry.section) for entry in self.plan.silent}
        for document, page in self.pages.items():
            for section in page:
                if (document, section) not in promised | silent:
                    yield f"{document}, {section}: no promise, and not said to be silent"
        for document, section in sorted(promised & silent):
            yield f"{document}, {section}: said to be silent, but there is a promise"

    def promise(self, promise: Promise) -> Iterator[str]:
        """Quote and holders of a promise."""
        body = self.pages.get(promise.document, {}).get(promise.section)
        if body is not None and " ".join(promise.text.split()) not in body:
            yield f"{promise.id}: {promise.document}, {promise.section} does not say: {promise.text}"
        if not promise.holders:
            yield f"{promise.id}: no test, proof or campaign holds it"
        if promise.benches and not promise.tests:
            yield f"{promise.id}: benches, but no test that runs them"
        for test in promise.tests:
            file, _, name = test.partition("::")
            yield from self._function(promise.id, file, name)
        for bench in promise.benches:
            module, _, name = bench.partition(".")
            yield from self._function(promise.id, (_BENCHES / f"{module}.py").as_posix(), name or "(no name)")
        for prefix in promise.proofs:
            if not prefix or not any(proof.startswith(prefix) for proof in self.proofs):
                yield f"{promise.id}: no proof's name begins with {prefix!r}"
        for campaign in promise.campaigns:
            target, _, name = campaign.partition(":")
            if target not in self.targets:
                yield f"{promise.id}: the Makefile has no target {target}"
            elif name and not (self.root / "bench" / f"{name}.py").is_file():
                yield f"{promise.id}: there is no measurement {name} in bench"

    def _function(self, who: str, file: str, name: str) -> Iterator[str]:
        """Whether a function, or any test where no name is given, stands in a file."""
        if file not in self._functions:
            self._functions[file] = _functions(self.root / file)
        known = self._functions[file]
        if known is None:
            yield f"{who}: there is no file {file}"
        elif name and name not in known:
            yield f"{who}: {file} has no {name}"
        elif not name and not any(function.startswith("test_") for function in known):
            yield f"{who}: {file} has no test"


def _functions(file: Path) -> set[str] | None:
    """Functions on the first level of a Python file, None where there is none."""
    if not file.is_file():
        return None
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
