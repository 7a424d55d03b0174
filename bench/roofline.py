"""Roofline of both engines on the linear layers of LLMs: ``python bench roofline [--json FILE]``.

Nothing is simulated: the cycles are the engines' formulas, for streams that keep up, without filling and draining.

    linear   sum over jobs of t tokens, tokens_max at most, of the larger of
                 multiplying   ceil(t/rows) * ceil(O/cols) * ceil(K/M) * N/lanes
                 weights       ceil(O/cols) * cols * ceil(K/M) * weight_slot_bytes / bytes a cycle
    decode   sum over jobs of t tokens, rows at most, of  K * (1 - (1 - N/M)^t) * ceil(O / weights_per_bus)

The union of t tokens is that of independent masks. Useful multiplications: T * K * O * N/M. Traffic: weights, and
activations in the slots of the activation stream. Writes docs/figures/roofline.svg unless told otherwise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from flexnm_rtl.config import Config, ceil_div
from flexnm_rtl.presets import preset
from flexnm_tb.decode_traffic import decode_beats, random_union
from rich.console import Console
from rich.table import Table

mpl.use("svg")
import matplotlib.pyplot as plt

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "roofline.svg"
TOKENS = tuple(1 << k for k in range(11))
Shape = tuple[int, int]  # K, O
MODELS: dict[str, tuple[int, tuple[Shape, ...]]] = {  # blocks; q, k, v, o, gate, up, down of each
    "SmolLM2-135M": (30, ((576, 576), *((576, 192),) * 2, (576, 576), *((576, 1536),) * 2, (1536, 576))),
    "Llama-3.1-8B": (32, ((4096, 4096), *((4096, 1024),) * 2, (4096, 4096), *((4096, 14336),) * 2, (14336, 4096))),
}


@dataclass(frozen=True)
class Engine:
    """An engine: ``most`` tokens a job, ``job``: cycles and bytes of a layer's job, from tokens, K and O.

    multipliers: what it has; bandwidth: bytes of weights a cycle, at most.
    """

    name: str
    most: int
    job: Callable[[int, int, int], tuple[float, float]]
    multipliers: int
    bandwidth: int
    share: float

    def layer(self, tokens: int, channels: int, outputs: int) -> tuple[float, float]:
        """Cycles and bytes for any number of tokens."""
        whole, rest = divmod(tokens, self.most)
        cycles, traffic = self.job(self.most, channels, outputs)
        more = self.job(rest, channels, outputs) if rest else (0.0, 0.0)
        return whole * cycles + more[0], whole * traffic + more[1]


def linear_engine(cfg: Config, bandwidth: int | None = None) -> Engine:
    """The linear engine; ``bandwidth``: bytes a cycle of the memory behind its weight stream, when less than that."""
    stream = cfg.weight_ports * cfg.weight_slot_bytes
    rate = min(stream, bandwidth or stream)

    def job(tokens: int, channels: int, outputs: int) -> tuple[float, float]:
        groups, tiles, blocks = ceil_div(tokens, cfg.rows), ceil_div(outputs, cfg.cols), cfg.blocks(channels)
        weights = tiles * cfg.cols * blocks * cfg.weight_slot_bytes
        acts = groups * cfg.rows * blocks * cfg.act_slot_bytes
        return max(groups * tiles * blocks * cfg.steps, weights / rate), weights + acts

    multipliers = cfg.rows * cfg.cols * cfg.lanes
    return Engine(f"linear, {rate} bytes a cycle", cfg.tokens_max, job, multipliers, rate, cfg.n_keep / cfg.m_group)


def decode_engine(cfg: Config) -> Engine:
    """The decode engine, whose memory delivers a beat a cycle."""
    share = cfg.n_keep / cfg.m_group

    def job(tokens: int, channels: int, outputs: int) -> tuple[float, float]:
        beats = decode_beats(cfg, channels * random_union(share, tokens), outputs)
        acts = cfg.blocks(channels) * cfg.rows * cfg.dense_slot_bytes
        return beats, beats * cfg.bus_width // 8 + acts

    multipliers, bandwidth = cfg.rows * cfg.weights_per_bus, cfg.bus_width // 8
    return Engine(f"decode, {bandwidth} bytes a cycle", cfg.rows, job, multipliers, bandwidth, share)


def engines(rows: int) -> tuple[Engine, ...]:
    """The engines compared: linear alone, linear behind the decode engine's narrow memory, decode narrow and wide."""
    edge = preset("n8m16-edge").replace(k_max=16384)
    decode = Config(n_keep=8, m_group=16, rows=rows, lanes=8)
    wide = decode.replace(bus_width=512)
    return linear_engine(edge), linear_engine(edge, 16), decode_engine(decode), decode_engine(wide)


