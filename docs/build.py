"""Builds what docs/ shows: waveforms from simulated components, the latency table, the architecture figure.

Nothing is drawn by hand. A waveform is a sample of the ports of the Amaranth component itself, taken in its simulator
right before every rising clock edge. ``make docs`` runs this file; verif/docs/test_docs.py checks that what is
committed is what it makes.
"""

from __future__ import annotations

import gc
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wavedrom
from amaranth.hdl import UnusedElaboratable
from amaranth.sim import Simulator
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config
from flexnm_rtl.decompressor import Decompressor
from flexnm_rtl.dense_split import DenseSplitter
from flexnm_rtl.mac_array import MacArray
from flexnm_rtl.presets import PRESETS
from flexnm_rtl.selection import resolve_selector

DOCS = Path(__file__).parent
FIGURES = DOCS / "figures"
LATENCY_PAGE = DOCS / "architecture.md"
BEGIN, END = "<!-- latency table: begin (docs/build.py) -->", "<!-- latency table: end -->"

Block = tuple[int, ...]


@dataclass
class Trace:
    """What one stream showed in every cycle; ``payload`` is a label, empty while nothing is offered."""

    valid: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    payload: list[str] = field(default_factory=list)

    def sample(self, ctx: Any, stream: Any, last: Any, label: Callable[[], str]) -> bool:
        """Note the current cycle; true when the stream transfers a beat in it."""
        valid = ctx.get(stream.valid)
        self.valid.append(valid)
        self.ready.append(ctx.get(stream.ready))
        self.payload.append(label() if valid else "")
        self.last.append(ctx.get(last) & valid if last is not None else 0)
        return bool(valid and self.ready[-1])

    def transfers(self) -> list[int]:
        """Cycles in which a beat was transferred."""
        pairs = zip(self.valid, self.ready, strict=True)
        return [cycle for cycle, (valid, ready) in enumerate(pairs) if valid and ready]

    def lanes(self, payload: str, *, last: bool = True) -> list[dict[str, Any]]:
        """WaveDrom lanes of the stream."""
        lanes = [bits_lane("valid", self.valid), bits_lane("ready", self.ready), labels_lane(payload, self.payload)]
        return [*lanes, bits_lane("last", self.last)] if last else lanes


@dataclass(frozen=True)
class Waves:
    """A WaveDrom source, and the latency its simulation showed beside the one the component states."""

    source: dict[str, Any]
    component: str
    measured: int
    stated: int


def bits_lane(name: str, bits: list[int]) -> dict[str, Any]:
    """A one-bit lane; WaveDrom writes an unchanged cycle as a dot."""
    wave = "".join("." if k and bit == bits[k - 1] else str(bit) for k, bit in enumerate(bits))
    return {"name": name, "wave": wave}


def labels_lane(name: str, labels: list[str]) -> dict[str, Any]:
    """A lane of values; an empty label is a cycle in which the payload means nothing."""
    wave, data = "", []
    for k, label in enumerate(labels):
        if k and label == labels[k - 1]:
            wave += "."
        elif label:
            wave += "="
            data.append(label)
        else:
            wave += "x"
    return {"name": name, "wave": wave, "data": data}


def text(numbers: Any) -> str:
    """Numbers as a label."""
    return " ".join(map(str, numbers))


def compressed_label(ctx: Any, cfg: Config, block: Any) -> str:
    """Kept values and the bitmask, bit 0 on the right, of a compressed block."""
    values = [ctx.get(block["values"][n]) for n in range(cfg.n_keep)]
    return f"{text(values)} / {ctx.get(block.metadata):0{cfg.m_group}b}"


def simulate(component: Any, testbench: Callable[[Any], Any]) -> None:
    """Run the testbench on the component with a clock."""
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


COMPRESSOR = Config(n_keep=2, m_group=4, lanes=2)
COMPRESSOR_BLOCKS: list[Block] = [(3, -7, 0, 5), (4, 4, 4, 4), (-128, 127, 1, 2), (0, 0, 0, 9), (6, 0, -6, 1)]
COMPRESSOR_CYCLES = 14
COMPRESSOR_STALL = range(4, 8)


