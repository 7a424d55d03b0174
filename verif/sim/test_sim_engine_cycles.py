"""The linear engine keeps its array busy: cycles of whole layers against the ideal."""

from collections.abc import Iterator

import pytest
from flexnm_rtl.presets import preset
from flexnm_tb.cosim.engine import SimulatedEngine
from flexnm_tb.cosim.job_cycles import job_cycles
from flexnm_tb.engine_cycles import unstalled_cycles
from flexnm_tb.llm_commands import PRESET

CFG = preset(PRESET)  # the engine that the tests on a whole LLM build as well
SMOLLM2 = ((576, 576), (576, 192), (576, 1536), (1536, 576))  # (K, O)


@pytest.fixture(scope="module")
def engine() -> Iterator[SimulatedEngine]:
    with SimulatedEngine(CFG) as simulated:
        yield simulated


def test_the_engine_is_the_one_of_the_target() -> None:
    assert (CFG.pattern, CFG.rows, CFG.cols, CFG.lanes) == ("8:16", 8, 16, 1)


@pytest.mark.parametrize("channels, outputs", SMOLLM2)
def test_layers_of_smollm2(engine: SimulatedEngine, channels: int, outputs: int) -> None:
    row = job_cycles(engine, 64, channels, outputs)
    assert row.ideal == 8 * -(-outputs // 16) * -(-channels // 16) * 8
    assert row.ideal <= row.cycles <= 1.02 * row.ideal


@pytest.mark.parametrize("tokens", [1, 8, 11])
def test_few_tokens_take_the_cycles_stated(engine: SimulatedEngine, tokens: int) -> None:
    """Ideal cycles, fill and drain, and not one more."""
    assert job_cycles(engine, tokens, 200, 100).cycles == unstalled_cycles(CFG, tokens, 200, 100)
