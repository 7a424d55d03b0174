"""Size and clock rate of a unit in an FPGA: Yosys maps it, nextpnr places and routes it.

The unit stands in a harness of flip-flops (``flexnm_gen.fpga_harness``), so that every path counts, those of its ports
included. Its cells are counted before the harness is added; only what nextpnr says about the device includes both.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexnm_rtl.config import ConfigError

from flexnm_gen.fpga_targets import FPGA_TARGETS, Device, FpgaTarget

_MODELS = Path(__file__).with_name("fpga_models.v")
NO_ROUTE = "place and route was not asked for"
VIVADO = "Fmax needs place and route, which is Vivado's for this family"
_RUN = "import sys, {module} as tool; sys.exit(tool.{function}(sys.argv[1:]))"
_USED = re.compile(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", re.MULTILINE)


@dataclass(frozen=True)
class Routed:
    """What nextpnr says of unit and harness on a device.

    ``fmax_mhz``: of the clock; None where it failed, ``reason`` says why. ``used``: cells in use and cells there are,
    of ``FpgaTarget.resources``. ``critical_path``: start and end (cell and port), ``logic_ns``, ``routing_ns``.
    """

    part: str
    seed: int
    fmax_mhz: float | None
    reason: str | None
    used: Mapping[str, tuple[int, int]]
    critical_path: Mapping[str, Any] | None

    @property
    def used_fraction(self) -> float | None:
        """The largest share of any kind of cell that is in use; above 1 where the design does not fit."""
        return max((used / there for used, there in self.used.values() if there), default=None)


@dataclass(frozen=True)
class FpgaCost:
    """A unit in an FPGA. ``luts``, ``flip_flops``, ``carry`` (cells of carry chains), ``lut_ram`` (cells of LUTs that
    serve as memory), ``block_ram`` and ``dsp``: cells of the unit alone; ``cells``: the same by type.

    ``harness``: cells around it, by type. ``routed``: None when it was only synthesised; ``reason`` says why.
    """

    luts: int
    flip_flops: int
    carry: int
    lut_ram: int
    block_ram: int
    dsp: int
    cells: Mapping[str, int]
    harness: Mapping[str, int]
    device: str | None
    routed: Routed | None
    reason: str | None

    @property
    def fmax_mhz(self) -> float | None:
        """Largest clock rate in MHz; None where it was not placed and routed."""
        return self.routed.fmax_mhz if self.routed else None


def map_fpga(
    source: str,
    top: str,
    target: str,
    *,
    device: str | None = None,
    seed: int = 1,
    freq_mhz: float = 100.0,
    route: bool = True,
    step: Callable[[str], object] = str,
) -> FpgaCost:
    """Map Verilog text with top module ``top`` to ``target``, one of ``FPGA_TARGETS``; place and route it where nextpnr
    knows the family and ``route`` says so. ``step`` is told what begins.

    ``freq_mhz``: clock rate that nextpnr aims at. ``seed``: of its placement. A design that fails to fit is no error.
    Raises ConfigError for an unknown device, RuntimeError where Yosys fails.
    """
    family = FPGA_TARGETS[target]
    routable = bool(family.devices)
    name, chosen = family.device(device) if routable or device else (None, None)
    with tempfile.TemporaryDirectory(prefix="flexnm-") as folder:
        step(f"Yosys maps {top}")
        found = _synthesise(source, top, family, chosen, Path(folder), harness=routable and route)
        routed = None
        if chosen is not None and route:
            step(f"nextpnr places and routes {top} on {chosen.part}")
            routed = _route(family, chosen, seed, freq_mhz, Path(folder))
    reason = routed.reason if routed else NO_ROUTE if routable else VIVADO
    counts = family.counts(found["unit"])
    return FpgaCost(**counts, cells=found["unit"], harness=found["harness"], device=name, routed=routed, reason=reason)


def fpga_behaviour(source: str, top: str, target: str, *, device: str | None = None) -> str:
    """Verilog of what the cells of ``target`` compute that ``top``, of Verilog text, becomes: for simulation.

    One module with the ports of ``top`` and no delays. The cells' functions are Yosys's, those of ``fpga_models.v``
    apart. Raises ConfigError for a target whose cells have none, RuntimeError where Yosys fails.
    """
    family = FPGA_TARGETS[target]
    if not family.models:
        known = ", ".join(name for name, other in FPGA_TARGETS.items() if other.models)
        raise ConfigError(f"there are no models of all cells of {target}: choose from {known}")
    chosen = family.device(device)[1] if family.devices else None
    with tempfile.TemporaryDirectory(prefix="flexnm-") as name:
        folder = Path(name)
        shutil.copyfile(_MODELS, folder / "models.v")
        _synthesise(source, top, family, chosen, folder, harness=False, behaviour=_behaviour(family))
        return (folder / "behaviour.v").read_text(encoding="utf-8")


def _behaviour(family: FpgaTarget) -> list[str]:
    """Yosys commands that give every cell of the family its function."""
    library = f"+/{family.models}"
    return ["techmap -autoproc -map models.v", f"read_verilog -overwrite -I+/{Path(family.models).parent} {library}"]


def _synthesise(
    source: str,
    top: str,
    family: FpgaTarget,
    device: Device | None,
    folder: Path,
    *,
    harness: bool,
    behaviour: Sequence[str] = (),
) -> dict[str, Any]:
    """Cells of unit and harness as ``fpga_map`` writes them; ``netlist.json`` in the folder with a harness."""
    script = f"{family.script} {device.options if device else ''}"
    settings = {
        "top": top,
        "script": script,
        "pads": family.pads,
        "own_registers": family.own_registers,
        "harness": harness,
        "behaviour": behaviour,
    }
    (folder / "design.v").write_text(source, encoding="utf-8")
    (folder / "settings").write_text(json.dumps(settings), encoding="utf-8")
    done = _start(["-m", "flexnm_gen.fpga_map", "settings", "result"], folder)
    if done.returncode:
        raise RuntimeError(f"Yosys failed on {top}: {_error(done.stdout + done.stderr)}")
    found: dict[str, Any] = json.loads((folder / "result").read_text(encoding="utf-8"))
    return found


def _route(family: FpgaTarget, device: Device, seed: int, freq_mhz: float, folder: Path) -> Routed:
    """Run nextpnr on ``netlist.json`` in the folder. Its files are named relatively: YoWASP has a /tmp of its own."""
    (folder / "harness.cst").write_text(device.pins, encoding="utf-8")
    part, files = device.part, ["--json", "netlist.json", "--report", "report.json", "--timing-allow-fail"]
    run = _RUN.format(module=family.module, function=family.function)
    done = _start(["-c", run, *device.arguments, *files, "--seed", str(seed), "--freq", f"{freq_mhz:g}"], folder)
    log = done.stdout + done.stderr
    used = {name: (int(there), int(most)) for name, there, most in _USED.findall(log)}
    if done.returncode:
        return Routed(part, seed, None, _too_big(part, used) or _error(log), _known(family, used), None)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    counted = {name: (int(entry["used"]), int(entry["available"])) for name, entry in report["utilization"].items()}
    used = _known(family, counted)
    rates = [entry["achieved"] for entry in report["fmax"].values()]
    paths = [path for path in report["critical_paths"] if path["from"] == path["to"] and "async" not in path["from"]]
    if not rates or not paths:
        return Routed(part, seed, None, "nextpnr reports no clock rate", used, None)
    return Routed(part, seed, round(min(rates), 2), None, used, _critical(paths[0]["path"]))


def _known(family: FpgaTarget, used: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {name: used[name] for name in family.resources if name in used}


def _critical(path: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Start, end and delays (ns) of a path of nextpnr's report."""
    delays = {"logic": 0.0, "routing": 0.0}
    for step in path:
        delays["routing" if step["type"] == "routing" else "logic"] += step["delay"]
    first, last = path[0]["from"], path[-1]["to"]
    return {
        "start": f"{first['cell']}.{first['port']}",
        "end": f"{last['cell']}.{last['port']}",
        **{f"{kind}_ns": round(delay, 3) for kind, delay in delays.items()},
    }


def _too_big(part: str, used: Mapping[str, tuple[int, int]]) -> str | None:
    """One line on what a device has too little of."""
    lacking = [f"{need} {name}, there are {there}" for name, (need, there) in used.items() if need > there]
    return f"{part} is too small: it needs {'; '.join(lacking)}" if lacking else None


def _error(log: str) -> str:
    found = re.findall(r"^(?:ERROR:|\w*Error:)\s*(.+)$", log, re.MULTILINE)
    return str(found[0]).strip() if found else "the program ended without a result"


def _start(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run this Python in the folder, where temporary files go; compiled WebAssembly goes into FLEXNM_CACHE if set."""
    environment = os.environ | {"TMPDIR": str(folder)}
    if "FLEXNM_CACHE" in os.environ:
        environment.setdefault("YOWASP_CACHE_DIR", str(Path(os.environ["FLEXNM_CACHE"]).resolve() / "yowasp"))
    return subprocess.run(
        [sys.executable, "-P", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
