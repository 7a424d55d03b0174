"""Error bars against formulas and simulation, and verdicts on made-up losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from flexnm_model import accuracy_statistics as statistics
from flexnm_model.accuracy import MethodResult, Settings, TaskScores
from flexnm_model.accuracy_claims import FAILS, HOLDS, UNSURE, verdicts
from flexnm_model.accuracy_report import Report
from flexnm_model.accuracy_statistics import Loss
from flexnm_model.perplexity import WindowLoss


def result(method: str, nlls: list[float], **tasks: list[bool]) -> MethodResult:
    """Windows of 100 tokens, and tasks."""
    losses = tuple(WindowLoss(nll, 100, 1.0) for nll in nlls)
    scores = {name: TaskScores(tuple(range(len(acc))), tuple(acc), ()) for name, acc in tasks.items()}
    return MethodResult(method, losses, scores, 1.0)


def test_percent_has_the_binomial_error() -> None:
    found = statistics.percent([True] * 30 + [False] * 70)
    assert found.value == pytest.approx(30)
    error = 100 * math.sqrt(0.3 * 0.7 / 100)
    assert (found.low, found.high) == pytest.approx((30 - error, 30 + error))


def test_average_adds_errors_of_tasks() -> None:
    found = statistics.average(result("x", [], one=[True, False], two=[True] * 3 + [False]))
    assert found.value == pytest.approx((50 + 75) / 2)
    each = 100 * np.sqrt([0.25 / 2, 0.75 * 0.25 / 4])
    assert found.high - found.value == pytest.approx(math.hypot(*each) / 2)


def test_perplexity_ratio_is_paired() -> None:
    """Windows differ wildly, the loss over the dense model does not: the interval is that of the loss."""
    generator = np.random.default_rng(1)
    dense, more = generator.normal(300, 80, 400), generator.normal(70, 10, 400)
    found = statistics.losses_in_nats([result("dense", list(dense)), result("2:4", list(dense + more))])
    ratio = statistics.ratio(found["2:4"])
    assert ratio.value == pytest.approx(math.exp(more.mean() / 100))
    assert math.log(ratio.high / ratio.low) == pytest.approx(2 * 1.96 * more.std() / 100 / 20, rel=0.1)
    assert statistics.ratio(found["dense"]) == statistics.Estimate(1, 1, 1)


def test_accuracy_loss_is_paired_and_by_task() -> None:
    dense, sparse = [True] * 50 + [False] * 50, [True] * 40 + [False] * 60
    results = [result("dense", [], a=dense, b=dense[:20]), result("2:4", [], a=sparse, b=dense[:20])]
    found = statistics.losses_in_accuracy(results)["2:4"].estimate
    assert found.value == pytest.approx(5)
    # Ten of a hundred documents differ: sqrt(0.1 * 0.9 / 100) of them, halved by the task that is the same.
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 3 / 2, rel=0.15)
    assert statistics.losses_in_accuracy([result("dense", [1.0])]) == {}
    assert statistics.losses_in_nats([result("dense", [], a=dense)]) == {}


def made(spread: float, **values: float) -> dict[str, Loss]:
    """Losses with independent normal draws; names with ``_`` for what no keyword may have."""
    generator = np.random.default_rng(0)
    names = {"w8_16": "w8:16", "half": "50%", "var": "8:16+var", "mixed": "8:16+clact+var", "int8": "8:16@int8"}
    return {
        names.get(key, key.lstrip("n").replace("_", ":")): Loss(value, value + spread * generator.standard_normal(4000))
        for key, value in values.items()
    }


PAPER = {"half": 0.9, "n16_32": 1.0, "n8_16": 1.35, "n4_8": 1.9, "n2_4": 2.7, "w8_16": 3.0, "var": 1.1, "mixed": 1.0}


def judged(spread: float, **values: float) -> dict[str, str]:
    return {verdict.claim: verdict.verdict for verdict in verdicts({"nats": made(spread, **values)})}


def test_the_papers_own_order_holds() -> None:
    found = judged(0.01, dense=0.0, **PAPER)
    assert set(found) == {
        "loss of 16:32 < 8:16 < 4:8 < 2:4",
        "8:16 loses about 2 times less than 2:4",
        "16:32 loses about 2.7 times less than 2:4",
        "pruning activations 8:16 loses less than pruning weights w8:16",
        "var helps 8:16",
        "clact with var helps 8:16",
        "16:32 comes close to unstructured 50 %",
    }
    assert set(found.values()) == {HOLDS}


def test_the_opposite_fails() -> None:
    found = judged(0.01, half=0.3, n16_32=3.0, n8_16=2.0, n4_8=1.9, n2_4=1.0, w8_16=1.0, var=2.5, mixed=2.4)
    assert set(found.values()) == {FAILS}


def test_wide_intervals_decide_nothing_about_orders() -> None:
    found = judged(5.0, **PAPER)
    orders = [claim for claim in found if "helps" in claim or " < " in claim or "weights" in claim]
    assert {found[claim] for claim in orders} == {UNSURE}


def test_one_reversed_step_breaks_the_chain() -> None:
    found = judged(0.01, **PAPER | {"n4_8": 1.0})
    assert found["loss of 16:32 < 8:16 < 4:8 < 2:4"] == FAILS


def test_no_ratio_of_gains() -> None:
    (verdict,) = (v for v in verdicts({"points": made(0.1, n8_16=-0.5, n2_4=1.0)}) if "about 2" in v.claim)
    assert verdict.verdict == UNSURE
    assert verdict.evidence == "losses 1.00 and -0.50: no ratio"


def test_claims_need_their_methods() -> None:
    assert judged(0.01, dense=0.0, n8_16=1.0, int8=1.1) == {}


def test_no_verdicts_on_too_little() -> None:
    def count(windows: int, documents: int) -> int:
        results = [
            result("dense", [300.0] * windows, piqa=[True] * documents),
            result("8:16", [350.0] * windows, piqa=[False] * documents),
            result("2:4", [400.0] * windows, piqa=[False] * documents),
        ]
        return len(Report(results, Settings(), "flexnm accuracy", "tiny").claims)

    each = 2
    assert [count(3, 29), count(4, 29), count(3, 30), count(4, 30)] == [0, each, each, 2 * each]
