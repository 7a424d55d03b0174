"""Error bars: binomial ones of accuracies, and the bootstrap for losses that share their windows and documents.

Two losses a method can have, both zero for the dense model:
    nats      ln(perplexity / dense perplexity): more nats a token
    accuracy  dense accuracy - accuracy, percentage points, mean over the tasks
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flexnm_model.accuracy import MethodResult

Draws = npt.NDArray[np.float64]
DRAWS = 4000
SEED = 0
# Draws at a time: a count for each of 10042 documents has to fit into memory.
_CHUNK = 250


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Loss:
    """Loss of one method. value: measured. draws: the same on each resampled set of windows or documents."""

    value: float
    draws: Draws

    def minus(self, other: Loss) -> Estimate:
        """How much larger this loss is."""
        return _estimate(self.value - other.value, self.draws - other.draws)

    def over(self, other: Loss) -> Estimate:
        """How many times larger this loss is, both being positive; infinity where a drawn other one is not."""
        draws = np.where(other.draws > 0, self.draws / np.where(other.draws > 0, other.draws, 1), np.inf)
        return _estimate(self.value / other.value, draws)

    @property
    def estimate(self) -> Estimate:
        """The loss itself."""
        return _estimate(self.value, self.draws)


def _estimate(value: float, draws: Draws) -> Estimate:
    # "nearest" takes values that were drawn: infinities cannot be interpolated.
    low, high = np.quantile(draws, [0.025, 0.975], method="nearest")
    return Estimate(value, float(low), float(high))


def percent(right: Sequence[bool]) -> Estimate:
    """Accuracy in percent; the interval is one binomial standard error to each side, sqrt(p (1 - p) / n)."""
    p = sum(right) / len(right)
    error = 100 * math.sqrt(p * (1 - p) / len(right))
    return Estimate(100 * p, 100 * p - error, 100 * p + error)


def average(result: MethodResult) -> Estimate:
    """Mean ``acc`` over the tasks, with its standard error."""
    each = [percent(scores.acc) for scores in result.tasks.values()]
    mean = sum(one.value for one in each) / len(each)
    error = math.sqrt(sum((one.high - one.value) ** 2 for one in each)) / len(each)
    return Estimate(mean, mean - error, mean + error)


def losses_in_nats(results: Sequence[MethodResult]) -> dict[str, Loss]:
    """Loss of each method by name, windows resampled, the same ones for all methods. results: the dense one first."""
    if not results[0].losses:
        return {}
    tokens = np.array([loss.tokens for loss in results[0].losses], dtype=np.float64)
    picks = np.random.default_rng(SEED).integers(len(tokens), size=(DRAWS, len(tokens)))
    found = {}
    dense = np.array([loss.nll for loss in results[0].losses])
    for result in results:
        more = np.array([loss.nll for loss in result.losses]) - dense
        found[result.method] = Loss(float(more.sum() / tokens.sum()), more[picks].sum(1) / tokens[picks].sum(1))
    return found


def losses_in_accuracy(results: Sequence[MethodResult]) -> dict[str, Loss]:
    """Loss of each method by name, documents resampled within each task, the same ones for all methods."""
    if not results[0].tasks:
        return {}
    generator = np.random.default_rng(SEED)
    values, draws = np.zeros(len(results)), np.zeros((DRAWS, len(results)))
    for task, dense in results[0].tasks.items():
        count = len(dense.acc)
        acc = np.array([result.tasks[task].acc for result in results], dtype=np.float64)
        less = 100 / count / len(results[0].tasks) * (acc[0] - acc)
        values += less.sum(1)
        for start in range(0, DRAWS, _CHUNK):
            # How often each document is drawn.
            drawn = generator.multinomial(count, np.full(count, 1 / count), size=_CHUNK)
            draws[start : start + _CHUNK] += drawn @ less.T
    return {result.method: Loss(float(values[i]), draws[:, i]) for i, result in enumerate(results)}


def ratio(loss: Loss) -> Estimate:
    """Perplexity over dense perplexity, of a loss in nats."""
    exact = loss.estimate
    return Estimate(math.exp(exact.value), math.exp(exact.low), math.exp(exact.high))
