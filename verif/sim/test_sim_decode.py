"""The decode engine in cocotb, behind its AXI wrapper, with cocotbext-axi's memory."""

import pytest
from flexnm_rtl.config import Config
from flexnm_tb.run import simulate

BENCH = "flexnm_tb.benches.decode"
CONFIGS = {
    "n2m4": Config(n_keep=2, m_group=4, rows=2, lanes=2, k_max=40, bus_width=64, tile_beats=2, outstanding=3),
    "n8m16": Config(n_keep=8, m_group=16, rows=1, lanes=8, k_max=96, bus_width=128, tile_beats=4, outstanding=16),
    "n3m5-odd-widths": Config(
        n_keep=3, m_group=5, rows=3, lanes=3, k_max=40, act_width=6, weight_width=5, bus_width=64, tile_beats=1
    ),
    "n16m32-radix": Config(
        n_keep=16, m_group=32, rows=1, lanes=16, k_max=96, weight_width=16, act_width=9, bus_width=256, tile_beats=2
    ),
}


@pytest.mark.parametrize("config", CONFIGS)
def test_verilator(config: str) -> None:
    assert simulate("decode", CONFIGS[config], BENCH, name=config, wrapped=True).tests >= 15


def test_icarus_lets_no_unknown_out() -> None:
    """Four-state; the benches read every output as a number, which fails for an X."""
    bench = "jobs|extremes|packets|refused|registers|reset"
    outcome = simulate(
        "decode", CONFIGS["n2m4"], BENCH, name="n2m4", simulator="icarus", wrapped=True, test_filter=bench
    )
    assert outcome.tests >= 8
