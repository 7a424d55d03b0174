"""Builds the shared library of a configuration's engine, once: Verilog, Verilator, C++ compiler."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flexnm_gen.files import write_files
from flexnm_gen.generate import render
from flexnm_rtl.config import Config

from flexnm_tb.verilator import VerilatorError, default_cache, verilator_env

HARNESS = Path(__file__).with_name("harness.hpp")
SCRIPT = HARNESS.with_name("script.hpp")
OPTIMISE = os.environ.get("FLEXNM_OPTIMISE", "-O3")
"""Of the C++ compiler: for short runs ``-O1``, as in the tests, where compiling takes longer than simulating."""
VERILATE = ["--cc", "--build", "-j", "2", "--prefix", "Vengine", "-O3", "--x-assign", "fast", "--x-initial", "fast"]
VERILATE += ["--noassert", "-Wno-fatal", "-CFLAGS", f"-fPIC {OPTIMISE}"]


def beat_bytes(top: str, cfg: Config) -> dict[str, int]:
    """Bytes of a beat of each stream and bus of an engine."""
    if top == "decode":
        return {
            "ACT_BYTES": cfg.rows * cfg.dense_slot_bytes,
            "BUS_BYTES": cfg.bus_width // 8,
            "RESULT_BYTES": cfg.decode_result_ports * cfg.result_width // 8,
        }
    return {
        "ACT_BYTES": cfg.act_ports * cfg.act_slot_bytes,
        "WEIGHT_BYTES": cfg.weight_ports * cfg.weight_slot_bytes,
        "RESULT_BYTES": cfg.result_ports * cfg.result_width // 8,
    }


def build_library(top: str, cfg: Config) -> Path:
    """Path of the shared library of the engine ``top`` (linear or decode), in the cache.

    Its name is a hash of everything that goes into it.

    Raises VerilatorError, in one line and the compiler's last words, when it cannot be built.
    """
    name, sources = _sources(top, cfg)
    code = [path.read_text(encoding="utf-8") for path in (HARNESS, SCRIPT, _jobs(top))]
    beats = beat_bytes(top, cfg)
    env = {**os.environ, **verilator_env(default_cache())}
    version = subprocess.run(["verilator", "--version"], env=env, capture_output=True, text=True, check=False).stdout
    parts = [*sources.values(), *code, version, repr(VERILATE), repr(beats)]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    target = default_cache().resolve() / "engines" / f"{key}.so"
    if not target.exists():
        with _lock(target):
            if not target.exists():
                _build(sources, name, _jobs(top), beats, env, target)
    return target


@functools.cache  # a pool of engines asks for the same one again and again, and it takes seconds
def _sources(top: str, cfg: Config) -> tuple[str, dict[str, str]]:
    name, files = render(top, cfg)
    return name, {file: text for file, text in files.items() if file in (f"{name}.v", f"{name}_axi.v")}


def _jobs(top: str) -> Path:
    return HARNESS.with_name(f"{top}.cpp")


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(
    sources: dict[str, str], name: str, jobs: Path, beats: dict[str, int], env: dict[str, str], target: Path
) -> None:
    # The folder's name reaches the objects; a fixed one lets ccache find them again.
    work = target.with_suffix(".build")
    shutil.rmtree(work, ignore_errors=True)
    try:
        write_files(work, sources)
        _run(["verilator", *VERILATE, "--top-module", f"{name}_axi", "--Mdir", "obj", *sources], work, env)
        include = _include_folder(work / "obj" / "Vengine.mk")
        defines = [f"-D{macro}={value}" for macro, value in beats.items()]
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            library = Path(folder) / "engine.so"
            libraries = [f"obj/{archive}" for archive in ("libVengine.a", "libverilated.a")]
            compile_flags = ["-std=gnu++17", OPTIMISE, "-fPIC", "-shared", "-pthread", *defines]
            paths = ["-Iobj", f"-I{HARNESS.parent}", f"-I{include}", f"-I{include / 'vltstd'}"]
            _run(["c++", *compile_flags, *paths, str(jobs), *libraries, "-o", str(library)], work, env)
            library.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _include_folder(makefile: Path) -> Path:
    for line in makefile.read_text(encoding="utf-8").splitlines():
        if line.startswith("VERILATOR_ROOT ="):
            return Path(line.partition("=")[2].strip()) / "include"
    raise VerilatorError(f"{makefile.name} does not say where Verilator is: is its version supported?")


def _run(command: list[str], work: Path, env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " / ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise VerilatorError(f"the simulation of {work.name} cannot be built ({command[0]}: {words})")
