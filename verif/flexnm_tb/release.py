"""Builds what a release consists of twice, and gives it out only if both have the same bytes: ``make release``.

The two builds differ in everything that must not matter: folder, time stamps, permissions, hash seed, locale and time
zone. Out come the wheel, the Verilog of every preset as a tar file, and their SHA-256 sums.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import click
from flexnm_gen.files import write_files
from flexnm_model.cache import replacing
from flexnm_model.commands import progress_bar
from flexnm_rtl.config import ConfigError
from flexnm_rtl.presets import PRESETS
from rich.progress import Progress

PACKAGES = {"rtl": "flexnm_rtl", "gen": "flexnm_gen", "sw_model": "flexnm_model", "verif": "flexnm_tb"}
BESIDE = ("pyproject.toml", "README.md", "LICENSE")
ODDITIES: tuple[Mapping[str, str], ...] = (
    {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "UTC", "umask": "022", "mtime": "1000000000"},
    {"PYTHONHASHSEED": "4242", "LC_ALL": "C.UTF-8", "TZ": "Asia/Kathmandu", "umask": "077", "mtime": "1700000001"},
)
"""What the two builds are done under."""
SUMS = "SHA256SUMS"


class NotReproducible(Exception):  # noqa: N818
    """Two builds differ."""


def copy_sources(repository: Path, folder: Path, mtime: float) -> None:
    """What a wheel is made of, without caches, with time stamps of its own."""
    for name in BESIDE:
        shutil.copyfile(repository / name, folder / name)
    for parent, package in PACKAGES.items():
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(repository / parent / package, folder / parent / package, ignore=ignored)
    for path in folder.rglob("*"):
        os.utime(path, (mtime, mtime))


def tar_of(folder: Path, root: str) -> bytes:
    """A gzipped tar file of the files below ``folder``, by name, below ``root``, without time stamps and owners."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(f"{root}/{path.relative_to(folder).as_posix()}")
            content = path.read_bytes()
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def build(repository: Path, folder: Path, oddity: Mapping[str, str], presets: list[str], progress: Progress) -> Path:
    """One build in ``folder``; the folder of its files. Raises ConfigError with the last line of what fails."""
    source, verilog, out = (folder / name for name in ("source", "verilog", "out"))
    for made in (source, verilog, out):
        made.mkdir(parents=True)
    copy_sources(repository, source, float(oddity["mtime"]))
    paths = os.pathsep.join(str(source / parent) for parent in PACKAGES)
    env = {**os.environ, **{name: value for name, value in oddity.items() if name.isupper()}, "PYTHONPATH": paths}
    commands = [["-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(source)]]
    for name in presets:
        entry = "import sys; from flexnm_gen.cli import run; sys.exit(run(sys.argv[1:]))"
        commands.append(["-c", entry, "verilog", "--preset", name, "--top", "all", "--out", str(verilog / name)])
    task = progress.add_task(f"build, hash seed {oddity['PYTHONHASHSEED']}", total=len(commands))
    for command in commands:
        done = subprocess.run(
            [sys.executable, *command], cwd=source, env=env, umask=int(oddity["umask"], 8), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit status {done.returncode}"]
            raise ConfigError(f"the build failed ({' '.join(command[:4])}): {lines[-1]}")
        progress.advance(task)
    (wheel,) = out.glob("*.whl")
    root = "-".join(wheel.name.split("-")[:2]) + "-verilog"
    (out / f"{root}.tar.gz").write_bytes(tar_of(verilog, root))
    return out


def compare(first: Path, second: Path) -> dict[str, str]:
    """SHA-256 by file name. Raises NotReproducible for files that differ or that only one has."""
    sums = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
        for folder in (first, second)
    ]
    odd = sorted(name for name in sums[0].keys() | sums[1].keys() if sums[0].get(name) != sums[1].get(name))
    if odd:
        raise NotReproducible(f"two builds of {odd[0]} differ: none of them is kept")
    return sums[0]


def build_release(repository: Path, out: Path, presets: list[str], progress: Progress) -> dict[str, str]:
    """Build twice, compare, and put the files with their sums into ``out``; SHA-256 by file name."""
    with tempfile.TemporaryDirectory() as name:
        folders = [
            build(repository, Path(name, f"build{'x' * 9 * k}{k}"), oddity, presets, progress)
            for k, oddity in enumerate(ODDITIES)
        ]
        sums = compare(*folders)
        for file in sums:
            with replacing(out / file) as draft:
                shutil.copyfile(folders[0] / file, draft)
    write_files(out, {SUMS: "".join(f"{digest}  {file}\n" for file, digest in sums.items())})
    return sums


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("dist"), help="folder for the files")
@click.option("--preset", "chosen", multiple=True, help="Verilog of this preset only; may be given several times")
def release(out: Path, chosen: tuple[str, ...]) -> None:
    """Build wheel and Verilog twice, and keep them if both builds have the same bytes."""
    unknown = sorted(set(chosen) - PRESETS.keys())
    if unknown:
        raise ConfigError(f"unknown preset {unknown[0]}: choose one of {', '.join(PRESETS)}")
    repository = Path(__file__).resolve().parents[2]
    missing = [name for name in BESIDE if not (repository / name).is_file()]
    if missing:
        raise ConfigError(f"{missing[0]} is not beside the packages: make releases from a checkout")
    started = time.monotonic()
    with progress_bar() as progress:
        try:
            sums = build_release(repository, out, list(chosen or PRESETS), progress)
        except NotReproducible as error:
            progress.stop()
            click.echo(f"flexnm: error: {error}", err=True)
            raise click.exceptions.Exit(1) from None
    for name, digest in sums.items():
        click.echo(f"{digest}  {out / name}")
    click.echo(f"two builds, equal to the byte, {time.monotonic() - started:.0f} s: {out / SUMS}")
