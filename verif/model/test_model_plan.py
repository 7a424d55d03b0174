"""Plans: the file, the costs, the allocation against brute force, and what they do to a model."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest
from flexnm_model import cost
from flexnm_model.methods import sparsify
from flexnm_model.methods.budget import Budget, Kind, allocate
from flexnm_model.methods.patterns import Blocks
from flexnm_model.methods.plan import Plan, shapes, shared_inputs
from flexnm_rtl.config import Config, ConfigError
from flexnm_tb.cosim.decode_pool import ideal_beats
from method_tools import FAMILIES, logits, tiny

CFG = Config(n_keep=8, m_group=16, rows=4, cols=8, lanes=2)


def test_file_keeps_layers_and_header(tmp_path: Path) -> None:
    plan = Plan({"layers.0.mlp.up_proj": Blocks(5, 16), "layers.0.mlp.down_proj": Blocks(16, 16)}, {"model": "a"})
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json", model="a") == plan
    assert Plan.load(tmp_path / "plan.json") == plan
    (tmp_path / "hand.json").write_text('{"layers": {"layers.0.mlp.up_proj": "3:8"}}')
    hand = Plan.load(tmp_path / "hand.json", model="any")
    assert (hand.layers, hand.header, hand.m) == ({"layers.0.mlp.up_proj": Blocks(3, 8)}, {}, 8)


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"layers": {}}', "has no layers"),
        ('{"layers": {"a": "4:8", "b": "4:16"}}', "all layers need the same M"),
        ('{"layers": {"a": "9:8"}}', "damaged|1 <= N <= M"),
        ('{"layers": {"a": "0:8"}}', "damaged|1 <= N <= M"),
        ('{"layers": {"a": "4:8"}, "model": "other"}', "of another model"),
        ('{"layers": {"a": "4:8"}, "format": "flexnm plan 2"}', "no flexnm plan of version 1"),
        ("[]", "damaged"),
        ("{", "damaged"),
    ],
)
def test_bad_files_are_one_line(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message) as error:
        Plan.load(file, model="mine")
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        Plan.load(tmp_path / "none.json")


@pytest.mark.parametrize("family", FAMILIES)
def test_costs_add_up_over_a_model(family: str) -> None:
    sizes = shapes(tiny(family))
    assert len(sizes) == 14
    assert sizes["layers.1.mlp.down_proj"] == (24, 40)
    dense = Plan.uniform(sizes, 16, 16)
    weights = sum(o * k for o, k in sizes.values())
    assert dense.cost(sizes, Budget()) == weights
    assert dense.average(sizes) == 16
    plan = Plan({name: Blocks(1 + i, 16) for i, name in enumerate(sizes)})
    kept = {
        name: sum(min(1 + i, k - start) for start in range(0, k, 16)) for i, (name, (_, k)) in enumerate(sizes.items())
    }
    assert plan.cost(sizes, Budget()) == sum(kept[name] * o for name, (o, _) in sizes.items())
    assert plan.average(sizes) == pytest.approx(16 * sum(kept[name] * o for name, (o, _) in sizes.items()) / weights)
    for other in (dict(list(sizes.items())[:-1]), sizes | {"layers.9.mlp.up_proj": (2, 2)}):
        with pytest.raises(ConfigError, match="was it made for another model"):
            plan.cost(other, Budget())
    with pytest.raises(ConfigError, match="blocks of M=16, the plan of M=8"):
        Plan.uniform(sizes, 4, 8).cost(sizes, Budget(Kind.CYCLES, CFG))


def test_cycles_and_bytes_are_those_of_the_engines() -> None:
    rng = random.Random(0)
    for _ in range(50):
        m = rng.choice([4, 16, 32])
        n = rng.randrange(1, m + 1)
        lanes = rng.choice([d for d in range(1, n + 1) if n % d == 0])
        cfg = Config(
            n_keep=n, m_group=m, rows=rng.randrange(1, 9), cols=rng.randrange(1, 9), lanes=lanes,
            weight_width=rng.choice([4, 8, 16]), bus_width=rng.choice([64, 256]), tile_beats=4,
        )  # fmt: skip
        tokens, k, o = rng.randrange(1, 99), rng.randrange(1, 99), rng.randrange(1, 99)
        blocks = -(-tokens // cfg.rows) * -(-o // cfg.cols) * -(-k // m)
        assert Budget("cycles", cfg, tokens).cost(k, o, n, m) == blocks * n // lanes
        assert cost.ideal_cycles(cfg, tokens, k, o) == blocks * n // lanes
        assert cost.ideal_cycles(cfg, tokens, k, o, dense=True) == blocks * (n // lanes) * -(-m // n)
        assert Budget("bytes", cfg).cost(k, o, n, m) == ideal_beats(cfg, k, o) * cfg.bus_width // 8
    # Five kept values take three cycles of two multipliers.
    assert cost.ideal_cycles(CFG, 4, 16, 8, n=5) == 3


def test_allocation_is_the_best_for_convex_losses() -> None:
    rng = random.Random(1)
    for _ in range(30):
        m, groups = 4, range(3)
        falls = {g: sorted((rng.random() * 10 ** rng.randrange(3) for _ in range(m - 1)), reverse=True) for g in groups}
        losses = {g: [sum(falls[g][n:]) for n in range(m)] for g in groups}
        costs = {g: list(range(1, m + 1)) for g in groups}
        allowed = rng.randrange(3, 13)
        kept = allocate(losses, costs, allowed)
        assert sum(kept.values()) <= allowed
        choices = itertools.product(range(1, m + 1), repeat=3)
        best = min(sum(losses[g][n - 1] for g, n in enumerate(c)) for c in choices if sum(c) <= allowed)
        assert sum(losses[g][kept[g] - 1] for g in groups) == pytest.approx(best)


def test_allocation_jumps_over_a_bump_and_uses_what_is_left() -> None:
    # N=2 alone gains little, N=3 gains most.
    losses = {"bump": [10.0, 9.5, 1.0, 0.0], "flat": [3.0, 2.0, 1.0, 0.0]}
    costs = {"bump": [1, 2, 3, 4], "flat": [1, 2, 3, 4]}
    assert allocate(losses, costs, 4) == {"bump": 3, "flat": 1}
    # The hull's next step, bump to N=3, does not fit any more, but flat's does.
    assert allocate(losses, costs, 3) == {"bump": 1, "flat": 2}
    assert allocate(losses, costs, 100) == {"bump": 4, "flat": 4}
    with pytest.raises(ConfigError, match="budget of 1 is too small: N=1 in all layers costs 2"):
        allocate(losses, costs, 1)


def test_allocation_takes_all_that_costs_no_more() -> None:
    # Two lanes: N=2 costs as much as N=1, N=4 as N=3.
    losses = {"a": [4.0, 3.0, 2.0, 0.0], "b": [4.0, 4.0, 4.0, 3.9]}
    costs = {"a": [1, 1, 2, 2], "b": [1, 1, 2, 2]}
    assert allocate(losses, costs, 3) == {"a": 4, "b": 2}


def test_shared_inputs_are_those_that_layers_get() -> None:
    model = tiny("Qwen2")
    seen: dict[int, list[str]] = {}
    keep = []
    for name, module in model.named_modules():
        if name.endswith("_proj"):
            short = name.removeprefix("model.")
            module.register_forward_pre_hook(
                lambda _, args, short=short: (
                    (keep.append(args[0]), seen.setdefault(id(args[0]), []).append(short))[2:] or None
                )
            )
    logits(model)
    assert sorted(map(sorted, seen.values())) == sorted(map(sorted, shared_inputs(shapes(model))))


def test_plan_is_a_method(tmp_path: Path) -> None:
    model = tiny("Llama")
    plan = Plan({name: Blocks(1 + i, 16) for i, name in enumerate(shapes(model))}, {"model": "tiny"})
    plan.save(tmp_path / "plan.json")
    dense = logits(model)
    with sparsify(model, f"plan:{tmp_path / 'plan.json'}+var") as sparse:
        found = {name: str(layer.stage.pattern) for name, layer in sparse.layers.items()}  # type: ignore[union-attr]
        assert not bool((logits(model) == dense).all())
    assert found == {name: str(blocks) for name, blocks in plan.layers.items()}
    assert json.loads((tmp_path / "plan.json").read_text())["layers"]["layers.0.self_attn.q_proj"] == "1:16"
