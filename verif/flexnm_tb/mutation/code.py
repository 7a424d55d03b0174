"""What code decides whether a mutant is noticed: of a test its own text and all that it imports from flexnm.

Comments, layout and other tests of the same module do not count, so a new test leaves earlier kills as they are.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from flexnm_model.cache import digest

_PACKAGES = ("flexnm_tb", "flexnm_model", "flexnm_rtl")
_OBSERVERS = ("flexnm_tb.coverage", "flexnm_tb.testplan")
"""They write down what a bench does and change nothing."""
_SESSION = Path(__file__).with_name("bench.py")


class Benches:
    """Modules of cocotb tests. Every name of a test is there once."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = {module: _tree(_file_of(module)) for module in modules}
        self._session = _tree(_SESSION)

    def all(self) -> str:
        """Digest of all tests."""
        shared = [ast.dump(tree) for tree in self._modules.values()]
        return digest(shared, [self._imported(module) for module in self._modules], ast.dump(self._session))

    def one(self, test: str) -> str:
        """Digest of one test; ``test`` is its name as cocotb gives it, with or without parameters. Empty: no such test.

        What is imported for other tests counts as well.
        """
        function = test.partition("/")[0]
        for module, tree in self._modules.items():
            if function in _tests(tree):
                body = [node for node in tree.body if getattr(node, "name", "") not in _tests(tree) - {function}]
                own = ast.dump(ast.Module(body, []))
                return digest([own], [self._imported(module)], ast.dump(self._session))
        return ""

    @functools.cache  # noqa: B019 - as long-lived as the process
    def _imported(self, module: str) -> list[str]:
        return [ast.dump(_tree(path)) for name, path in imports(module).items() if name != module]


def imports(module: str) -> dict[str, Path]:
    """Files of a module and of all that it imports from flexnm, but for what only observes, by name."""
    todo, found = [module], dict[str, Path]()
    while todo:
        name = todo.pop()
        path = _find(name)
        if name in found or path is None or name.startswith(_OBSERVERS):
            continue
        found[name] = path
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in _PACKAGES:
                todo += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return dict(sorted(found.items()))


def outline(path: Path) -> str:
    """A file's code without comments and layout."""
    return ast.dump(_tree(path))


def _tests(tree: ast.Module) -> set[str]:
    """Names of the cocotb tests: coroutines with a decorator."""
    return {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.decorator_list}


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _file_of(module: str) -> Path:
    path = _find(module)
    if path is None:
        raise ModuleNotFoundError(module)
    return path


@functools.cache
def _find(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # a function of a module, not a module of a package
        return None
    return Path(spec.origin) if spec and spec.origin else None
