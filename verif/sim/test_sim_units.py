"""Every unit in cocotb, over patterns, widths, metadata formats and selectors."""

import pytest
from flexnm_rtl.config import Config
from flexnm_tb.run import simulate

CONFIGS = {
    "n2m4": Config(n_keep=2, m_group=4, rows=2, cols=3, lanes=1),
    "n4m8-index": Config(n_keep=4, m_group=8, rows=2, cols=3, lanes=2, metadata="index"),
    "n8m16": Config(n_keep=8, m_group=16, rows=3, cols=2, lanes=8),
    "n8m16-index-radix": Config(n_keep=8, m_group=16, rows=1, cols=1, lanes=8, metadata="index", selector="radix"),
    "n8m16-rank2": Config(n_keep=8, m_group=16, rows=3, cols=2, lanes=2, selector="rank2"),
    "n8m16-w4": Config(n_keep=8, m_group=16, act_width=4, weight_width=4, rows=2, cols=2, lanes=2),
    "n8m16-w16": Config(n_keep=8, m_group=16, act_width=16, weight_width=16, rows=2, cols=2, lanes=1),
    "n16m32": Config(n_keep=16, m_group=32, rows=2, cols=2, lanes=4),
    "n16m32-w4-rank-enumerative": Config(
        n_keep=16, m_group=32, act_width=4, rows=1, cols=2, lanes=16, metadata="enumerative", selector="rank"
    ),
    "n1m2": Config(n_keep=1, m_group=2, rows=2, cols=3, lanes=1),
    "n1m16-index": Config(n_keep=1, m_group=16, rows=2, cols=3, lanes=1, metadata="index"),
    "n3m5": Config(n_keep=3, m_group=5, rows=2, cols=3, lanes=1),
    "n3m5-w16-index": Config(n_keep=3, m_group=5, act_width=16, rows=2, cols=3, lanes=3, metadata="index"),
    "n7m7": Config(n_keep=7, m_group=7, rows=2, cols=2, lanes=7),
    "n31m32": Config(n_keep=31, m_group=32, rows=1, cols=2, lanes=1),
}
SCORED = {
    "n8m16-multiply": CONFIGS["n8m16"].replace(score_factor="multiply"),
    "n4m8-shift-radix": CONFIGS["n4m8-index"].replace(score_factor="shift", factor_width=2, selector="radix"),
    "n3m5-w16-multiply": CONFIGS["n3m5-w16-index"].replace(score_factor="multiply", factor_width=16),
}
FLEXIBLE = {
    "flexible-n16m32": Config(n_keep=16, m_group=32, flexible=True, rows=2, cols=2, lanes=4),
    "flexible-n16m16": Config(n_keep=16, m_group=16, flexible=True, act_width=5, rows=1, cols=2, lanes=8),
}
SELECTORS = {"n8m16-index-radix", "n8m16-rank2"}
SKIPPED = {
    "compressor": set(),
    "decompressor": SELECTORS,
    "dense_splitter": SELECTORS | {"n4m8-index", "n1m16-index", "n3m5-w16-index", "n16m32-w4-rank-enumerative", "n7m7"},
    "mac_array": set(),
}
"""By unit: configurations whose difference to others of the list does not reach it."""
PAIRS = [(unit, config) for unit, skipped in SKIPPED.items() for config in CONFIGS if config not in skipped]
ICARUS = ("n2m4", "n8m16", "n8m16-rank2", "n8m16-index-radix", "n3m5")


def _run(unit: str, config: str, simulator: str) -> None:
    cfg = (CONFIGS | SCORED | FLEXIBLE)[config].replace(k_max=4096)
    outcome = simulate(unit, cfg, f"flexnm_tb.benches.{unit}", name=config, simulator=simulator)
    assert outcome.tests >= 7


@pytest.mark.parametrize("unit, config", PAIRS)
def test_verilator(unit: str, config: str) -> None:
    _run(unit, config, "verilator")


@pytest.mark.parametrize("config", SCORED)
def test_compressor_with_factors(config: str) -> None:
    _run("compressor", config, "verilator")


@pytest.mark.parametrize(
    "unit, config", [("compressor", name) for name in FLEXIBLE] + [("mac_array", "flexible-n16m32")]
)
def test_patterns_at_run_time(unit: str, config: str) -> None:
    _run(unit, config, "verilator")


@pytest.mark.parametrize("unit, config", [pair for pair in PAIRS if pair[1] in ICARUS])
def test_icarus_lets_no_unknown_out(unit: str, config: str) -> None:
    """Four-state, and the emitted Verilog has no initial values: a register used before reset shows as X."""
    _run(unit, config, "icarus")
