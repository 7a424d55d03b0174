"""Units that select N of M, side by side: ``python bench/selection.py --liberty FILE ... [--clock PS] [--only WORD]``.

Each stands alike between registers: scores, or the magnitudes of INT8 values (``from``), in an input register, the
unit, its mask in a register; a new block in every cycle. With N at run time (``run time``), and N and M (``flexible``),
the registers of these settings count too. Areas are sums of cells without wires, in the library's unit (um2): the best
mapping of each for each clock (``flexnm_gen.asic_best``). ``period``: minimum, by OpenSTA. ``latency``: cycles from
the input register to the mask. ``over ours``: area over that of flexnm's own selector for the same pattern, kind of N,
input and clock. Units that only this measurement has are checked against the model first. Results are kept.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from _liberty import exit_status, liberty_parser
from _selection_table import Row, add_ratios, table_of
from _selectors import RadixVariant, SortingSelector
from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from flexnm_gen import asic_best
from flexnm_gen.asic_best import Effort, map_best
from flexnm_gen.liberty import read_liberty
from flexnm_gen.netlist import to_verilog
from flexnm_gen.timing import minimum_period
from flexnm_model.cache import cache_dir, digest, replacing
from flexnm_model.reference import select
from flexnm_rtl.arith import magnitude
from flexnm_rtl.config import ConfigError
from flexnm_rtl.select_flexible import FlexibleSelector
from flexnm_rtl.select_radix import RadixSelector
from flexnm_rtl.select_rank import RankSelector
from flexnm_rtl.selection import RANK_MAX_GROUP
from rich.console import Console
from rich.progress import track

WIDTH, SCORE_MAX = 8, 128
GROUPS = (4, 8, 16, 32)
CLOCKS_PS = (600.0, 750.0, 1000.0)
FIXED, RUN_TIME, FLEXIBLE = "fixed", "run time", "flexible"
SCORES, VALUES = "scores", "INT8"
CHECKED = 60
"""Blocks that a unit is checked on."""

OWN: dict[str, Callable[..., Any]] = {
    "ranks": RankSelector,
    "digits of 2 bits": RadixSelector,
}
OTHERS: dict[str, Callable[..., Any]] = {
    "ranks, 2 stages": partial(RankSelector, split=True),
    "bits, 1 a cycle": partial(RadixVariant, digit_bits=1),
    "bits, 2 a cycle": partial(RadixVariant, digit_bits=1, steps=2),
    "bits, 4 a cycle": partial(RadixVariant, digit_bits=1, steps=4),
    "digits of 3 bits": partial(RadixVariant, digit_bits=3),
    "sorted, 1 column a cycle": partial(SortingSelector, columns=1),
    "sorted, 2 columns a cycle": partial(SortingSelector, columns=2),
}


class Unit(wiring.Component):
    """Input register, selector, mask register. ``x``: M numbers of 8 bits; ``n`` and ``level`` as the selector has."""

    def __init__(self, selector: Any, values: bool) -> None:
        self.selector = selector
        self.values = values
        self.channels = selector.width if isinstance(selector, FlexibleSelector) else selector.m_group
        settings = {name: len(getattr(selector, name)) for name in ("n", "level") if hasattr(selector, name)}
        self.settings = tuple(settings)
        ports = {"x": In(WIDTH * self.channels), "mask": Out(self.channels)}
        super().__init__(ports | {name: In(width) for name, width in settings.items()})

    def elaborate(self, platform: object) -> Module:
        """See the class."""
        m = Module()
        m.submodules.selector = self.selector
        for name in self.settings:
            held = Signal.like(getattr(self, name), name=f"held_{name}", reset_less=True)
            m.d.sync += held.eq(getattr(self, name))
            m.d.comb += getattr(self.selector, name).eq(held)
        held = Signal(WIDTH * self.channels, reset_less=True)
        numbers = [self.x.word_select(i, WIDTH) for i in range(self.channels)]
        # As in BlockSelection, magnitudes are registered before they are selected from.
        m.d.sync += held.eq(Cat(magnitude(number.as_signed()) if self.values else number for number in numbers))
        m.d.comb += [
            Value.cast(self.selector.scores).eq(held),
            self.selector.enable.eq(-1),
            self.mask.eq(self.selector.mask),
        ]
        return m


@dataclass(frozen=True)
class Case:
    """A unit at a clock."""

    group: int
    n: str
    name: str
    source: str
    clock_ps: float

    @property
    def ours(self) -> bool:
        """What flexnm takes for the pattern."""
        return self.n == FLEXIBLE or self.name == ("ranks" if self.group <= RANK_MAX_GROUP else "digits of 2 bits")

    def unit(self) -> Unit:
        """To be elaborated once."""
        if self.n == FLEXIBLE:
            return Unit(FlexibleSelector(self.group, WIDTH, score_max=SCORE_MAX), self.source == VALUES)
        kind = (OWN | OTHERS)[self.name]
        selector = kind(self.group // 2, self.group, WIDTH, score_max=SCORE_MAX, runtime_n=self.n == RUN_TIME)
        return Unit(selector, self.source == VALUES)

    @property
    def label(self) -> str:
        """The case in one line, for messages and ``--only``."""
        return f"{self.group // 2}:{self.group} {self.n}, {self.name}, {self.source}, {self.clock_ps:g} ps"


def cases(clocks: Sequence[float]) -> Iterator[Case]:
    """Everything: flexnm's own first."""
    for names in (OWN, OTHERS):
        for source in (SCORES, VALUES):
            for clock in clocks:
                for group in GROUPS:
                    for n in (FIXED, RUN_TIME):
                        yield from (Case(group, n, name, source, clock) for name in names)
                if names is OWN:
                    yield Case(max(GROUPS), FLEXIBLE, "leaves of 4", source, clock)


