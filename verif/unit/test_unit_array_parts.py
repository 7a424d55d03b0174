"""ShiftBank, ProcessingElement and ResultDrain against models of a few lines."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Value
from flexnm_rtl.config import Config, Selector
from flexnm_rtl.drain import ResultDrain
from flexnm_rtl.operands import ShiftBank, route_bank, value_bank, weight_bank
from flexnm_rtl.processing_element import ProcessingElement
from route_tools import route_of
from unit_tools import pack, simulate, unpack


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize(
    "count, width, step, visible", [(16, 8, 1, 9), (16, 8, 4, 12), (6, 3, 2, 2), (4, 5, 1, 4), (4, 5, 0, 4)]
)
def test_shift_bank(count: int, width: int, step: int, visible: int, registered: bool) -> None:
    bank = ShiftBank(count, width, step=step, visible=visible, registered=registered)
    rng = random.Random(count)

    async def bench(ctx: Any) -> None:
        held: list[int] = []
        seen: list[list[int]] = []
        for cycle in range(300):
            elements = [rng.getrandbits(width) for _ in range(count)]
            load = cycle == 0 or rng.random() < 0.2
            shift = rng.random() < 0.5
            ctx.set(Value.cast(bank.elements), pack(elements, width))
            ctx.set(bank.load, load)
            ctx.set(bank.shift, shift)
            await ctx.tick()
            if load:  # goes before shift
                held = elements
            elif shift and step:
                held = held[step:] + [0] * step
            seen.append(held)
            if cycle >= registered:
                assert ctx.get(Value.cast(bank.head)) == pack(seen[cycle - registered][:visible], width)

    simulate(bank, bench)


@pytest.mark.parametrize("n, m, lanes", [(8, 16, 2), (6, 11, 3), (7, 7, 1)])
def test_banks_bring_every_step_its_channels_in_reach(n: int, m: int, lanes: int) -> None:
    """Lane l at step s finds value ``s*lanes + l``, and at its offset o the weight of channel ``s*lanes + l + o``."""
    cfg = Config(n_keep=n, m_group=m, lanes=lanes)
    banks = {"weight": weight_bank(cfg), "value": value_bank(cfg), "offset": route_bank(cfg)}
    for kind, bank in banks.items():
        seen: list[int] = []

        async def bench(ctx: Any, bank: ShiftBank = bank, seen: list[int] = seen) -> None:
            ctx.set(Value.cast(bank.elements), pack([k % (1 << bank.width) for k in range(bank.count)], bank.width))
            ctx.set(bank.load, 1)
            await ctx.tick()
            ctx.set(bank.load, 0)
            ctx.set(bank.shift, 1)
            for _ in range(cfg.steps):
                seen.append(ctx.get(Value.cast(bank.head)))
                await ctx.tick()

        simulate(bank, bench)
        reach = cfg.window if kind == "weight" else 1
        for s, word in enumerate(seen):
            head = unpack(word, bank.width, lanes + reach - 1, signed=False)
            for lane in range(lanes):
                for offset in range(reach):
                    assert head[lane + offset] == (s * lanes + lane + offset) % (1 << bank.width)


def run_element(cfg: Config, cycles: list[dict[str, Any]]) -> None:
    """Compare ``total`` with a model in every cycle from the first ``clear`` on."""
    pe = ProcessingElement(cfg)
    rng = random.Random(cfg.m_group)
    registers = int(cfg.short_stages)
    assert pe.latency == 2 + registers

    async def bench(ctx: Any) -> None:
        products = [0] * cfg.lanes
        total: int | None = None
        # On their way to multipliers and accumulator, the newest last.
        operands = [[(0, 0)] * cfg.lanes] * (registers + 1)
        strobes = [(False, False)] * (registers + 1)
        for c in cycles:
            ctx.set(Value.cast(pe.values), pack(c["values"], cfg.act_width))
            ctx.set(Value.cast(pe.route), route_of(cfg, c["channels"], rng))
            ctx.set(Value.cast(pe.weights), pack(c["weights"], cfg.weight_width))
            ctx.set(pe.accumulate, c["accumulate"])
            ctx.set(pe.clear, c["clear"])
            await ctx.tick()
            strobes = [*strobes[1:], (c["accumulate"], c["clear"])]
            accumulate, clear = strobes[0]
            if accumulate and (clear or total is not None):
                total = (0 if clear else total or 0) + sum(products)
            picked = [(value, c["weights"][c["channels"][k]]) for k, value in enumerate(c["values"])]
            operands = [*operands[1:], picked]
            products = [v * w for v, w in operands[0]]
            if total is not None:
                assert ctx.get(pe.total) == total

    simulate(pe, bench)


@pytest.mark.parametrize("selector", ["auto", "rank2"])
@pytest.mark.parametrize(
    "n, m, lanes, act, weight",
    [
        (8, 16, 8, 8, 8),
        (8, 16, 1, 4, 9),
        (16, 32, 4, 8, 8),
        (4, 7, 2, 6, 7),
        (3, 5, 3, 16, 4),
        (7, 7, 7, 8, 8),
        (1, 32, 1, 5, 5),
    ],
)
def test_processing_element_on_random_operands(
    n: int, m: int, lanes: int, act: int, weight: int, selector: str
) -> None:
    cfg = Config(n_keep=n, m_group=m, lanes=lanes, act_width=act, weight_width=weight, selector=Selector(selector))
    rng = random.Random(m)

    def number(width: int) -> int:
        low, high = -1 << (width - 1), (1 << (width - 1)) - 1
        return rng.choice([low, high, 0, -1, rng.randint(low, high), rng.randint(low, high)])

    def channels() -> list[int]:
        """Those that the lanes can have: of a whole block, or of a step, any in reach."""
        if lanes == n:
            return sorted(rng.sample(range(m), n))
        return [lane + rng.randrange(cfg.window) for lane in range(lanes)]

    run_element(cfg, [
        {
            "values": [number(act) for _ in range(lanes)],
            "channels": channels(),
            "weights": [number(weight) for _ in range(lanes + cfg.window - 1)],
            "accumulate": rng.random() < 0.7,
            "clear": k == 0 or rng.random() < 0.1,
        }
        for k in range(400)
    ])  # fmt: skip


@pytest.mark.parametrize("value, weight", [(-128, -128), (-128, 127), (127, -128), (127, 127)])
def test_accumulator_holds_k_max_extreme_products(value: int, weight: int) -> None:
    cfg = Config(n_keep=4, m_group=4, lanes=4, k_max=1024)
    one = {"values": [value] * 4, "channels": list(range(4)), "weights": [weight] * 4}
    cycles = [{**one, "accumulate": k > 0, "clear": k == 1} for k in range(cfg.k_max // 4 + 1)]
    run_element(cfg, cycles)
    assert -1 << (cfg.acc_width - 1) <= value * weight * cfg.k_max < 1 << (cfg.acc_width - 1)


@pytest.mark.parametrize("rows, cols", [(1, 1), (2, 3), (5, 2)])
@pytest.mark.parametrize("take", [1.0, 0.4])
@pytest.mark.parametrize("selector", ["auto", "rank2"])
def test_drain_sends_every_row_once_under_back_pressure(rows: int, cols: int, take: float, selector: str) -> None:
    cfg = Config(n_keep=2, m_group=4, lanes=2, rows=rows, cols=cols, selector=Selector(selector))
    drain = ResultDrain(cfg)
    rng = random.Random(rows)
    width = cols * cfg.acc_width

    async def bench(ctx: Any) -> None:
        left: list[int] = []
        captures = 0
        may_capture = True
        taking = False
        moving = False
        for _ in range(400):
            totals = [rng.getrandbits(width) for _ in range(rows)]
            capture = may_capture and rng.random() < 0.7
            ready = rng.random() < take
            ctx.set(Value.cast(drain.totals), pack(totals, width))  # changes all the time, as accumulators do
            ctx.set(drain.capture, capture)
            ctx.set(drain.o.ready, ready)
            shown = bool(left) and not moving
            assert ctx.get(drain.o.valid) == shown
            if shown:
                assert ctx.get(Value.cast(drain.o.p.sums)) == left[0]
                assert ctx.get(drain.o.p.last) == (len(left) == 1)
            assert ctx.get(drain.finishing) == (shown and ready and len(left) == 1)
            moving = shown and ready and drain.interval == 2
            if shown and ready:
                left.pop(0)
            taken = taking if drain.early else capture
            if taken:
                assert not left
                left = totals
                captures += 1
            may_capture = not left and not (drain.early and capture)
            taking = capture
            await ctx.tick()
        assert captures > 20

    simulate(drain, bench)
