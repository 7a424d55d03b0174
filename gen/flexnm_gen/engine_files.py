"""The files that only the engines come with: wrapper, flow files, register documents."""

from __future__ import annotations

from typing import Any

from flexnm_gen import flow_files
from flexnm_gen.axi_wrapper import axi_wrapper, wrapper_name
from flexnm_gen.register_docs import registers_page
from flexnm_gen.register_headers import c_header, python_header


def engine_files(manifest: dict[str, Any]) -> dict[str, str]:
    """Texts by file name, made from the manifest and the register map alone."""
    name = manifest["name"]
    return {
        f"{wrapper_name(manifest)}.v": axi_wrapper(manifest),
        f"{name}.core": flow_files.core_file(manifest),
        f"{name}.sdc": flow_files.sdc(manifest),
        f"{name}.xdc": flow_files.xdc(manifest),
        f"{name}.lpf": flow_files.lpf(manifest),
        f"{name}_template.v": flow_files.template(manifest),
        f"{name}_regs.h": c_header(manifest),
        f"{name}_regs.py": python_header(manifest),
        "registers.md": registers_page(manifest),
    }
