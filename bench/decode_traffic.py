"""Memory traffic of the decode engine on layers of an LLM: ``python bench decode_traffic [--json FILE]``.

Captured activations, quantised, run on the compiled engine; the memory answers after 40 cycles and holds 16 bursts.
Every sum is compared with the software model, and the beats with what the masks ask for: exit status 1 if one differs,
or if a single token leaves the bus idle for more than 5 % of a job. The mean over the tokens is shown. ``bound``:
bytes read over bytes of the bus, the least cycles possible. Banks: rows asked of the busiest bank over its fair part.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from flexnm_model.capture import capture
from flexnm_model.perplexity import parse_patterns
from flexnm_model.select import pad_channels, select
from flexnm_rtl.config import Config
from flexnm_tb.cosim.decoder import MemoryTraffic, SimulatedDecoder
from flexnm_tb.decode_traffic import (
    TARGET,
    IntegerLayer,
    JobTraffic,
    TrafficMeter,
    bank_imbalance,
    integer_layer,
    random_union,
    traffic_config,
    union_share,
    unstructured,
)
from rich.console import Console
from rich.progress import track
from rich.table import Table

GROUPS = (2, 4)
BANKS = (8, 16)
SHORT = (16, 32, 48, 192, 272, 304, 576)
FAR = 64  # tokens between those of a group whose tokens have little to do with each other
Row = dict[str, Any]
Layers = dict[str, IntegerLayer]


def memory() -> MemoryTraffic:
    """The memory of the measurement."""
    return MemoryTraffic(latency=40, most=16)


def single_tokens(cfg: Config, layers: Layers, count: int, jobs: list[JobTraffic]) -> Iterator[Row]:
    """Traffic of single tokens, spread over those captured, against a dense job of the same engine."""
    with SimulatedDecoder(cfg) as decoder:
        decoder.traffic = memory()
        meter = TrafficMeter(decoder, cfg)
        for name, layer in layers.items():
            region = meter.load(layer.w)
            dense = meter.job(layer.x[:1], layer.w, region, dense=True)
            step = max(1, len(layer.x) // count)
            done = [meter.job(token, layer.w, region) for token in layer.x[::step][:count].split(1)]
            jobs += [dense, *done]
            channels = layer.x.shape[1]
            yield {
                "layer": name, "pattern": cfg.pattern, "K": channels, "O": len(layer.w), "tokens": len(done),
                "bytes": fmean(job.beats for job in done) * cfg.bus_width // 8,
                "dense bytes": dense.beats * cfg.bus_width // 8,
                "of dense": fmean(job.beats for job in done) / dense.beats, "N/M": cfg.n_keep / cfg.m_group,
                "span": fmean(job.span for job in done), "cycles": fmean(job.cycles for job in done),
                "bound/span": min(job.beats / job.span for job in done),
                "bound/cycles": min(job.beats / job.cycles for job in done),
                "act bytes": cfg.blocks(channels) * cfg.compressed_bits / 8, "INT8 bytes": channels,
                "mismatches": sum(job.mismatches for job in done) + dense.mismatches,
            }  # fmt: skip


def tokens_at_once(cfg: Config, layers: Layers, jobs: list[JobTraffic]) -> Iterator[Row]:
    """Traffic of several tokens: two groups on the engine, all captured ones from their masks, and the expectation."""
    with SimulatedDecoder(cfg) as decoder:
        decoder.traffic = memory()
        meter = TrafficMeter(decoder, cfg)
        for name, layer in layers.items():
            region = meter.load(layer.w)
            mask = select(layer.x, cfg.n_keep, cfg.m_group)
            dense = layer.x.shape[1] * -(-len(layer.w) // cfg.weights_per_bus)
            for tokens in GROUPS:
                starts = (0, len(layer.x) // 2 // tokens * tokens)
                chosen = [layer.x[start : start + tokens] for start in starts]
                done = [meter.job(group, layer.w, region) for group in chosen]
                jobs += done
                yield {
                    "layer": name, "pattern": cfg.pattern, "T": tokens,
                    "engine": fmean(job.beats for job in done) / dense,
                    "masks of these": fmean(union_share(select(g, cfg.n_keep, cfg.m_group), tokens) for g in chosen),
                    "all masks": union_share(mask, tokens), f"{FAR} apart": union_share(mask, tokens, FAR),
                    "random": random_union(cfg.n_keep / cfg.m_group, tokens),
                    "bound/cycles": min(job.beats / job.cycles for job in done),
                    "mismatches": sum(job.mismatches for job in done),
                }  # fmt: skip


def short_rows(layers: Layers, jobs: list[JobTraffic]) -> Iterator[Row]:
    """Single tokens of 8:16 with few outputs, or few in the last tile: the first ones of a layer with few channels."""
    cfg = traffic_config(8, 16)
    layer = min(layers.values(), key=lambda layer: layer.w.shape[1])
    with SimulatedDecoder(cfg) as decoder:
        decoder.traffic = memory()
        meter = TrafficMeter(decoder, cfg)
        for outputs in filter(lambda outputs: outputs <= len(layer.w), SHORT):
            w = layer.w[:outputs]
            job = meter.job(layer.x[:1], w, meter.load(w))
            jobs.append(job)
            last = -(-((outputs - 1) % cfg.tile_outputs + 1) // cfg.weights_per_bus)
            bound = {"bound/span": job.beats / job.span, "bound/cycles": job.beats / job.cycles}
            yield {"K": layer.w.shape[1], "O": outputs, "beats of last rows": last} | bound


def banks(cfg: Config, layers: Layers) -> Iterator[Row]:
    """Imbalance of N:M and of the same number of channels chosen in the whole token, mean and worst over all tokens.

    ``channel``: single channels go to the banks in turns, ``block``: blocks of M. Last column: fewest and most rows
    that a block of M asks for when the channels are chosen in the whole token; with N:M it is always N.
    """
    for name, layer in layers.items():
        pruned = select(layer.x, cfg.n_keep, cfg.m_group)
        free = unstructured(layer.x, pruned.sum(1))
        row: Row = {"layer": name, "pattern": cfg.pattern}
        for count in BANKS:
            for interleaved, run in (("channel", 1), ("block", cfg.m_group)):
                for kind, mask in (("N:M", pruned), ("top", free)):
                    values = bank_imbalance(mask, count, run)
                    row[f"{count} {interleaved} {kind}"] = (float(values.mean()), float(values.max()))
        asked = pad_channels(free.to(torch.int64), cfg.m_group).unflatten(1, (-1, cfg.m_group)).sum(2)
        row["rows of M, top"] = (int(asked.min()), int(asked.max()))
        yield row


def table_of(rows: list[Row], title: str) -> Table:
    """A line for every row; numbers below 10 that are no integers get three digits."""

    def text(value: Any) -> str:
        if isinstance(value, tuple):
            return " ".join(f"{part:.2f}" if isinstance(part, float) else str(part) for part in value)
        if isinstance(value, float):
            return f"{value:.3f}" if value < 10 else f"{value:.0f}"
        return str(value).removeprefix("layers.")

    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "layer" else "right")
    for row in rows:
        table.add_row(*map(text, row.values()))
    return table


def collect(patterns: list[tuple[int, int]], layers: Layers, count: int) -> tuple[dict[str, list[Row]], bool]:
    """Rows of all tables, and whether sums, beats and bus were as they have to be."""
    found: dict[str, list[Row]] = {"single tokens": [], "tokens at once": [], "banks": [], "short rows": []}
    jobs: list[JobTraffic] = []
    steps: list[tuple[str, Callable[[int, int], Iterator[Row]]]] = [
        ("single tokens", lambda n, m: single_tokens(traffic_config(n, m), layers, count, jobs)),
        ("tokens at once", lambda n, m: tokens_at_once(traffic_config(n, m, max(GROUPS)), layers, jobs)),
        ("banks", lambda n, m: banks(traffic_config(n, m), layers)),
    ]
    work = [(title, step, pattern) for pattern in patterns for title, step in steps]
    for title, step, (n, m) in track(work, "jobs", console=Console(stderr=True)):
        found[title] += step(n, m)
    found["short rows"] += short_rows(layers, jobs)
    wrong = sum(not job.right for job in jobs)
    slow = sum(row["bound/cycles"] < TARGET for row in found["single tokens"])
    mismatches = sum(job.mismatches for job in jobs)
    print(f"{len(jobs)} jobs, {mismatches} mismatches, {wrong} wrong, {slow} layers below {TARGET} of the bound")
    return found, not wrong and not slow


def main() -> int:
    """Run the measurement, print the tables, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="GGUF file or Hugging Face folder")
    parser.add_argument("--patterns", default="2:4,4:8,8:16,16:32")
    parser.add_argument("--layers", help="names with commas between them; q, gate and down of three blocks if left out")
    parser.add_argument("--tokens", type=int, default=4, help="single tokens of a layer on the engine")
    parser.add_argument("--captured", type=int, default=512, help="tokens for the masks")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    captured = capture(options.layers and options.layers.split(","), options.captured, options.model)
    layers = {name: integer_layer(layer, traffic_config(8, 16)) for name, layer in captured.items()}
    found, good = collect(parse_patterns(options.patterns), layers, options.tokens)
    for title, rows in found.items():
        Console(width=200).print(table_of(rows, f"Decode engine: {title}"))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
