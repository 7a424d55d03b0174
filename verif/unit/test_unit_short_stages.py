"""Short stages for FPGAs: which designs have them, and the route decoder that is pipelined in every engine."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Value
from flexnm_gen.tops import TOPS, module_name, settle
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config, Selector
from flexnm_rtl.epilogue import Epilogue
from flexnm_rtl.mac_array import MacArray
from flexnm_rtl.positions import RouteDecoder
from flexnm_rtl.presets import PRESETS
from flexnm_rtl.selection import RANK_MAX_WIDTH
from flexnm_rtl.sizes import NARROW_SCORE
from flexnm_tb.elaboratables import latency_of
from route_tools import channels_of
from unit_tools import simulate

NARROW = Config(n_keep=4, m_group=8, lanes=4)
CONFIGS = [
    *PRESETS.values(),
    NARROW.replace(act_width=16),
    NARROW.replace(act_width=16, selector=Selector.RANK2),
    NARROW.replace(selector=Selector.RANK2),
    NARROW.replace(score_factor="multiply"),
]


def test_only_a_choice_brings_short_stages() -> None:
    """The generator's own choice of a selector changes nothing else."""
    assert NARROW_SCORE == RANK_MAX_WIDTH
    for cfg in CONFIGS:
        assert settle(cfg).short_stages == cfg.short_stages
        assert cfg.selector is Selector.RANK2 or not cfg.short_stages
    assert PRESETS["n8m16-edge"].short_stages
    assert NARROW.replace(selector=Selector.RANK2).short_stages


def test_a_stage_more_in_compressor_and_array() -> None:
    selection = 1  # rank2 itself takes a cycle more than rank
    assert _later(Compressor, NARROW) == selection + 1
    assert _later(MacArray, NARROW) == 2
    assert _later(Epilogue, NARROW) == 1


def _later(unit: Any, cfg: Config) -> int:
    """Cycles that short stages add to a unit's latency."""
    return latency_of(unit, cfg.replace(selector=Selector.RANK2)) - latency_of(unit, cfg)


def test_modules_of_different_hardware_have_different_names() -> None:
    short = NARROW.replace(selector=Selector.RANK2)
    for top in ("compressor", "mac_array", "linear"):
        assert module_name(top, NARROW) != module_name(top, short)
    assert all(len({module_name(top, cfg) for cfg in (NARROW, NARROW)}) == 1 for top in TOPS)


@pytest.mark.parametrize("n, m", [(8, 16), (2, 4), (3, 5), (4, 4), (1, 2)])
@pytest.mark.parametrize("metadata", ["bitmask", "index"])
@pytest.mark.parametrize("in_time, selector", [(False, Selector.AUTO), (True, Selector.AUTO), (True, Selector.RANK2)])
def test_pipelined_routes(n: int, m: int, metadata: str, in_time: bool, selector: Selector) -> None:
    """The route of every block, two enables after its metadata, whatever the pauses."""
    cfg = Config(n_keep=n, m_group=m, lanes=1 if in_time else n, metadata=metadata, selector=selector)
    dut = RouteDecoder(cfg, pipelined=True)
    assert dut.latency == 2
    rng = random.Random(f"{n} {m}")

    async def bench(ctx: Any) -> None:
        stages: list[list[int]] = [[], []]
        for _ in range(200):
            channels = sorted(rng.sample(range(m), n))
            if metadata == "bitmask":
                word = sum(1 << c for c in channels)
            else:
                word = sum(c << (k * cfg.index_width) for k, c in enumerate(channels))
            enables = [rng.random() < 0.7 for _ in stages]
            ctx.set(dut.word, word)
            ctx.set(dut.enable, sum(e << k for k, e in enumerate(enables)))
            await ctx.tick()
            for k in reversed(range(1, len(stages))):
                if enables[k]:
                    stages[k] = stages[k - 1]
            if enables[0]:
                stages[0] = channels
            if stages[-1]:
                assert channels_of(cfg, ctx.get(Value.cast(dut.route))) == stages[-1]

    simulate(dut, bench)
