"""TokenMean and TokenVariance against exact fractions: ties of both signs, extreme tokens, limits."""

from __future__ import annotations

import random
from fractions import Fraction
from math import isqrt

import pytest
from flexnm_rtl.config import MAX_K, Config
from flexnm_rtl.token_mean import TokenMean
from flexnm_rtl.token_variance import TokenVariance
from serial_tools import Inputs, run_serial

CONFIGS = {
    "w8": Config(token_shift=True, variance=True),
    "w8 f4, small": Config(token_shift=True, variance=True, fraction_bits=4, k_max=37),
    "w4 f1": Config(token_shift=True, variance=True, act_width=4, fraction_bits=1, k_max=300),
    "w12 f4, largest": Config(token_shift=True, variance=True, act_width=12, fraction_bits=4, k_max=MAX_K),
    "w16, largest": Config(token_shift=True, variance=True, act_width=16, k_max=MAX_K),
}
ONE, TOP = 1 << 12, (1 << 16) - 1
Token = list[int]


def sums(cfg: Config) -> list[tuple[int, int]]:
    """Sums and channels: extreme activations, halves and their neighbours, random sums of few and many channels."""
    rng = random.Random(cfg.k_max)
    low, high = -(1 << (cfg.act_width - 1)), (1 << (cfg.act_width - 1)) - 1
    channels = [1, 2, 3, 4, 6, 7, 16, 32, cfg.k_max - 1, cfg.k_max, *(rng.randint(1, cfg.k_max) for _ in range(10))]
    jobs = []
    for k in channels:
        jobs += [(k * low, k), (k * high, k), (0, k), (k * low + 1, k), (-1, k), (1, k)]
        for whole in (0, 1, 2, 3, rng.randrange(high)):
            half = (2 * whole + 1) * k >> (cfg.fraction_bits + 1)
            jobs += [(sign * (half + d), k) for sign in (1, -1) for d in (-1, 0, 1)]
        jobs += [(rng.randint(k * low, k * high), k) for _ in range(4)]
    return [(total, k) for total, k in jobs if k * low <= total <= k * high]


@pytest.mark.parametrize("name", CONFIGS)
def test_mean(name: str) -> None:
    cfg = CONFIGS[name]
    jobs = sums(cfg)
    exact = [Fraction(total << cfg.fraction_bits, k) for total, k in jobs]
    ties = [mean for mean in exact if mean.denominator == 2]
    assert len({(mean > 0, round(mean) > mean) for mean in ties}) == 4, "ties up and down, of both signs"
    dut = TokenMean(cfg)
    assert dut.latency == cfg.value_width + 2
    got = run_serial(dut, [{"sum": total, "channels": k} for total, k in jobs], ("mean",), held=("channels",))
    assert got == [(round(mean),) for mean in exact]  # round() of a Fraction takes halves to the even neighbour


def moments(token: Token, dropped: set[int], k: int) -> Inputs:
    """What a meter finds in a token with ``k`` channels, zero after the values given."""
    kept = [0 if i in dropped else v for i, v in enumerate(token)]
    return {
        "channels": k,
        "before_sum": sum(token),
        "before_squares": sum(v * v for v in token),
        "after_sum": sum(kept),
        "after_squares": sum(v * v for v in kept),
    }


def uniform(k: int, parts: dict[int, int], kept: dict[int, int]) -> Inputs:
    """Moments of a token with ``parts[v]`` channels of value v, of which ``kept[v]`` stay."""
    sides = {"before": parts, "after": kept}
    job = {f"{side}_sum": sum(n * v for v, n in counts.items()) for side, counts in sides.items()}
    job |= {f"{side}_squares": sum(n * v * v for v, n in counts.items()) for side, counts in sides.items()}
    return {"channels": k, **job}


def gain(job: Inputs) -> int:
    before, after = (job["channels"] * job[f"{side}_squares"] - job[f"{side}_sum"] ** 2 for side in ("before", "after"))
    return min(isqrt((before << 24) // after), TOP) if after else ONE


def variance_jobs(cfg: Config) -> list[Inputs]:
    rng = random.Random(cfg.k_max)
    low, high = -(1 << (cfg.value_width - 1)), (1 << (cfg.value_width - 1)) - 1
    k = cfg.k_max
    jobs = [
        uniform(k, {low: k}, {low: k}),  # largest sums, no variance at all
        uniform(k, {low: k}, {low: k // 2}),  # no variance, but some after the selection
        uniform(k, {low: k // 2, high: k - k // 2}, {low: k // 2}),  # most variance
        uniform(k, {low: 1, high: 1}, {high: 1}),
        uniform(k, {low: k // 2, high: k - k // 2}, {1: 1}),  # beyond the limit
        uniform(k, {low: 1}, {}),
        moments([0], set(), 1),
        moments([high], set(), 1),
        moments([low, high], {1}, 2),
        moments([low, high], set(), 2),
        moments([1, -1], {0, 1}, 2),
    ]
    for _ in range(40):
        k = rng.randint(1, min(40, cfg.k_max))
        size = rng.randrange(1, high + 1) if rng.random() < 0.5 else rng.randint(1, min(high, 5))
        token = [rng.randint(-size, size) for _ in range(k)]
        jobs.append(moments(token, {i for i in range(k) if rng.random() < rng.choice((0.1, 0.5, 0.9))}, k))
    for ratio in (15, 16, 17):  # gains around the limit: standard deviations that far apart
        jobs += [uniform(2, {ratio * v: 1, -ratio * v: 1}, {v: 1, -v: 1}) for v in (1, 3) if ratio * v <= high]
    return jobs


@pytest.mark.parametrize("name", CONFIGS)
def test_variance(name: str) -> None:
    cfg = CONFIGS[name]
    jobs = variance_jobs(cfg)
    expected = [gain(job) for job in jobs]
    assert {0, ONE, TOP} <= set(expected)
    assert sum(y not in (0, ONE, TOP) for y in expected) > 20
    dut = TokenVariance(cfg)
    assert run_serial(dut, jobs, ("nu",), held=list(jobs[0])) == [(y,) for y in expected]


def test_gains_around_the_limit() -> None:
    """Quotients of variances around 65535**2 and 2**32."""
    cfg = Config(variance=True, act_width=16, k_max=1 << 12)
    k = cfg.k_max
    below = 65535**2 >> 8
    jobs = [
        {"channels": k, "before_sum": 0, "before_squares": squares, "after_sum": 0, "after_squares": 1 << 16}
        for squares in (below, below + 1, (1 << 24) - 1, 1 << 24, (1 << 24) + 1, 1 << 30)
    ]
    assert [gain(job) for job in jobs] == [TOP - 1] + 5 * [TOP]
    got = run_serial(TokenVariance(cfg), jobs, ("nu",), held=list(jobs[0]))
    assert got == [(gain(job),) for job in jobs]