def compressor_waves() -> Waves:
    """Five blocks through a 2:4 compressor whose output is held up for four cycles."""
    cfg, dut = COMPRESSOR, Compressor(COMPRESSOR)
    taken, sent = Trace(), Trace()

    async def testbench(ctx: Any) -> None:
        k = 0
        for cycle in range(COMPRESSOR_CYCLES):
            more = k < len(COMPRESSOR_BLOCKS)
            block = COMPRESSOR_BLOCKS[k] if more else (0,) * cfg.m_group
            payload = {"values": list(block), "keep": -1, "last": k == len(COMPRESSOR_BLOCKS) - 1}
            ctx.set(dut.i.valid, more)
            ctx.set(dut.i.payload, payload)
            ctx.set(dut.o.ready, cycle not in COMPRESSOR_STALL)
            k += taken.sample(ctx, dut.i, dut.i.p.last, lambda shown=block: text(shown))
            sent.sample(ctx, dut.o, dut.o.p.last, lambda: compressed_label(ctx, cfg, dut.o.p.block))
            await ctx.tick()

    simulate(dut, testbench)
    measured = sent.valid.index(1) - taken.transfers()[0]
    source = {
        "signal": [
            clock(COMPRESSOR_CYCLES),
            ["i", *taken.lanes("values")],
            {},
            ["o", *sent.lanes("values / mask")],
        ],
        "head": {"text": f"Compressor 2:4: the first block comes out after {measured} cycles", "tick": 0},
        "foot": {"text": "o.ready is low for four cycles: the pipeline fills up, then i.ready falls"},
        "config": {"hscale": 3},
    }
    return Waves(source, "Compressor", measured, dut.latency)


ARRAY = Config(n_keep=2, m_group=4, rows=2, cols=2, lanes=1)
ARRAY_ACTS: list[list[tuple[Block, int]]] = [
    [((-7, 5), 0b1010), ((1, 2), 0b0011)],
    [((4, 9), 0b1001), ((-3, 8), 0b1100)],
]
ARRAY_WEIGHTS: list[list[Block]] = [[(1, 2, 3, 4), (-1, 0, 1, 0)], [(2, 2, -2, -2), (0, 1, 0, 1)]]
ARRAY_CYCLES = 11


def array_waves() -> Waves:
    """Two blocks of channels through a 2 x 2 array with one multiplier in a processing element, then its results."""
    cfg, dut = ARRAY, MacArray(ARRAY)
    acts, weights, results = Trace(), Trace(), Trace()
    rows: list[list[str]] = [[], []]
    count = len(ARRAY_ACTS)

    async def testbench(ctx: Any) -> None:
        k = w = 0
        ctx.set(dut.results.ready, 1)
        for _ in range(ARRAY_CYCLES):
            ctx.set(dut.acts.valid, k < count)
            ctx.set(dut.weights.valid, w < count)
            if k < count:
                blocks = [{"values": list(values), "metadata": mask} for values, mask in ARRAY_ACTS[k]]
                ctx.set(dut.acts.payload, {"blocks": blocks, "hold": 0, "last": k == count - 1})
            if w < count:
                ctx.set(dut.weights.payload, [list(output) for output in ARRAY_WEIGHTS[w]])
            for r, shown in enumerate(rows):
                shown.append(compressed_label(ctx, cfg, dut.acts.p.blocks[r]) if k < count else "")
            k += acts.sample(ctx, dut.acts, dut.acts.p.last, lambda: "")
            w += weights.sample(ctx, dut.weights, None, lambda block=w: f"block {block}")
            results.sample(ctx, dut.results, dut.results.p.last, lambda: text(ctx.get(s) for s in sums(dut)))
            await ctx.tick()

    simulate(dut, testbench)
    check_results(cfg, results)
    measured = results.valid.index(1) - acts.transfers()[-1]
    valid, ready, _, last = acts.lanes("")
    source = {
        "signal": [
            clock(ARRAY_CYCLES),
            ["acts", valid, ready, *(labels_lane(f"row {r}", shown) for r, shown in enumerate(rows)), last],
            {},
            ["weights", *weights.lanes("payload", last=False)],
            {},
            ["results", *results.lanes("sums")],
        ],
        "head": {
            "text": f"MAC array 2:4, 2 x 2, 1 lane: {cfg.steps} cycles a block, "
            f"the first result {measured} cycles after the last block",
            "tick": 0,
        },
        "foot": {"text": "values / mask of each row; weights are taken together with the block they belong to"},
        "config": {"hscale": 3},
    }
    return Waves(source, "MacArray", measured, dut.latency)