def measure(engine: Engine, model: str, tokens: int) -> dict[str, Any]:
    """All linear layers of a model for ``tokens`` tokens at once."""
    blocks, shapes = MODELS[model]
    layers = [engine.layer(tokens, *shape) for shape in shapes]
    cycles, traffic = (blocks * sum(part) for part in zip(*layers, strict=True))
    useful = blocks * tokens * sum(k * o for k, o in shapes) * engine.share
    return {
        "model": model, "engine": engine.name, "T": tokens, "cycles a token": cycles / tokens,
        "bytes a token": traffic / tokens, "MACs a byte": useful / traffic, "MACs a cycle": useful / cycles,
    }  # fmt: skip


def crossing(first: Engine, second: Engine, model: str) -> int | None:
    """The least number of tokens, 1024 at most, from which ``second`` takes fewer cycles than ``first``."""
    ahead = [measure(second, model, t)["cycles a token"] < measure(first, model, t)["cycles a token"] - 1e-6
             for t in range(1, TOKENS[-1] + 1)]  # fmt: skip
    if not ahead[-1]:
        return None
    return max((t for t, leads in enumerate(ahead, 1) if not leads), default=0) + 1


def draw(chosen: Sequence[Engine], rows: Sequence[dict[str, Any]], clock: float, path: Path) -> None:
    """Intensity against tokens, the roofs, and time a token against tokens, a line of plots for each model."""
    plt.rcParams.update({"svg.hashsalt": "flexnm", "svg.fonttype": "none", "font.size": 8, "font.family": "sans-serif"})
    figure, axes = plt.subplots(len(MODELS), 3, figsize=(12, 3.6 * len(MODELS)), constrained_layout=True)
    for (left, middle, right), model in zip(axes, MODELS, strict=True):
        for colour, engine in enumerate(chosen):
            points = [row for row in rows if row["model"] == model and row["engine"] == engine.name]
            tokens = [row["T"] for row in points]
            intensity = [row["MACs a byte"] for row in points]
            style = {"marker": "osv^"[colour], "markersize": 3.5, "linewidth": 1, "color": f"C{colour}"}
            left.plot(tokens, intensity, label=engine.name, **style)
            middle.plot(intensity, [row["MACs a cycle"] for row in points], **style)
            reach = [2.0**k for k in range(-2, 7)]
            roof = [min(engine.multipliers, x * engine.bandwidth) for x in reach]
            middle.plot(reach, roof, color=f"C{colour}", linewidth=0.8, linestyle=":")
            right.plot(tokens, [row["cycles a token"] / clock / 1e3 for row in points], **style)
        for axis in (left, middle, right):
            axis.set_xscale("log", base=2)
            axis.set_yscale("log", base=10 if axis is right else 2)
            axis.grid(linewidth=0.3)
        left.set(title=f"{model}: arithmetic intensity", xlabel="tokens T", ylabel="useful MACs a byte")
        middle.set(title="roofline (dotted: the roof)", xlabel="useful MACs a byte", ylabel="useful MACs a cycle")
        right.set(title=f"time a token at {clock:g} MHz", xlabel="tokens T", ylabel="ms a token")
        left.legend(fontsize=7)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def table_of(rows: Sequence[dict[str, Any]], clock: float) -> Table:
    """A line for every model, engine and number of tokens."""
    table = Table(title=f"Roofline, 8:16, ms at {clock:g} MHz")
    for column in ("model", "engine", "T", "MACs a byte", "MACs a cycle", "MB a token", "ms a token"):
        table.add_column(column, justify="left" if column in ("model", "engine") else "right")
    for row in rows:
        numbers = (
            row["MACs a byte"],
            row["MACs a cycle"],
            row["bytes a token"] / 1e6,
            row["cycles a token"] / clock / 1e3,
        )
        table.add_row(row["model"], row["engine"], str(row["T"]), *(f"{number:.4g}" for number in numbers))
    return table


def main() -> None:
    """Compute, print the table and the crossings, draw the figure, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=4, help="tokens that the decode engine takes at once")
    parser.add_argument("--clock", type=float, default=100, help="MHz, for the times")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen = engines(options.rows)
    rows = [measure(engine, model, tokens) for model in MODELS for engine in chosen for tokens in TOKENS]
    Console(width=120).print(table_of(rows, options.clock))
    crossings: list[dict[str, Any]] = []
    for model in MODELS:
        for decode in chosen[2:]:
            for linear in chosen[:2]:
                tokens = crossing(decode, linear, model)
                crossings.append({"model": model, "from": decode.name, "to": linear.name, "T": tokens})
                when = "never" if tokens is None else f"from T = {tokens} on"
                print(f"{model}: {linear.name}, is faster than {decode.name}: {when}")
    draw(chosen, rows, options.clock, options.figure)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "crossings": crossings}, indent=2) + "\n")


if __name__ == "__main__":
    main()
