"""From a model, a text and a budget to a plan: what ``flexnm plan`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from flexnm_model import llm, text
from flexnm_model.cache import digest
from flexnm_model.methods import sensitivity
from flexnm_model.methods.budget import Budget, Kind, allocate
from flexnm_model.methods.patterns import Blocks
from flexnm_model.methods.plan import Plan, Shapes, shapes
from flexnm_model.methods.prepare import Source
from flexnm_model.methods.sensitivity import Group, Sensitivity


def best_plan(found: Sensitivity, sizes: Shapes, budget: Budget, n: int) -> Plan:
    """The plan of least predicted loss that costs no more than ``n`` of every ``found.m`` channels in all layers.

    Layers that share an input get the same N: another N would need a compression, and positions, of its own.
    Raises ConfigError unless 1 <= n <= M, for an engine of another M, and for a model of other layers.
    """
    uniform = Plan.uniform(sizes, n, found.m)
    uniform.check_layers(name for group in found.losses for name in group)

    def cost(group: Group, kept: int) -> int:
        return sum(budget.cost(sizes[name][1], sizes[name][0], kept, found.m) for name in group)

    costs = {group: [cost(group, kept) for kept in range(1, found.m + 1)] for group in found.losses}
    allowed = uniform.cost(sizes, budget)
    kept = allocate(found.losses, costs, allowed)
    plan = Plan({name: Blocks(kept[group], found.m) for group in found.losses for name in group})
    header = {
        "budget": {
            "kind": str(budget.kind),
            "allowed": allowed,
            "used": plan.cost(sizes, budget),
            "dense": Plan.uniform(sizes, found.m, found.m).cost(sizes, budget),
            **_engine(budget),
        },
        "average": f"{n}:{found.m}",
        "predicted_loss": {"plan": found.loss(plan.layers), "uniform": found.loss(uniform.layers)},
    }
    return Plan(plan.layers, header)


def planned(
    model: str | None,
    source: Source,
    budget: Budget,
    n: int,
    m: int,
    *,
    advance: Callable[[int], None] = lambda done: None,
) -> Plan:
    """The best plan for a model that costs no more than ``n`` of every ``m`` channels in all layers.

    model: see ``llm.load``. advance: called with the number of windows of ``source`` done. An interrupted measurement
    goes on where it was. Raises ConfigError for bad input, in one line.
    """
    Blocks(n, m)
    settings = {"model": llm.model_key(model), "text": text.text_key(source.text)}
    language = llm.load(model)
    sizes = shapes(language.model)
    # Bad engines are told before minutes of work.
    Plan.uniform(sizes, n, m).cost(sizes, budget)
    windows = source.load(language)
    found = sensitivity.measure(
        language.model,
        windows,
        m,
        skip=windows[0].shape[1] - source.window,
        key=digest(settings, source.window, source.skip),
        advance=advance,
    )
    plan = best_plan(found, sizes, budget, n)
    measured = {key: value for key, value in asdict(source).items() if key != "text"}
    return Plan(plan.layers, {**settings, **plan.header, "measured": {"method": "fisher", **measured}})


def _engine(budget: Budget) -> dict[str, int]:
    cfg = budget.cfg
    if budget.kind is Kind.CYCLES:
        return {"tokens": budget.tokens, "rows": cfg.rows, "cols": cfg.cols, "lanes": cfg.lanes}
    if budget.kind is Kind.BYTES:
        return {"bus_width": cfg.bus_width, "weight_width": cfg.weight_width}
    return {}
