"""The driver's methods, against an engine in plain Python: tables, mode bits, parameter words, R-Sparse."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from fake_engine import FakeEngine, fields
from flexnm_model import token_methods
from flexnm_model.driver import DeviceError, LinearDriver, Weights
from flexnm_model.matmul import dense_matmul
from flexnm_model.method_tables import ChannelTable, Methods, Modes
from flexnm_model.requantize import Requantization, from_scales, parameter_bits
from flexnm_model.residual import LowRank, residual, run_r_sparse
from flexnm_rtl.config import Config, ConfigError
from flexnm_rtl.registers import BY_NAME
from flexnm_tb.stimuli import random_numbers

ALL = {"static_shift": True, "token_shift": True, "variance": True, "k_max": 64}
CONFIGS = {
    "n2m4-f2": Config(n_keep=2, m_group=4, rows=2, cols=3, lanes=1, t_max=4, score_factor="multiply",
                      fraction_bits=2, **ALL),
    "n8m16": Config(n_keep=8, m_group=16, rows=4, cols=2, lanes=8, t_max=8, score_factor="shift", **ALL),
    "n3m5-odd-widths": Config(n_keep=3, m_group=5, rows=2, cols=4, lanes=3, t_max=8, act_width=6, weight_width=5,
                              score_factor="multiply", factor_width=5, fraction_bits=1, **ALL),
}  # fmt: skip
EVERYTHING = Modes(True, True, True, True)
MODES = {
    "plain": Modes(),
    "factors": Modes(factors=True),
    "static": Modes(static_shift=True),
    "token": Modes(token_shift=True),
    "variance": Modes(variance=True),
    "everything": EVERYTHING,
}


def job(cfg: Config, modes: Modes, seed: int) -> tuple[torch.Tensor, torch.Tensor, Requantization, Methods]:
    """Operands of more tokens than a job takes, parameters, tables."""
    rng = random.Random(seed)
    t, k, o = cfg.tokens_max + rng.randint(1, 3), rng.randint(2, 40), rng.randint(1, 3 * cfg.cols)
    generator = torch.Generator().manual_seed(seed)
    table = ChannelTable(
        torch.randint(0, 1 << cfg.factor_width, (k,), generator=generator),
        torch.randint(-300, 300, (k,), generator=generator),
    )
    x, w = random_numbers(rng, (t, k), cfg.act_width), random_numbers(rng, (o, k), cfg.weight_width)
    r = from_scales(torch.linspace(0.001, 0.02, o, dtype=torch.float64), torch.arange(o) * 100 - 250)
    return x, w, r, Methods(modes, table, torch.randint(0, 8, (t,), generator=generator))


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CONFIGS)
def test_jobs_with_methods(name: str, mode: str, scale: bool) -> None:
    cfg, modes = CONFIGS[name], MODES[mode]
    driver = LinearDriver(FakeEngine(cfg), cfg)
    for seed in range(3):
        x, w, r, methods = job(cfg, modes, seed)
        got = driver.run(x, driver.prepare(w, r), requantize=scale, methods=methods).results
        totals = token_methods.compute(x, w, cfg, modes, methods.table, methods.exponents, r).totals
        assert torch.equal(got, token_methods.finish(totals, cfg, r if scale else None))


@pytest.mark.parametrize("how", ["dense", "compressed"])
def test_other_jobs_have_values_with_fraction_bits(how: str) -> None:
    cfg = CONFIGS["n2m4-f2"]
    driver = LinearDriver(FakeEngine(cfg), cfg)
    x, w, _, _ = job(cfg, Modes(), 1)
    got = driver.run(x, driver.prepare(w), dense=how == "dense", compressed=how == "compressed").results
    plain = token_methods.compute(x, w, cfg, Modes()).totals
    assert torch.equal(got, 4 * (x.long() @ w.long().T) if how == "dense" else plain)


def test_factors_and_variance_need_no_parameters() -> None:
    cfg, modes = CONFIGS["n8m16"], Modes(factors=True, variance=True)
    x, w, _, methods = job(cfg, modes, 4)
    driver = LinearDriver(FakeEngine(cfg), cfg)
    got = driver.run(x, driver.prepare(w), methods=methods).results
    assert torch.equal(got, token_methods.compute(x, w, cfg, modes, methods.table).totals)


def test_tables_are_written_once() -> None:
    cfg = CONFIGS["n8m16"]
    engine = FakeEngine(cfg)
    driver = LinearDriver(engine, cfg)
    x, w, r, methods = job(cfg, MODES["static"], 2)
    weights, (tokens, channels) = driver.prepare(w, r), x.shape
    driver.run(x, weights, methods=methods)
    assert engine.table_writes == channels + tokens
    driver.run(x, weights, methods=Methods(Modes(factors=True), methods.table))
    driver.run(x, weights, methods=Methods(Modes(variance=True)))
    assert engine.table_writes == channels + tokens
    assert methods.table is not None
    other = ChannelTable(methods.table.factor, -methods.table.shift)
    driver.run(x, weights, methods=Methods(Modes(factors=True), other))
    assert engine.table_writes == 2 * channels + tokens
    word = engine.tables["channel_data"][1]
    assert word & 0xFFFF == int(other.factor[1])
    assert fields(word, 16, 2)[1] == int(other.shift[1])


def test_parameter_words_with_sums_of_weights() -> None:
    r = Requantization(*(torch.tensor([value]) for value in (-1, 0x8001, 63)))
    assert parameter_bits(r, torch.tensor([-2])) == [0xFFFF_FFFE_003F_8001_FFFF_FFFF]
    assert parameter_bits(r, torch.tensor([5])) == [0x0000_0005_003F_8001_FFFF_FFFF]
    for sums, message in ((torch.tensor([1, 2]), "2 sums of weights for 1"), (torch.tensor([1 << 31]), "out of range")):
        with pytest.raises(ConfigError, match=message):
            parameter_bits(r, sums)


def low_rank(cfg: Config, k: int, o: int) -> LowRank:
    generator = torch.Generator().manual_seed(k)
    rank = 3
    a, b = torch.randn(o, rank, generator=generator), torch.randn(rank, k, generator=generator)
    return LowRank.of(a, b, cfg.weight_width)


@pytest.mark.parametrize("name", CONFIGS)
def test_r_sparse_in_three_jobs(name: str) -> None:
    cfg = CONFIGS[name]
    engine = FakeEngine(cfg)
    driver = LinearDriver(engine, cfg)
    x, w, r, methods = job(cfg, EVERYTHING, 5)
    factors = low_rank(cfg, x.shape[1], w.shape[0])
    scale = torch.linspace(0.01, 0.02, len(x), dtype=torch.float64)[:, None]
    packed = driver.prepare(factors.inner.q), driver.prepare(factors.outer.q)
    sparse, term = run_r_sparse(driver, x, scale, driver.prepare(w, r), factors, packed, methods)
    expected = token_methods.compute(x, w, cfg, EVERYTHING, methods.table, methods.exponents, r)
    assert torch.equal(sparse.results, token_methods.finish(expected.totals, cfg))
    assert torch.equal(term, residual(expected, scale, factors, cfg, lambda values, v: dense_matmul(values, v, cfg)))
    assert {job["dense"] for job in engine.jobs} == {0, 1}
    assert bool(term.any())


def test_the_term_of_low_rank_by_its_formula() -> None:
    """Within the rounding of both quantisations of the exact product."""
    cfg = CONFIGS["n2m4-f2"]
    x, w, _, methods = job(cfg, EVERYTHING, 6)
    factors = low_rank(cfg, x.shape[1], w.shape[0])
    selected = token_methods.select_values(x, cfg, methods)
    assert torch.equal(selected.kept + selected.dropped, selected.values)
    scale = torch.full((len(x), 1), 0.01, dtype=torch.float64)
    term = residual(selected, scale, factors, cfg, lambda values, v: dense_matmul(values, v, cfg))
    inner, outer = (q.q.double() * q.scale for q in (factors.inner, factors.outer))
    dropped = selected.dropped * scale / 4
    hidden = dropped @ inner.T
    step = dropped.abs().amax(1, keepdim=True) / 127
    first = step / 2 * inner.abs().sum(1)  # half a step of each activation
    second = (hidden.abs() + first).amax(1, keepdim=True) / 127 / 2
    bound = (first + second) @ outer.abs().T
    assert bool(((term - hidden @ outer.T).abs() <= 1.001 * bound).all())
    assert float((term - hidden @ outer.T).norm() / (hidden @ outer.T).norm()) < 0.02


CFG = CONFIGS["n8m16"]
TABLE = ChannelTable(torch.ones(8, dtype=torch.int64), torch.ones(8, dtype=torch.int64))
X = torch.ones(2, 8, dtype=torch.int32)
Run = Callable[[LinearDriver, Weights, Weights], object]
BAD: dict[str, tuple[Run, str]] = {
    "dense": (lambda d, w, r: d.run(X, r, dense=True, methods=Methods(MODES["token"])), "sparse job"),
    "compressed": (lambda d, w, r: d.run(X, r, compressed=True, methods=Methods(MODES["variance"])), "sparse job"),
    "no parameters": (lambda d, w, r: d.run(X, w, methods=Methods(MODES["token"])), "prepare"),
    "no table": (lambda d, w, r: d.run(X, r, methods=Methods(MODES["factors"])), "table"),
    "no exponents": (lambda d, w, r: d.run(X, r, methods=Methods(MODES["static"], TABLE)), "exponents"),
    "exponents": (
        lambda d, w, r: d.run(X, r, methods=Methods(MODES["static"], TABLE, torch.zeros(3, dtype=torch.int64))),
        r"\(2,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_methods_are_refused_in_one_line(case: str) -> None:
    call, message = BAD[case]
    driver = LinearDriver(FakeEngine(CFG), CFG)
    w = torch.ones(3, 8, dtype=torch.int32)
    parameters = from_scales(torch.ones(3, dtype=torch.float64))
    with pytest.raises(ConfigError, match=message) as caught:
        call(driver, driver.prepare(w), driver.prepare(w, parameters))
    assert "\n" not in str(caught.value)


def test_engines_without_the_hardware() -> None:
    plain = Config(n_keep=8, m_group=16, rows=4, cols=2, lanes=8, k_max=64, t_max=8)
    with pytest.raises(DeviceError, match="methods"):
        LinearDriver(FakeEngine(plain), CFG)
    driver = LinearDriver(FakeEngine(plain), plain)
    weights = driver.prepare(torch.ones(3, 8, dtype=torch.int32))
    with pytest.raises(ConfigError, match="VARIANCE=1"):
        driver.run(X, weights, methods=Methods(MODES["variance"]))
    assert BY_NAME["mode"].encode(factors=1, static_shift=1, token_shift=1, variance=1) == 0xF0
