"""What all points of a target share: settings, library, versions of tools, the sources that generate and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flexnm_gen
import flexnm_rtl
from flexnm_gen.synth import ASIC, CLOCK_PS, prepare
from flexnm_model.cache import digest
from flexnm_rtl.config import ConfigError
from flexnm_rtl.presets import preset

SHARED = ("target", "clock_mhz", "device", "seed", "liberty", "tools")
"""Keys of a record (docs/synth.md) that are the same for all points of a target."""


@dataclass(frozen=True)
class Settings:
    """How points are measured. ``liberty``: files of a library (asic only), none for the default. ``clock_ps``: aim."""

    liberty: tuple[Path, ...] = ()
    clock_ps: float = CLOCK_PS

    def options(self, target: str) -> dict[str, Any]:
        """Arguments of ``flexnm_gen.synth.measure``."""
        return {"clock_ps": self.clock_ps} | ({"liberty": self.liberty} if target == ASIC else {})


@dataclass(frozen=True)
class Environment:
    """Of one target. ``shared``: ``SHARED`` of every record. ``digest``: changes with all the figures depend on, but
    the point. ``sources``: of the machine that runs the sweep.
    """

    shared: Mapping[str, Any]
    digest: str
    sources: str

    def differs(self, record: Mapping[str, Any]) -> str | None:
        """What a measurement did not share with this environment, or None: workers may stand elsewhere."""
        for name in ("tools", "liberty"):
            if record[name] != self.shared[name]:
                return f"{name} {record[name]} where it was measured, {self.shared[name]} here"
        return None


def source_digest() -> str:
    """Of the code that describes, generates and measures hardware, as it is now: it may change during a sweep."""
    folders = [Path(str(package.__file__)).parent for package in (flexnm_rtl, flexnm_gen)]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    return digest(*((file.name, file.read_bytes()) for file in files))


def environments(targets: Sequence[str], settings: Settings) -> dict[str, Environment]:
    """The environment of every target. Raises ConfigError where a library, a tool's package or a setting is wrong.

    The smallest unit is prepared for each, so that what would fail for every point fails here.
    """
    if settings.liberty and ASIC not in targets:
        raise ConfigError(f"LIBERTY is for {ASIC}: leave it out, or name {ASIC} among TARGETS")
    found = {}
    for target in targets:
        job = prepare("compressor", preset("n2m4"), target, **settings.options(target))
        shared = {name: job.inputs[name] for name in SHARED}
        found[target] = Environment(shared, digest(job.key, source_digest()), source_digest())
    return found
