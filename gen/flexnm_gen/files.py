"""Writing generated files: whole or not at all, and only when they change."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from flexnm_rtl.config import ConfigError


def check_folder(out: str | Path, content: str) -> None:
    """Raise ConfigError when ``out``, where ``content`` is to go, is there and no folder."""
    if Path(out).exists() and not Path(out).is_dir():
        raise ConfigError(f"{out} is a file: name a folder for the {content}")


def write_files(folder: Path, contents: Mapping[str, str]) -> list[Path]:
    """Write the named texts into ``folder`` (made when missing); returns the files that changed.

    Every text is complete on disk under a temporary name before the first file is put in place by a rename. Files
    that already hold their text keep their time stamp. Raises OSError when the folder cannot be written; nothing is
    left behind then.
    """
    stale = {name: text for name, text in contents.items() if _text(folder / name) != text}
    if not stale:
        return []
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    staged: dict[str, str] = {}
    try:
        for name, text in stale.items():
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
            staged[name] = temporary
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
        for name in list(staged):
            Path(staged[name]).replace(folder / name)
            del staged[name]
    finally:
        for temporary in staged.values():
            Path(temporary).unlink(missing_ok=True)
        if created and not any(folder.iterdir()):
            folder.rmdir()
    return [folder / name for name in stale]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
