"""What a bench knows when it starts: the manifest of the unit under test, its configuration, the seed."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexnm_rtl.config import Config

MANIFEST_VARIABLE = "FLEXNM_MANIFEST"
SEED_VARIABLE = "FLEXNM_SEED"
JOB_VARIABLE = "FLEXNM_JOB"


@dataclass(frozen=True)
class Context:
    """The manifest beside the Verilog, and what benches read from it."""

    manifest: dict[str, Any]
    seed: int

    @property
    def cfg(self) -> Config:
        """The configuration of the unit."""
        return Config.from_dict(self.manifest["config"])

    @property
    def latency(self) -> int:
        """Latency of the unit in cycles."""
        return int(self.manifest["latency"]["cycles"])

    def layout(self, stream: str) -> dict[str, Any]:
        """Payload layout of a stream."""
        name = f"{stream}__payload"
        port = next(p for p in self.manifest["ports"] if p["name"] == name)
        layout: dict[str, Any] = port["layout"]
        return layout

    def rng(self, salt: str) -> random.Random:
        """A generator of its own for each use, reproducible from the seed."""
        return random.Random(f"{self.seed}/{salt}")


def load() -> Context:
    """The context of the running simulation, from the environment."""
    manifest = json.loads(Path(os.environ[MANIFEST_VARIABLE]).read_text(encoding="utf-8"))
    return Context(manifest, int(os.environ[SEED_VARIABLE]))


def job() -> dict[str, Any]:
    """The job file of the running simulation."""
    content: dict[str, Any] = json.loads(Path(os.environ[JOB_VARIABLE]).read_text(encoding="utf-8"))
    return content
