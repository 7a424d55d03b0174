"""Cycles a second of the simulated engine's driver against a bare clock loop: ``python bench engine_speed``.

Both run the same Verilated model in the same process, in turns, on the same job: the driver with its three streams
and real packets, the bare loop with one random beat held on each input, results ignored. Best of the repetitions,
since other work on the machine only ever adds time. The difference is what driving the streams costs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from flexnm_model.driver import LinearDriver
from flexnm_model.packing import pack_acts
from flexnm_rtl.config import Config
from flexnm_rtl.presets import preset
from flexnm_rtl.registers import BY_NAME
from flexnm_tb.cosim.engine import SimulatedEngine
from rich.console import Console
from rich.table import Table

SHAPES = ((576, 192), (576, 1536), (1536, 576))
TOKENS = 64


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


class Job:
    """One layer's job, startable again and again."""

    def __init__(self, engine: SimulatedEngine, cfg: Config, channels: int, outputs: int) -> None:
        generator = torch.Generator().manual_seed(channels)
        x = torch.randint(-128, 128, (TOKENS, channels), generator=generator)
        w = torch.randint(-128, 128, (outputs, channels), generator=generator)
        self.engine = engine
        self.driver = LinearDriver(engine, cfg)
        self.weights = self.driver.prepare(w)
        self.acts = pack_acts(x, cfg)
        result = self.driver.run(x, self.weights)  # leaves the job registers as they have to be
        self.cycles = result.counters["cycles"]
        self.result_bytes = result.results.numel() * cfg.result_width // 8

    def start(self) -> None:
        """Write the start command."""
        self.engine.write(BY_NAME["control"].offset, BY_NAME["control"].encode(start=1))

    def drive(self) -> None:
        """The whole job through the driver's streams."""
        self.engine.stream(self.acts, self.weights.packet, self.result_bytes)

    def toggle(self) -> None:
        """As many bare cycles."""
        acts, weights = (self.engine.beats[name] for name in ("ACT_BYTES", "WEIGHT_BYTES"))
        self.engine.toggle(bytes(self.acts[:acts]), bytes(self.weights.packet[:weights]), self.cycles)


def measure(engine: SimulatedEngine, cfg: Config, channels: int, outputs: int, repeat: int) -> dict[str, float]:
    """Best rates of both loops in cycles a second, and their ratio."""
    job = Job(engine, cfg, channels, outputs)
    driven, bare = [], []
    for _ in range(repeat):
        job.start()
        driven.append(seconds(job.drive))
        job.start()
        bare.append(seconds(job.toggle))
        engine.reset()
        job = Job(engine, cfg, channels, outputs)
    rates = {"driver": job.cycles / min(driven), "bare": job.cycles / min(bare)}
    return {"K": channels, "O": outputs, "cycles": job.cycles, **rates, "ratio": rates["driver"] / rates["bare"]}


def main() -> None:
    """Measure, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="n8m16-edge")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cfg = preset(options.preset)
    with SimulatedEngine(cfg) as engine:
        rows = [measure(engine, cfg, k, o, options.repeat) for k, o in SHAPES]
    table = Table(title=f"Simulated engine, {options.preset}, {TOKENS} tokens, cycles a second")
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(f"{value:.3f}" if name == "ratio" else f"{value:.0f}" for name, value in row.items()))
    Console(width=100).print(table)
    if options.json:
        options.json.write_text(json.dumps({"preset": options.preset, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