def check(case: Case) -> None:
    """Random blocks, with many ties and with few, against the model. Raises AssertionError."""
    unit = case.unit()
    m, keep, rng = case.group, case.group // 2, random.Random(1)
    blocks = [
        [min(SCORE_MAX, rng.randrange(top) << shift) for _ in range(m)]
        for top, shift in (rng.choice([(2, 7), (3, 0), (5, 4), (129, 0)]) for _ in range(CHECKED))
    ]

    async def bench(ctx: Any) -> None:
        if unit.settings:
            ctx.set(unit.n, keep)
        latency = unit.selector.latency
        for k in range(CHECKED + latency):
            numbers = blocks[min(k, CHECKED - 1)]
            # An INT8 value of that magnitude, by turns of either sign.
            bits = [-v & 0xFF if unit.values and (i & 1 or v == SCORE_MAX) else v for i, v in enumerate(numbers)]
            ctx.set(unit.x, sum(number << (WIDTH * i) for i, number in enumerate(bits)))
            await ctx.tick()
            if k >= latency:
                expected = select(blocks[k - latency], keep)
                assert ctx.get(unit.mask) == sum(bit << i for i, bit in enumerate(expected)), case.label

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def measure(case: Case, liberty: Sequence[Path], effort: Effort) -> Row:
    """The figures of one case, from the cache if they are there."""
    folder = Path(asic_best.__file__).parent
    names = ("asic", "asic_map", "asic_best", "asic_recipes", "full_adder", "liberty", "sta", "timing")
    unit = case.unit()
    source = to_verilog(unit, "unit")
    inputs = [*(path.read_bytes() for path in liberty), *((folder / f"{name}.py").read_bytes() for name in names)]
    kept = cache_dir() / "selection" / f"{digest(source, case.clock_ps, effort.value, *inputs)}.json"
    try:
        found: Row = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if case.name in OTHERS:
            check(case)
        mapped = map_best(source, "unit", liberty, clock_ps=case.clock_ps, effort=effort)
        period = minimum_period(mapped, liberty).period_ps
        figures = {"area": mapped.area, "sequential": mapped.sequential_area, "period_ps": period}
        found = figures | {"recipe": mapped.recipe}
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as target:
            target.write_text(json.dumps(found), encoding="utf-8")
    pattern = f"1:1 .. {case.group}:{case.group}" if case.n == FLEXIBLE else f"{case.group // 2}:{case.group}"
    head = {"pattern": pattern, "n": case.n, "unit": case.name, "from": case.source, "clock_ps": case.clock_ps}
    figures = {"latency": unit.selector.latency, "area_element": found["area"] / case.group, "ours": case.ours}
    return head | found | figures


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON if asked."""
    liberty = options.liberty
    read_liberty(liberty)  # says what is wrong before anything is converted
    chosen = [case for case in cases(options.clock or CLOCKS_PS) if all(word in case.label for word in options.only)]
    if not chosen:
        example = next(cases(CLOCKS_PS)).label
        raise ConfigError(f"--only {' '.join(options.only)} names no unit: choose from texts like '{example}'")
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(measure, case, liberty, Effort(options.effort)) for case in chosen]
        try:
            rows = [future.result() for future in track(futures, "selectors", console=Console(stderr=True))]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    add_ratios(rows)
    Console(width=160).print(table_of(rows, f"Selection of N of M, um2, {', '.join(file.name for file in liberty)}"))
    if options.json:
        result = {"liberty": [file.name for file in liberty], "effort": options.effort, "rows": rows}
        with replacing(options.json) as target:
            target.write_text(json.dumps(result, indent=2) + "\n")


def main() -> int:
    """Exit status 2, and one line, for what cannot be used; 130 when interrupted: what is done is kept."""
    parser = liberty_parser(__doc__)
    add = parser.add_argument
    add("--clock", type=float, action="append", metavar="PS", help="period (default: 600, 750 and 1000)")
    add("--only", nargs="*", default=[], metavar="TEXT", help="units in whose description all texts are")
    add("--effort", choices=[effort.value for effort in Effort], default=Effort.BEST.value)
    add("--jobs", type=int, default=1, help="units at a time; each maps with all processors")
    return exit_status(run, parser)


if __name__ == "__main__":
    sys.exit(main())
