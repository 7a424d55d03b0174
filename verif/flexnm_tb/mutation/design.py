"""From a component to one simulation that holds all its mutants."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cocotb_tools.runner import get_runner
from flexnm_gen.axi_wrapper import wrapper_name, wrapper_ports
from flexnm_gen.files import write_files
from flexnm_gen.generate import render
from flexnm_model.cache import cache_dir, digest

from flexnm_tb.mutation.code import Benches, outline
from flexnm_tb.mutation.components import Component
from flexnm_tb.mutation.mutant import Mutant
from flexnm_tb.mutation.yosys import CONTROL
from flexnm_tb.run import PORTS_ONLY, VERILATOR_ARGS, locked
from flexnm_tb.verilator import default_cache, verilator_env

_OWN = ("mutant.py", "yosys.py")


class MutationError(RuntimeError):
    """A step that must not fail did: the tools, or a bench on the original design."""


@dataclass(frozen=True)
class Design:
    """A component's Verilog and mutants. top: its module; toplevel: the one simulated. folder: holds everything of it,
    its name changes with all that the simulation is made from. internals: signals that benches look at, by module.
    """

    component: Component
    top: str
    toplevel: str
    ports: tuple[str, ...]
    sources: dict[str, str]
    mutants: tuple[Mutant, ...]
    internals: dict[str, tuple[str, ...]]
    folder: Path

    @property
    def width(self) -> int:
        """Bits of the input that chooses a mutant."""
        return len(self.mutants).bit_length()

    @property
    def manifest(self) -> Path:
        """The unit's manifest."""
        return self.folder / "manifest.json"

    @property
    def benches(self) -> Benches:
        """The tests that have to notice."""
        return Benches(self.component.benches)

    def source_line(self, mutant: Mutant) -> str:
        """The line of the generated Verilog that a mutant is in."""
        lines = self.sources[f"{self.top}.v"].splitlines()
        return lines[mutant.line - 1].strip() if mutant.line else ""


def prepare(component: Component, count: int, seed: int) -> Design:
    """Generate a component and choose its mutants. Raises MutationError when Yosys fails."""
    name, files = render(component.top, component.cfg)
    manifest = json.loads(files[f"{name}.json"])
    toplevel = wrapper_name(manifest) if component.wrapped else name
    ports = [p.name for p in wrapper_ports(manifest)] if component.wrapped else [p["name"] for p in manifest["ports"]]
    sources = {f"{part}.v": files[f"{part}.v"] for part in dict.fromkeys((name, toplevel))}
    internals: dict[str, tuple[str, ...]] = {}
    for bench in component.benches:
        found = getattr(importlib.import_module(bench), "INTERNALS", {})
        internals |= {f"{name}_{part}": signals for part, signals in found.items()}
    mutants = list_mutants(sources, toplevel, count, seed, internals)
    code = [outline(Path(__file__).with_name(file)) for file in _OWN]
    key = digest(sources, [asdict(mutant) for mutant in mutants], sorted(internals.items()), code)
    folder = cache_dir() / "mutation" / f"{component.name}-{key}"
    write_files(folder, {**sources, "manifest.json": files[f"{name}.json"]})
    return Design(component, name, toplevel, tuple(ports), sources, tuple(mutants), internals, folder)


def list_mutants(
    sources: dict[str, str], top: str, count: int, seed: int, internals: Mapping[str, Sequence[str]] | None = None
) -> list[Mutant]:
    """``count`` mutants (fewer where there are not as many) of the design, always the same for a seed.

    internals: signals by module that benches set, whose registers' outputs are left alone.
    """
    task = {"task": "list", "sources": list(sources), "top": top, "count": count, "seed": seed}
    text = yosys(task | {"internals": internals or {}}, sources)
    return [Mutant(**mutant) for mutant in json.loads(text)]


def mutated_verilog(design: Design) -> str:
    """The design with all its mutants in it."""
    task = {"task": "apply", "sources": list(design.sources), "top": design.toplevel, "width": design.width}
    return yosys(task | {"mutants": [asdict(mutant) for mutant in design.mutants]}, design.sources)


def yosys(task: dict[str, Any], sources: dict[str, str], timeout: float | None = None) -> str:
    """The output of a task of ``flexnm_tb.mutation.yosys``. Raises MutationError, and subprocess.TimeoutExpired."""
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), {**sources, "task.json": json.dumps({**task, "out": "out"})})
        command = [sys.executable, "-P", "-m", "flexnm_tb.mutation.yosys", "task.json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=timeout)
        result = Path(folder, "out")
        if done.returncode or not result.exists():
            raise MutationError(f"Yosys failed ({task['task']}): {(done.stdout + done.stderr)[-500:]}")
        return result.read_text(encoding="utf-8")


def build(design: Design) -> Path:
    """Build the simulation of all mutants, once, also when several processes want it; returns its folder."""
    work = design.folder / "sim"
    with locked(work):
        if not (work / "built").exists():
            _build(design, work)
    return work


def _build(design: Design, work: Path) -> None:
    os.environ.update(verilator_env(default_cache()))
    names = [(design.toplevel, name) for name in (*design.ports, CONTROL)]
    names += [(module, name) for module, inside in design.internals.items() for name in inside]
    public = "".join(f'public_flat_rw -module "{module}" -var "{name}"\n' for module, name in names)
    write_files(work, {"mutants.v": mutated_verilog(design), "ports.vlt": "`verilator_config\n" + public})
    runner = get_runner("verilator")
    with contextlib.redirect_stdout(sys.stderr):
        runner.build(
            sources=[work / "mutants.v"],
            hdl_toplevel=design.toplevel,
            build_dir=work,
            build_args=[*VERILATOR_ARGS, PORTS_ONLY, str(work / "ports.vlt")],
            timescale=("1ns", "1ps"),
            log_file=work / "build.log",
        )
    (work / "built").touch()
