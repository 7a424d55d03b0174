"""From a unit and a configuration to a folder with Verilog, manifest and port table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flexnm_rtl.config import Config
from flexnm_rtl.registers import REGISTER_MAPS

from flexnm_gen.engine_files import engine_files
from flexnm_gen.files import write_files
from flexnm_gen.manifest import build_manifest
from flexnm_gen.netlist import to_verilog
from flexnm_gen.port_table import port_table
from flexnm_gen.tops import find_top, module_name, settle


def generate(top: str, cfg: Config, out: Path) -> Path:
    """Write ``out/<name>/<name>.v``, ``<name>.json`` and ``ports.md``; returns the folder.

    Raises ConfigError for an unknown unit and OSError when the files cannot be written.
    """
    name, contents = render(top, cfg)
    folder = out / name
    write_files(folder, contents)
    return folder


def render(top: str, cfg: Config) -> tuple[str, dict[str, str]]:
    """Module name and file texts of a unit."""
    unit = find_top(top)
    cfg = settle(cfg)
    name = module_name(top, cfg)
    component = unit.build(cfg)
    manifest = build_manifest(component, top, name, cfg)
    contents = {
        f"{name}.v": _header(manifest) + to_verilog(component, name),
        f"{name}.json": json.dumps(manifest, indent=2) + "\n",
        "ports.md": port_table(manifest),
    }
    if top in REGISTER_MAPS:
        contents |= engine_files(manifest)
    return name, contents


def _header(manifest: dict[str, Any]) -> str:
    settings = " ".join(f"{key}={value}" for key, value in manifest["config"].items())
    return (
        f"// {manifest['name']}: flexnm {manifest['flexnm_version']}, unit {manifest['top']}\n"
        f"// {settings}\n"
        "// SPDX-License-Identifier: Apache-2.0\n"
        "/* verilator lint_off DECLFILENAME */\n"  # several modules in one file
    )
