"""The integer rule of the methods on tensors against the same in plain Python, and numbers worked out by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from flexnm_model import reference, token_methods
from flexnm_model import reference_methods as slow
from flexnm_model.matmul import sparse_matmul
from flexnm_model.method_tables import ChannelTable, Modes
from flexnm_model.requantize import Requantization
from flexnm_rtl.config import GAIN_FRACTION, Config, ConfigError
from flexnm_tb.stimuli import edge_tokens, random_numbers

SMALL = {"rows": 2, "cols": 2, "lanes": 1, "k_max": 256}
ALL = {"static_shift": True, "token_shift": True, "variance": True}
CONFIGS = {
    "n2m4": Config(n_keep=2, m_group=4, score_factor="multiply", **ALL, **SMALL),
    "n8m16-f2-shift": Config(n_keep=8, m_group=16, score_factor="shift", fraction_bits=2, **ALL, **SMALL),
    "n3m5-f4": Config(n_keep=3, m_group=5, score_factor="multiply", factor_width=3, fraction_bits=4, **ALL, **SMALL),
    "n4m4": Config(n_keep=4, m_group=4, score_factor="shift", factor_width=4, **ALL, **SMALL),
    "n1m32": Config(n_keep=1, m_group=32, score_factor="multiply", factor_width=1, fraction_bits=1, **ALL, **SMALL),
    "wide": Config(
        n_keep=2, m_group=4, act_width=12, weight_width=16, score_factor="multiply", factor_width=16,
        fraction_bits=4, **ALL, **SMALL | {"k_max": 1 << 20},
    ),
    "wide-shift": Config(n_keep=1, m_group=2, act_width=16, score_factor="shift", factor_width=4, **ALL, **SMALL),
}  # fmt: skip
MODES = [Modes(*(bool(bits >> i & 1) for i in range(4))) for bits in range(16)]


def numbers(rng: random.Random, shape: tuple[int, ...], low: int, high: int) -> torch.Tensor:
    """Uniform from ``low .. high``, or the two ends and 0 alone."""
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    if rng.random() < 0.3:
        return torch.tensor([low, high, 0])[torch.randint(0, 3, shape, generator=generator)]
    return torch.randint(low, high + 1, shape, generator=generator)


def table_for(rng: random.Random, cfg: Config, k: int) -> ChannelTable:
    reach = rng.choice([(1 << 15) - 1, (1 << (cfg.value_width - 1)) - 1, 3])
    return ChannelTable(numbers(rng, (k,), 0, (1 << cfg.factor_width) - 1), numbers(rng, (k,), -reach - 1, reach))


def parameters(rng: random.Random, outputs: int) -> Requantization:
    limit = rng.choice([(1 << 31) - 1, 1000])
    zeros = torch.zeros(outputs, dtype=torch.int64)
    return Requantization(numbers(rng, (outputs,), -limit - 1, limit), zeros + 40000, zeros + 24)


def compare(
    x: torch.Tensor, w: torch.Tensor, cfg: Config, modes: Modes, rng: random.Random, *, own_rowsum: bool = True
) -> token_methods.TokenResults:
    """Assert that everything the rule defines is what plain Python says."""
    table, r = table_for(rng, cfg, x.shape[1]), parameters(rng, w.shape[0])
    exponents = numbers(rng, (x.shape[0],), 0, 15)
    rowsum = None if own_rowsum else numbers(rng, (w.shape[0],), -(1 << 31), (1 << 31) - 1)
    got = token_methods.compute(x, w, cfg, modes, table, exponents, r, rowsum)
    weights = w.tolist()
    for t, token in enumerate(x.tolist()):
        job = slow.TokenJob(
            token,
            table.factor.tolist() if modes.factors else None,
            table.shift.tolist() if modes.static_shift else None,
            int(exponents[t]),
            modes.token_shift,
            modes.variance,
            r.bias.tolist(),
            None if rowsum is None else rowsum.tolist(),
        )
        assert int(got.eta[t]) == slow.token_shift(job, cfg)
        assert got.values[t].tolist() == slow.shifted(job, cfg)
        assert got.scores[t].tolist() == slow.scores(job, cfg)
        assert got.mask[t].flatten()[: x.shape[1]].tolist() == slow.mask(job, cfg)
        assert got.kept[t].tolist() == slow.kept(job, cfg)
        assert int(got.gain[t]) == slow.gain(job, cfg)
        assert got.totals[t].tolist() == slow.totals(job, weights, cfg)
    return got


@pytest.mark.parametrize(
    "modes", MODES, ids=lambda m: f"{m.factors:d}{m.static_shift:d}{m.token_shift:d}{m.variance:d}"
)
@pytest.mark.parametrize("name", CONFIGS)
def test_random_jobs(name: str, modes: Modes) -> None:
    cfg, rng = CONFIGS[name], random.Random(f"{name}{modes}")
    for k in (1, rng.randint(2, 2 * cfg.m_group), 3 * cfg.m_group):
        x = random_numbers(rng, (3, k), cfg.act_width)
        compare(x, random_numbers(rng, (2, k), cfg.weight_width), cfg, modes, rng, own_rowsum=rng.random() < 0.5)


@pytest.mark.parametrize("modes", [MODES[i] for i in (0, 1, 7, 8, 14, 15)])
@pytest.mark.parametrize("name", CONFIGS)
def test_edge_tokens(name: str, modes: Modes) -> None:
    cfg, rng = CONFIGS[name], random.Random(5)
    for k in (cfg.m_group - 1, 2 * cfg.m_group, 2 * cfg.m_group + 1):
        low = -(1 << (cfg.weight_width - 1))
        compare(edge_tokens(cfg, k), torch.tensor([[low] * k, [1] * k]), cfg, modes, rng)


def test_without_methods_it_is_the_plain_sparse_product() -> None:
    cfg, rng = CONFIGS["n8m16-f2-shift"], random.Random(2)
    x, w = random_numbers(rng, (5, 37), 8), random_numbers(rng, (3, 37), 8)
    plain = cfg.replace(static_shift=False, token_shift=False, fraction_bits=0)
    assert torch.equal(token_methods.compute(x, w, plain, Modes()).totals, sparse_matmul(x, w, plain))
    assert torch.equal(token_methods.compute(x, w, cfg, Modes()).totals, 4 * sparse_matmul(x, w, plain))


def test_a_job_worked_out_by_hand() -> None:
    """2:4, f = 1, exponent 2. Mean of (10, -3, 0, 8, 2) is 17/5, doubled 6.8: eta = 7. h / 4 = (0.5, 1.5, 2.5, -1, 25)
    rounds to (0, 2, 2, -1, 25). v = 2 x - that - 7 = (13, -15, -9, 10, -28).
    Scores by factors (1, 1, 2, 1, 0): 13, 15, 18, 10, 0: kept are -15, -9, -28. With weights (1, 2, 3, 4, -5) the sum
    is 83. V = 5 * 1359 - 29**2 = 5954 and V' = 5 * 1090 - 52**2 = 2746, the root of their quotient * 4096 is 6031.4:
    83 * 6031 / 4096 = 122.2. eta gives back 7 * 5, bias 10 / 4 is 2 (half to even): 122 + 35 + 2.
    """
    cfg = CONFIGS["n2m4"].replace(fraction_bits=1)
    table = ChannelTable(torch.tensor([1, 1, 2, 1, 0]), torch.tensor([2, 6, 10, -4, 100]))
    r = Requantization(torch.tensor([10]), torch.tensor([1 << 15]), torch.tensor([17]))
    x, w = torch.tensor([[10, -3, 0, 8, 2]]), torch.tensor([[1, 2, 3, 4, -5]])
    got = token_methods.compute(x, w, cfg, Modes(True, True, True, True), table, torch.tensor([2]), r)
    assert (got.eta.tolist(), got.values.tolist()) == ([7], [[13, -15, -9, 10, -28]])
    assert got.kept.tolist() == [[0, -15, -9, 0, -28]]
    assert (got.sums.tolist(), got.gain.tolist(), got.totals.tolist()) == ([[83]], [6031], [[159]])
    assert token_methods.finish(got.totals, cfg).tolist() == [[159]]
    assert token_methods.finish(got.totals, cfg, r).tolist() == [[40]]  # 39.75
    halved = replace(r, shift=torch.tensor([16]))
    assert token_methods.finish(got.totals, cfg, halved).tolist() == [[80]]  # 79.5


def test_gains_at_their_limits() -> None:
    zero = torch.zeros(1, 64, dtype=torch.int64)
    hot, constant = zero.clone(), zero + 5
    hot[0, 3] = 1
    assert token_methods.gain(zero, zero).tolist() == [1 << GAIN_FRACTION]
    assert token_methods.gain(constant, zero).tolist() == [1 << GAIN_FRACTION]
    assert token_methods.gain(constant, hot).tolist() == [0]
    assert token_methods.gain(hot, hot).tolist() == [1 << GAIN_FRACTION]
    assert token_methods.gain(1000 * hot, hot).tolist() == [(1 << 16) - 1]
    assert token_methods.gain(15 * hot, hot).tolist() == [15 << GAIN_FRACTION]
    assert token_methods.gain(16 * hot, hot).tolist() == [(1 << 16) - 1]


def test_gains_of_the_longest_tokens_are_exact() -> None:
    k = 1 << 18
    v = torch.full((1, k), -(1 << 15), dtype=torch.int64)
    v[0, ::2] = (1 << 15) - 1
    kept = v.clone()
    kept[0, ::4] = 0
    ratio = slow.variance([-(1 << 15), (1 << 15) - 1]) / slow.variance([0, -(1 << 15), (1 << 15) - 1, -(1 << 15)])
    nu = Fraction(int(token_methods.gain(v, kept)[0]), 1 << GAIN_FRACTION)
    assert nu**2 <= ratio < (nu + Fraction(1, 1 << GAIN_FRACTION)) ** 2


@pytest.mark.parametrize("nu", [0, 1, 2048, 4095, 4096, 4097, 6144, 65535])
def test_a_gain_on_sums_of_every_size(nu: int) -> None:
    edges = [0, 1, 2, 3, 2047, 2048, 4096, 2**31, 2**51 - 1, 2**51]
    sums = [s * v + d for v in edges for s in (1, -1) for d in (-1, 0, 1)]
    got = token_methods.apply_gain(torch.tensor([sums]), torch.tensor([nu]))
    assert got.tolist() == [[round(Fraction(v * nu, 4096)) for v in sums]]


@pytest.mark.parametrize("denominator", [1, 2, 3, 4, 5, 7, 8, 1 << 15])
def test_halves_go_to_the_even_neighbour(denominator: int) -> None:
    values = [*range(-40, 41), *(n * denominator // 2 + d for n in range(-9, 10) for d in (-1, 0, 1))]
    got = token_methods.divide_half_even(torch.tensor(values), torch.tensor(denominator))
    assert got.tolist() == [round(Fraction(v, denominator)) for v in values]


def test_results_are_clamped() -> None:
    cfg = CONFIGS["n2m4"]
    totals = torch.tensor([[1 << 33, -(1 << 33), 5]])
    assert token_methods.finish(totals, cfg).tolist() == [[2**31 - 1, -(2**31), 5]]
    r = Requantization(torch.tensor([7, 7, 7]), torch.tensor([1, 1, 3]), torch.tensor([0, 0, 1]))
    assert token_methods.finish(totals, cfg, r).tolist() == [[127, -128, reference.requantize(5, 0, 3, 1, 8)]]


X, W = torch.ones(2, 5, dtype=torch.int64), torch.ones(3, 5, dtype=torch.int64)
CFG = CONFIGS["n2m4"]
TABLE = ChannelTable(torch.ones(5, dtype=torch.int64), torch.ones(5, dtype=torch.int64))
E = torch.zeros(2, dtype=torch.int64)
R = Requantization(*(torch.zeros(3, dtype=torch.int64) for _ in range(3)))
STATIC, FACTORS, TOKEN = Modes(static_shift=True), Modes(factors=True), Modes(token_shift=True)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "factors": (lambda: Modes(factors=True).check(Config()), "SCORE_FACTOR"),
    "static": (lambda: Modes(static_shift=True).check(Config()), "STATIC_SHIFT=1"),
    "token": (lambda: Modes(token_shift=True).check(Config()), "TOKEN_SHIFT=1"),
    "variance": (lambda: Modes(variance=True).check(Config()), "VARIANCE=1"),
    "no table": (lambda: token_methods.compute(X, W, CFG, FACTORS), "table"),
    "no exponents": (lambda: token_methods.compute(X, W, CFG, STATIC, TABLE, None, R), "exponents"),
    "no bias": (lambda: token_methods.compute(X, W, CFG, STATIC, TABLE, E), "bias"),
    "exponent": (lambda: token_methods.compute(X, W, CFG, STATIC, TABLE, E + 16, R), "0 to 15"),
    "exponents": (lambda: token_methods.compute(X, W, CFG, STATIC, TABLE, E[:1], R), r"\(2,\)"),
    "factor": (lambda: replace(TABLE, factor=TABLE.factor * 256).check(5, CFG), "0 to 255"),
    "shift": (lambda: replace(TABLE, shift=TABLE.shift * 32768).check(5, CFG), "-32768 to 32767"),
    "length": (lambda: TABLE.check(6, CFG), r"\(6,\)"),
    "type": (lambda: replace(TABLE, shift=TABLE.shift.to(torch.int32)).check(5, CFG), "int64"),
    "rowsum": (lambda: token_methods.compute(X, W, CFG, TOKEN, None, None, R, E), r"\(3,\)"),
    "activations": (lambda: token_methods.compute(128 * X, W, CFG, TOKEN), "do not fit 8 bits"),
    "weights": (lambda: token_methods.compute(X, 128 * W, CFG, TOKEN), "do not fit 8 bits"),
    "shapes": (lambda: token_methods.compute(X, W[:, :4], CFG, TOKEN), "cannot multiply"),
    "no channels": (lambda: token_methods.compute(X[:, :0], W[:, :0], CFG, TOKEN), "cannot multiply"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
