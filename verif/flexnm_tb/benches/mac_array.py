"""cocotb tests of the sparse MAC array."""

from __future__ import annotations

import itertools
from typing import Any

import cocotb
import torch
from flexnm_model.compress import pattern_config
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_rtl.config import ceil_div

from flexnm_tb import context, stalls, words
from flexnm_tb.coverage import functional
from flexnm_tb.payload import pack, unpack
from flexnm_tb.stimuli import edge_tokens, random_numbers, token_length
from flexnm_tb.streams import Bench, Sink, Source


class ArrayBench:
    """Drives the array with token groups and compares the sums."""

    def __init__(self, dut: Any, *, idle: bool = False, backpressure: bool = False) -> None:
        self.ctx = ctx = context.load()
        self.cfg = ctx.cfg
        self.rng = ctx.rng(f"data {idle} {backpressure}")
        self.stalled = [name for name, paused in (("idle", idle), ("backpressure", backpressure)) if paused]
        self.dut, self.steps = dut, ctx.cfg.steps
        self.pattern: tuple[int, int] | None = None
        if ctx.cfg.flexible:
            dut.steps.value = self.steps
        self.layouts = {name: ctx.layout(name) for name in ("acts", "weights", "results")}
        self.acts = Source(dut, "acts", self.layouts["acts"]["width"], stalls.choose(idle, ctx.rng("a")), 1)
        self.weights = Source(dut, "weights", self.layouts["weights"]["width"], stalls.choose(idle, ctx.rng("w")), 2)
        self.results = Sink(dut, "results", stalls.choose(backpressure, ctx.rng("r")))
        self.bench = Bench(dut, [self.acts, self.weights, self.results])
        self.expected: list[int] = []

    def choose(self, n: int, m: int) -> None:
        """Take another pattern, in a flexible array that is idle, with no more steps than its values need."""
        self.pattern = (n, m)
        self.steps = ceil_div(self.cfg.kept(n, m), self.cfg.lanes)
        self.dut.steps.value = self.steps

    def send(self, x: torch.Tensor, w: torch.Tensor, *, dense: bool = False) -> None:
        """Queue a token group x (rows, K) with its weight tile w (cols, K) and the sums expected."""
        functional.begin(self.ctx, self.stalled, x, kind="dense" if dense else "")
        beats = words.array_acts(x, self.cfg, dense=dense, pattern=self.pattern)
        self.acts.queue.extend(pack(self.layouts["acts"], beat) for beat in beats)
        self.weights.queue.extend(words.weight_beats(w, self.cfg))
        sums = (dense_matmul if dense else sparse_matmul)(x, w, pattern_config(self.cfg, self.pattern))
        self.expected.extend(pack(self.layouts["results"], b) for b in words.result_beats(sums, self.cfg))

    def send_random(self, k: int, *, dense: bool = False) -> None:
        """Queue a random token group with ``k`` channels."""
        x = random_numbers(self.rng, (self.cfg.rows, k), self.cfg.act_width)
        w = random_numbers(self.rng, (self.cfg.cols, k), self.cfg.weight_width)
        self.send(x, w, dense=dense)

    @property
    def blocks(self) -> int:
        """Blocks of a group that takes longer than its results take to leave."""
        return ceil_div(2 * (self.cfg.rows + 8), self.steps)

    async def finish(self) -> None:
        """Run until all is answered, and compare."""
        per_beat = self.cfg.steps + 1
        timeout = 500 + 20 * (len(self.expected) + per_beat * (len(self.acts.queue) + len(self.weights.queue)))
        await self.bench.run(self.results, len(self.expected), timeout=timeout)
        layout = self.layouts["results"]
        for i, (got, want) in enumerate(zip(self.results.words, self.expected, strict=True)):
            assert got == want, f"word {i}: got {unpack(layout, got)}, expected {unpack(layout, want)}"
        functional.end()
        self.expected.clear()
        self.results.words.clear()


