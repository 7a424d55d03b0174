"""The commands ``flexnm verilog`` and ``flexnm presets``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
from flexnm_rtl.presets import DEFAULT_PRESET, PRESETS

from flexnm_gen.generate import generate
from flexnm_gen.options import config_options, make_config
from flexnm_gen.tops import ALL, TOPS, find_top

_EPILOG = "Units: " + "; ".join(f"{name}: {top.summary}" for name, top in TOPS.items()) + "."


@click.command(epilog=_EPILOG)
@config_options
@click.option("--top", default=ALL, show_default=True, help=f"Unit to write: {', '.join([ALL, *TOPS])}.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("build"), show_default=True, help="Folder for the units."
)
def verilog(top: str, out: Path, **settings: Any) -> None:
    """Write OUT/<name>/<name>.v, <name>.json (manifest) and ports.md for one unit or all of them.

    Files are rewritten only when they change; equal settings give equal bytes.

    Example: flexnm verilog --n 8 --m 16 --top compressor
    """
    cfg = make_config(**settings)
    names = list(TOPS) if top == ALL else [top]
    for name in names:
        find_top(name)
    # Most of the time goes into Yosys, a process of its own for each unit.
    with ThreadPoolExecutor() as pool:
        for folder in pool.map(lambda name: generate(name, cfg, out), names):
            click.echo(f"{folder / folder.name}.v")


@click.command()
def presets() -> None:
    """List the named configurations; the default is marked with a star."""
    for name, cfg in PRESETS.items():
        settings = " ".join(f"{key}={value}" for key, value in cfg.as_dict().items())
        click.echo(f"{'*' if name == DEFAULT_PRESET else ' '} {name:14} {settings}")
