"""The linear engine, in its AXI wrapper, in cocotb: jobs, errors, registers, over patterns, widths and array shapes."""

import pytest
from flexnm_rtl.config import Config
from flexnm_tb.run import simulate

# Small buffers, so that rings wrap and the largest jobs are short.
CONFIGS = {
    "n2m4": Config(n_keep=2, m_group=4, rows=2, cols=3, lanes=1, k_max=24, t_max=7),
    "n8m16-index-radix": Config(
        n_keep=8,
        m_group=16,
        rows=2,
        cols=4,
        lanes=4,
        k_max=80,
        t_max=6,
        results_per_beat=2,
        metadata="index",
        selector="radix",
    ),
    "n3m5-a6w5": Config(n_keep=3, m_group=5, act_width=6, weight_width=5, rows=3, cols=2, lanes=1, k_max=18, t_max=8),
    "n4m8-rank2": Config(n_keep=4, m_group=8, rows=3, cols=4, lanes=1, k_max=52, t_max=9, selector="rank2"),
    "n8m16-int4-enumerative": Config(
        n_keep=8,
        m_group=16,
        act_width=4,
        weight_width=4,
        rows=4,
        cols=2,
        lanes=2,
        k_max=64,
        t_max=9,
        metadata="enumerative",
    ),
    "n16m32": Config(n_keep=16, m_group=32, rows=2, cols=4, lanes=4, k_max=96, t_max=4, results_per_beat=4),
    "n2m4-w16": Config(n_keep=2, m_group=4, act_width=16, weight_width=16, rows=2, cols=2, lanes=1, k_max=28, t_max=5),
    "n16m32-sum64": Config(n_keep=16, m_group=32, weight_width=12, rows=1, cols=2, lanes=16, k_max=8192, t_max=2),
    "n8m16-methods": Config(
        n_keep=8,
        m_group=16,
        rows=3,
        cols=4,
        lanes=2,
        k_max=80,
        t_max=8,
        score_factor="multiply",
        factor_width=6,
        static_shift=True,
        token_shift=True,
        variance=True,
        fraction_bits=2,
    ),
    "n3m5-methods": Config(
        n_keep=3,
        m_group=5,
        act_width=6,
        weight_width=5,
        rows=4,
        cols=2,
        lanes=1,
        k_max=18,
        t_max=9,
        acts_per_beat=2,
        score_factor="shift",
        static_shift=True,
        variance=True,
    ),
    "n2m4-token-shift": Config(
        n_keep=2,
        m_group=4,
        rows=3,
        cols=3,
        lanes=1,
        k_max=24,
        t_max=7,
        results_per_beat=3,
        token_shift=True,
        score_factor="multiply",
    ),
    "flexible": Config(
        n_keep=20, m_group=32, flexible=True, rows=2, cols=3, lanes=2, k_max=100, t_max=5, weights_per_beat=1
    ),
    "flexible-factors": Config(
        n_keep=12, m_group=16, flexible=True, rows=3, cols=2, lanes=4, k_max=80, t_max=7, score_factor="shift"
    ),
    "n4m4": Config(n_keep=4, m_group=4, rows=2, cols=2, lanes=2, k_max=22, t_max=6),
}
JOBS_ONLY = {"n8m16-index-radix", "n16m32", "n2m4-w16", "n16m32-sum64", "flexible-factors", "n4m4"}
"""Configurations whose difference to others of the list does not reach errors and registers."""
ICARUS = {"n2m4": False, "n3m5-methods": True, "n2m4-token-shift": True}
"""Whether only the jobs are run."""


def _run(config: str, simulator: str, jobs_only: bool) -> None:
    names = ["linear"] if jobs_only else ["linear", "linear_errors", "linear_registers"]
    modules = ",".join(f"flexnm_tb.benches.{name}" for name in names)
    outcome = simulate("linear", CONFIGS[config], modules, name=config, simulator=simulator, wrapped=True)
    assert outcome.tests == (10 if jobs_only else 24)


@pytest.mark.parametrize("config", CONFIGS)
def test_verilator(config: str) -> None:
    _run(config, "verilator", config in JOBS_ONLY)


@pytest.mark.parametrize("config", ICARUS)
def test_icarus_lets_no_unknown_out(config: str) -> None:
    """Four-state, and neither registers nor memories have initial values: what is used unset shows as X."""
    _run(config, "icarus", ICARUS[config])


@pytest.mark.parametrize("selector", ["auto", "rank2"])
def test_jobs_after_each_other_on_a_tall_array(selector: str) -> None:
    """What one token leaves of a group takes longer to drop than the next start to arrive."""
    cfg = Config(n_keep=2, m_group=4, rows=32, cols=1, lanes=1, k_max=8, t_max=64, selector=selector)
    outcome = simulate("linear", cfg, "flexnm_tb.benches.linear_again", name=f"tall-{selector}", wrapped=True)
    assert outcome.tests == 3


def test_results_wider_than_32_bits_are_covered() -> None:
    assert CONFIGS["n2m4-w16"].result_width == 64
    assert CONFIGS["n16m32-sum64"].result_width == 64