def sums(dut: MacArray) -> list[Any]:
    """The sums of the current result beat."""
    return [dut.results.p.sums[c] for c in range(dut.cfg.cols)]


def check_results(cfg: Config, results: Trace) -> None:
    """Stop when the picture would show sums that are not the product. Raises RuntimeError."""
    expected = []
    for r in range(cfg.rows):
        row = [0] * cfg.cols
        for beat, weights in zip(ARRAY_ACTS, ARRAY_WEIGHTS, strict=True):
            values, mask = beat[r]
            channels = [i for i in range(cfg.m_group) if mask >> i & 1]
            for c in range(cfg.cols):
                row[c] += sum(v * weights[c][i] for v, i in zip(values, channels, strict=True))
        expected.append(text(row))
    shown = [label for label in results.payload if label]
    if shown != expected:
        raise RuntimeError(f"the array gave {shown}, expected {expected}")


def clock(cycles: int) -> dict[str, Any]:
    """The clock lane."""
    return {"name": "clk", "wave": "p" + "." * (cycles - 1)}


WAVES = {"compressor.svg": compressor_waves, "mac_array.svg": array_waves}


def render_waves(folder: Path) -> list[Path]:
    """Simulate and draw every waveform into ``folder``; equal components give equal bytes."""
    written = []
    for name, waves in WAVES.items():
        path = folder / name
        path.write_text(wavedrom.WaveDrom().render_waveform(0, waves().source).tostring() + "\n", encoding="utf-8")
        written.append(path)
    return written


def latency_table() -> str:
    """Latencies of the components in every preset, as their own attributes say, and as the simulations show."""
    with warnings.catch_warnings():
        # The components are only asked for their attributes, never elaborated.
        warnings.simplefilter("ignore", UnusedElaboratable)
        rows = [_latency_row(name, cfg) for name, cfg in PRESETS.items()]
        gc.collect()
    head = (
        "| preset | selector | `Compressor` | of it selection | `Decompressor` | `DenseSplitter` | `MacArray` "
        "| cycles a block (`steps`) | dense beats a block |"
    )
    seen = ["", "Seen in the simulations of the waveforms in [interfaces.md](interfaces.md#waveforms):", ""]
    return "\n".join([head, "|---" * 9 + "|", *rows, *seen, *map(_seen, WAVES)])


def _latency_row(name: str, cfg: Config) -> str:
    compressor = Compressor(cfg)
    selector = compressor.selection.selector
    cells: list[object] = [f"`{name}`", f"`{resolve_selector(cfg)}`", compressor.latency, selector.latency]
    cells += [component(cfg).latency for component in (Decompressor, DenseSplitter, MacArray)]
    cells += [cfg.steps, cfg.dense_beats]
    return "| " + " | ".join(map(str, cells)) + " |"


def _seen(name: str) -> str:
    waves = WAVES[name]()
    stated = "as stated" if waves.measured == waves.stated else f"the attribute states {waves.stated}"
    return f"- [{name}](figures/{name}): `{waves.component}` {waves.measured} cycles ({stated})."


def with_table(page: str) -> str:
    """The page with the latency table between its two marks brought up to date."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{latency_table()}\n{END}", page)


def render_dot() -> list[Path]:
    """Draw every .dot file beside itself; without graphviz say so and leave the drawings as they are."""
    if shutil.which("dot") is None:
        print("docs: graphviz (dot) is not installed: the .dot figures are not redrawn", file=sys.stderr)
        return []
    written = []
    for source in sorted(FIGURES.glob("*.dot")):
        target = source.with_suffix(".svg")
        subprocess.run(["dot", "-Tsvg", "-o", str(target), str(source)], check=True)
        written.append(target)
    return written


def main() -> None:
    """Bring docs/ up to date and name the files written."""
    page = LATENCY_PAGE.read_text(encoding="utf-8")
    LATENCY_PAGE.write_text(with_table(page), encoding="utf-8")
    for path in [LATENCY_PAGE, *render_waves(FIGURES), *render_dot()]:
        print(path.relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
