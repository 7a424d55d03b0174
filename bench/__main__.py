"""The measurements of this folder: ``python bench`` lists them, ``python bench NAME [OPTIONS]`` runs one."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def measurements() -> dict[str, str]:
    """Name and first docstring line of every measurement."""
    scripts = sorted(path for path in FOLDER.glob("*.py") if not path.name.startswith("_"))
    docs = {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in scripts}
    return {name: text.partition("\n")[0] for name, text in docs.items()}


def main() -> int:
    """List, or run the one named; exit status 2 for a name that does not exist."""
    known = measurements()
    if len(sys.argv) < 2:
        print("Name one with NAME=..., its options go into ARGS='...' (ARGS=--help lists them):")
        for name, text in known.items():
            print(f"  {name:16} {text}")
        return 0
    name = sys.argv[1]
    if name not in known:
        print(f"error: NAME={name} is unknown: choose one of {', '.join(known)}", file=sys.stderr)
        return 2
    sys.argv = [str(FOLDER / f"{name}.py"), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
