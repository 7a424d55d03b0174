"""Writes constraints.txt anew: every package that ``pip install -e .[dev]`` brings, pinned, with hashes.

``make lock``, after a change of pyproject.toml. Pins that still fit stay. pip-compile, in an environment of its own,
resolves and collects hashes from where pip looks. A local build, as ``torch 2.13.0+cpu``, is pinned by its public
version, so that the index's own files of it are allowed as well: their hashes are added.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import venv
from pathlib import Path

from pip._internal.configuration import Configuration
from pip._internal.models.index import PyPI
from pip._internal.network.session import PipSession

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "constraints.txt"
HEAD = "# Every package that `pip install -e .[dev]` brings, with hashes (Python 3.11). `make lock` writes this file.\n"
COMPILER = "pip-tools==7.6.2"
OPTIONS = [
    "--pip-args=--use-pep517",
    "--generate-hashes",
    "--extra",
    "dev",
    "--allow-unsafe",
    "--strip-extras",
    "--no-header",
    "--no-annotate",
]
HIDDEN = ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host"]


def resolved(pins: str) -> str:
    """What pip-compile writes; pins: a constraints.txt whose versions are kept where they fit."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "constraints.txt")
        out.write_text(pins, encoding="utf-8")
        venv.create(Path(folder, "venv"), with_pip=True)
        python = Path(folder, "venv/bin/python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", COMPILER], check=True)
        command = ["piptools", "compile", "--quiet", *OPTIONS, *HIDDEN, "-o", str(out), "pyproject.toml"]
        subprocess.run([python, "-m", *command], cwd=REPOSITORY, check=True)
        return out.read_text(encoding="utf-8")


def index_hashes(name: str, version: str) -> set[str]:
    """SHA-256 of the wheels of a version that the package index itself has."""
    configuration = Configuration(isolated=False)
    configuration.load()
    index = dict(configuration.items()).get("global.index-url", PyPI.simple_url)
    answer = PipSession().get(f"{index.rstrip('/')}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    answer.raise_for_status()
    files = json.loads(answer.text)["files"]
    return {file["hashes"]["sha256"] for file in files if file["filename"].startswith(f"{name}-{version}-")}


def entries(text: str) -> dict[str, list[str]]:
    """Hashes by ``name==version``, of what pip-compile wrote."""
    found: dict[str, list[str]] = {}
    joined = re.sub(r"\\\n\s*", " ", text)
    for name, version, rest in re.findall(r"^([a-z0-9._-]+)==([^\s+]+)(\S*.*)$", joined, re.MULTILINE):
        hashes = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))
        if rest.startswith("+"):
            hashes |= index_hashes(name, version)
        found[f"{name}=={version}"] = sorted(hashes)
    return found


def main() -> None:
    """Replace constraints.txt."""
    found = entries(resolved(LOCK.read_text(encoding="utf-8")))
    lines = [
        " \\\n".join([pin, *(f"    --hash=sha256:{digest}" for digest in hashes)]) + "\n"
        for pin, hashes in sorted(found.items())
    ]
    LOCK.write_text(HEAD + "".join(lines), encoding="utf-8")
    print(f"{LOCK.name}: {len(found)} packages, {sum(map(len, found.values()))} hashes")


if __name__ == "__main__":
    main()