@cocotb.test()
@cocotb.parametrize(idle=[False, True], backpressure=[False, True])
async def stream(dut: Any, idle: bool, backpressure: bool) -> None:
    """Sparse and dense token groups of all lengths, edge cases first."""
    array = ArrayBench(dut, idle=idle, backpressure=backpressure)
    cfg = array.cfg
    await array.bench.start()
    edges = edge_tokens(cfg, 2 * cfg.m_group - 1)
    low = -(1 << (cfg.weight_width - 1))
    for start in range(len(edges)):
        x = edges.roll(start, 0).repeat(-(-cfg.rows // len(edges)), 1)[: cfg.rows]
        array.send(x, torch.full((cfg.cols, x.shape[1]), low, dtype=torch.int32), dense=start % 2 == 0)
    for _ in range(30):
        array.send_random(token_length(array.rng, cfg), dense=array.rng.random() < 0.3)
    await array.finish()


@cocotb.test()
async def throughput(dut: Any) -> None:
    """No bubble between beats or groups: cycles equal beats times steps, and the stated latency.

    In a flexible array, with the steps of every pattern.
    """
    array = ArrayBench(dut)
    cfg = array.cfg
    await array.bench.start()
    await _check_throughput(array)
    assert array.results.cycles[0] - array.acts.taken[array.blocks - 1] == array.ctx.latency
    for m in cfg.groups if cfg.flexible else ():
        most = cfg.most_kept(m)
        for n in {1, most} if most else ():
            array.choose(n, m)
            await _check_throughput(array)


async def _check_throughput(array: ArrayBench) -> None:
    first, groups = len(array.acts.taken), 6
    for _ in range(groups):
        array.send_random(array.blocks * array.cfg.m_group)
    await array.finish()
    taken = array.acts.taken[first:]
    assert taken == list(range(taken[0], taken[0] + groups * array.blocks * array.steps, array.steps)), array.pattern


@cocotb.test()
async def gaps(dut: Any) -> None:
    """Operands that come after a pause are taken at once, unless the ones before are still at work."""
    array = ArrayBench(dut)
    await array.bench.start()
    for pause in range(array.steps + 3):
        for source in (array.acts, array.weights):
            source.pauses = itertools.cycle([*pause * [True], False])
        first = len(array.acts.taken)
        array.send_random(max(4, array.blocks) * array.cfg.m_group)
        await array.finish()
        taken = array.acts.taken[first:]
        between = {after - before for before, after in itertools.pairwise(taken[:-1])}
        assert between == {max(array.steps, pause + 1)}, f"pauses of {pause}: {between}"


@cocotb.test()
async def extremes(dut: Any) -> None:
    """The most negative numbers at K = K_max: the largest sum there is fits the accumulator."""
    array = ArrayBench(dut)
    cfg = array.cfg
    await array.bench.start()
    k = min(cfg.k_max, 1024 * cfg.m_group)
    low_x, low_w = -(1 << (cfg.act_width - 1)), -(1 << (cfg.weight_width - 1))
    for w in (low_w, -low_w - 1):
        x = torch.full((cfg.rows, k), low_x, dtype=torch.int32)
        array.send(x, torch.full((cfg.cols, k), w, dtype=torch.int32), dense=True)
    await array.finish()


@cocotb.test()
@cocotb.parametrize(backpressure=[False, True])
async def reset(dut: Any, backpressure: bool) -> None:
    """Reset in mid-group or while results leave; the next groups are right."""
    array = ArrayBench(dut, idle=True, backpressure=backpressure)
    await array.bench.start()
    for _ in range(12):
        array.send_random(3 * array.cfg.m_group)
        array.send_random(3 * array.cfg.m_group)
        for _ in range(array.rng.randint(1, 14 + 6 * array.cfg.steps)):
            await array.bench.step()
        functional.end(["reset"] if len(array.results.words) < len(array.expected) else [])
        await array.bench.reset(array.rng.randint(1, 3))
        array.expected.clear()
        array.send_random(2 * array.cfg.m_group)
        await array.finish()
