"""The commands ``flexnm verilog`` and ``flexnm presets``."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click
from flexnm_rtl.config import Config
from flexnm_rtl.presets import DEFAULT_PRESET, PRESETS

from flexnm_gen.generate import generate
from flexnm_gen.options import config_options, make_config
from flexnm_gen.tops import ALL, LARGEST, TOPS, UNITS, chosen_tops

_EPILOG = "Units: " + "; ".join(f"{name}: {top.summary}" for name, top in TOPS.items()) + "."


@click.command(epilog=_EPILOG)
@config_options
@click.option(
    "--top",
    default=UNITS,
    show_default=True,
    help=f"Unit to write: {', '.join(TOPS)}; {UNITS}: all but the engines; {ALL}: all.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("build"), show_default=True, help="Folder for the units."
)
def verilog(top: str, out: Path, **settings: Any) -> None:
    """Write OUT/<name>/<name>.v, <name>.json (manifest) and ports.md for one unit or all of them.

    Files are rewritten only when they change; equal settings give equal bytes.

    Example: flexnm verilog --n 8 --m 16 --top compressor
    """
    cfg = make_config(**settings)
    names = chosen_tops(top)
    for folder in _generate_all(names, cfg, out):
        click.echo(f"{folder / folder.name}.v")


def _generate_all(names: list[str], cfg: Config, out: Path) -> list[Path]:
    """Folders of the units, in order; a process for each processor, because conversion is pure Python."""
    if len(names) == 1:
        return [generate(names[0], cfg, out)]
    with ProcessPoolExecutor(min(len(names), os.cpu_count() or 1), initializer=_ignore_interrupts) as pool:
        # The largest unit decides how long all of them take, so it goes first.
        order = sorted(names, key=lambda name: name != LARGEST)
        futures = {name: pool.submit(generate, name, cfg, out) for name in order}
        try:
            return [futures[name].result() for name in names]
        except BaseException:
            # Waited for: processes of a second pool, forked beside the threads of this one, might never start.
            pool.shutdown(cancel_futures=True)
            raise


def _ignore_interrupts() -> None:
    """Ctrl-C reaches the whole process group: the parent alone says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@click.command()
def presets() -> None:
    """List the named configurations; the default is marked with a star."""
    for name, cfg in PRESETS.items():
        settings = " ".join(f"{key}={value}" for key, value in cfg.as_dict().items())
        click.echo(f"{'*' if name == DEFAULT_PRESET else ' '} {name:14} {settings}")
