"""Finished documents and windows of one setting, kept in the cache line by line, and the keys they are kept under."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flexnm_model.cache import cache_dir, digest
from flexnm_model.methods import Method, Parameters
from flexnm_model.methods.patterns import Planned

_PACKAGE = Path(__file__).parent
_ROOTS = ("methods/sparsify.py", "perplexity.py", "tasks/score.py", "tasks/formats.py")


class Journal:
    """Records by number, appended to one file of JSON lines; a line that an interruption cut off is ignored."""

    def __init__(self, *key: object) -> None:
        self.path: Path = cache_dir() / "accuracy" / f"{digest(*key)}.jsonl"
        self.records: dict[int, dict[str, Any]] = {}
        with contextlib.suppress(OSError):
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    self.records[int(record.pop("number"))] = record

    def add(self, records: dict[int, dict[str, Any]]) -> None:
        """Keep these records, on disk as well."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"number": number, **record}) for number, record in records.items()]
        with self.path.open("a", encoding="utf-8") as file:
            # The line end in front closes a line that was cut off.
            file.write("\n" + "\n".join(lines) + "\n")
        self.records |= records


def method_key(method: Method, parameters: Parameters) -> str:
    """Key of what a method does: its text, the contents of its plan, and those of the tensors it needs."""
    hasher = hashlib.sha256(str(method).encode())
    if isinstance(method.pattern, Planned):
        hasher.update(Path(method.pattern.file).read_bytes())
    for layer in sorted(parameters.layers):
        for name, tensor in sorted(parameters.layers[layer].items()):
            if name in method.needs:
                hasher.update(f"{layer}.{name} {tuple(tensor.shape)}".encode())
                hasher.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()[:20]


@functools.cache
def code_key(integer: bool) -> str:
    """Results of other code are other results: key of the sources they depend on, comments and docstrings left out.

    integer: for methods with @int8; the others do not depend on the integer model.
    """
    skipped = set() if integer else {"methods/integer.py", "integer_linear.py"}
    waiting = [_PACKAGE / name for name in _ROOTS]
    trees: dict[str, str] = {}
    while waiting:
        file = waiting.pop()
        name = file.relative_to(_PACKAGE).as_posix()
        if name not in trees and name not in skipped:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            waiting += _imported(tree)
            trees[name] = _bare(tree)
    return digest(sorted(trees.items()))


def _imported(tree: ast.Module) -> Iterator[Path]:
    """Files of this package that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == _PACKAGE.name:
            folder = _PACKAGE.parent / node.module.replace(".", "/")
            files = [folder.with_suffix(".py"), *(folder / f"{alias.name}.py" for alias in node.names)]
            yield from (file for file in files if file.is_file())


def _bare(tree: ast.Module) -> str:
    """The syntax tree, without docstrings."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                del body[0]
    return ast.dump(tree)
