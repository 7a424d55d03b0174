"""Helpers of the generator tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def python(code: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, with exactly the environment ``env`` added."""
    import os

    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
