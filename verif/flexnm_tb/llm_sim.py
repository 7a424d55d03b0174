"""Captured LLM layers through the RTL units, two simulations at a time."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from flexnm_model.capture import LayerData, capture
from flexnm_rtl.config import Config, ConfigError, ceil_div

from flexnm_tb.context import JOB_VARIABLE
from flexnm_tb.run import simulate

UNITS = ("compressor", "mac_array")
MODULE = "flexnm_tb.benches.llm"


@dataclass(frozen=True)
class Row:
    """One layer on one unit. ``blocks``: compressed blocks (compressor) or block steps of the array's tiles."""

    layer: str
    unit: str
    tokens: int
    blocks: int
    cycles: int
    ideal: int
    words: int
    mismatches: int


def run_layers(
    cfg: Config,
    *,
    layers: Sequence[str] | None = None,
    tokens: int = 8,
    model: str | None = None,
    text: str | None = None,
    jobs: int = 2,
    advance: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> list[Row]:
    """Simulate every layer on every unit; rows in the order of the layers.

    layers: names, see ``flexnm_model.capture``; None: its default set. advance: called with a description, the number
    of finished simulations and their total. Raises ConfigError for what cannot be captured or does not fit.
    """
    advance("reading the model", 0, 1)
    data = capture(layers, tokens, model, text)
    for name, layer in data.items():
        if layer.x.shape[1] > cfg.k_max:
            raise ConfigError(f"{name} has K={layer.x.shape[1]}, more than K_MAX={cfg.k_max}: raise K_MAX")
    advance("building", 0, len(data) * len(UNITS))
    rows: dict[tuple[str, str], Row] = {}
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(jobs) as pool:
        common = {"layers": layers and list(layers), "tokens": tokens, "model": model, "text": text}
        first = next(iter(data))
        # One simulation of each unit builds it; the others find it built.
        for batch in ([first], [name for name in data if name != first]):
            futures = {
                pool.submit(_simulate, cfg, unit, name, {**common, "layer": name}, folder): (name, unit)
                for name in batch
                for unit in UNITS
            }
            for future in as_completed(futures):
                name, unit = futures[future]
                rows[name, unit] = _row(cfg, name, unit, data[name], future.result())
                advance(f"{unit} {name}", len(rows), len(data) * len(UNITS))
    return [rows[name, unit] for unit in UNITS for name in data]


def _simulate(cfg: Config, unit: str, layer: str, job: dict[str, object], folder: str) -> dict[str, int]:
    stem = Path(folder) / f"{unit}-{layer}"
    result = stem.with_suffix(f"{stem.suffix}.result")
    job_file = stem.with_suffix(f"{stem.suffix}.job")
    job_file.write_text(json.dumps({**job, "result": str(result)}), encoding="utf-8")
    simulate(unit, cfg, MODULE, name=f"llm-{layer}", test_filter=f"{unit}$", env={JOB_VARIABLE: str(job_file)})
    outcome: dict[str, int] = json.loads(result.read_text(encoding="utf-8"))
    return outcome


def _row(cfg: Config, name: str, unit: str, layer: LayerData, result: dict[str, int]) -> Row:
    tokens, k = layer.x.shape
    blocks = tokens * cfg.blocks(k)
    if unit == "mac_array":
        blocks = ceil_div(tokens, cfg.rows) * ceil_div(layer.w.shape[0], cfg.cols) * cfg.blocks(k)
    return Row(name, unit, tokens, blocks, result["cycles"], result["ideal"], result["words"], result["mismatches"])
