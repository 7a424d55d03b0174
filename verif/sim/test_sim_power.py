"""Netlists run gate by gate beside their RTL: a wrong gate is noticed, what toggles is counted, power follows."""

import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flexnm_gen.asic import Mapped, map_component
from flexnm_gen.power import design_power
from flexnm_gen.tops import TOPS
from flexnm_model.capture import LayerData
from flexnm_rtl.banks import BankedMemory
from flexnm_rtl.config import Config, ConfigError
from flexnm_tb import power
from flexnm_tb.gate_pins import pin_nets
from flexnm_tb.gate_sim import GateMismatch, GateRun, simulate_gates
from flexnm_tb.known_cells import LIBRARY

CFG = Config(n_keep=2, m_group=4, lanes=2, rows=1, cols=1, act_width=4, weight_width=4)
BLOCKS = 400

needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason="sta (Debian package opensta) is not installed")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "known.lib"
    path.write_text(LIBRARY)
    return path


@pytest.fixture(scope="module")
def compressor(known: Path) -> Mapped:
    return map_component(TOPS["compressor"].build(CFG), "unit", [known], clock_ps=200.0)


def layer(seed: int, scale: float = 1.0) -> LayerData:
    generator = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(shape, generator=generator) for shape in ((16, 50), (6, 50)))
    return LayerData(x * scale, w)


@needs_sta
def test_power_of_a_unit(compressor: Mapped, known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[GateRun] = []

    def simulate(*args: Any) -> GateRun:
        runs.append(simulate_gates(*args))
        return runs[-1]

    monkeypatch.setattr(power, "capture", lambda *args: {"one": layer(1), "two": layer(2)})
    monkeypatch.setattr(power, "simulate_gates", simulate)
    record = power.measure_power("compressor", CFG, compressor, [known], period_ps=1000.0, blocks=BLOCKS)
    parts = record["power"]
    assert parts["total"] == pytest.approx(parts["internal"] + parts["switching"] + parts["leakage"])
    assert record["words"] == {"o": BLOCKS + 16}  # whole tokens of 13 blocks
    assert record["cycles"] == BLOCKS + 16
    activity = runs[0].activity
    assert all(0 <= found.toggles <= 1 and 0 <= found.duty <= 1 for found in activity.values())
    halved = design_power(compressor, [known], 2000.0, activity)
    assert halved.switching == pytest.approx(parts["switching"] / 2, rel=1e-4) != 0
    assert halved.leakage == parts["leakage"]
    still = simulate_gates(TOPS["compressor"].build(CFG), compressor, [known], {"i": [0x1234] * BLOCKS}).activity
    assert sum(found.toggles for found in still.values()) < 0.05 * sum(found.toggles for found in activity.values())


def test_activity_is_counted_by_hand(compressor: Mapped, known: Path) -> None:
    """Bit k of the values changes every 2^k cycles; a pin has the activity of its net."""
    count = 256
    found = simulate_gates(TOPS["compressor"].build(CFG), compressor, [known], {"i": list(range(count))}).activity
    for bit in range(8):
        assert found[f"i__payload[{bit}]"].toggles == pytest.approx(1 / (1 << bit), abs=2 / count)
        assert found[f"i__payload[{bit}]"].duty == pytest.approx(0.5, abs=2 / count)
    nets = dict(pin_nets(compressor.behaviour, "unit", set(compressor.parts["unit"].cells)))
    on_inputs = [pin for pin, net in nets.items() if net == "i__payload[0]"]
    assert on_inputs
    assert {found[pin] for pin in on_inputs} == {found["i__payload[0]"]}


def test_a_wrong_gate_is_noticed(compressor: Mapped, known: Path) -> None:
    """Of the last register, with its data inverted; the message says when."""
    [net] = re.findall(r"\.D\((\S+)\),\n    \.Q\(o__payload\[0\]\)", compressor.behaviour)
    wrong = compressor.behaviour.replace(f".D({net}),\n    .Q(o__payload[0])", f".D(~{net}),\n    .Q(o__payload[0])")
    assert wrong != compressor.behaviour
    rng = random.Random(1)
    words = [rng.getrandbits(21) | 0xF << 16 for _ in range(40)]
    with pytest.raises(GateMismatch, match="unit: the netlist differs from the RTL: mismatch in cycle"):
        simulate_gates(TOPS["compressor"].build(CFG), replace(compressor, behaviour=wrong), [known], {"i": words})


def test_words_of_every_unit() -> None:
    """Whole tokens, or passes of the array, of each layer, until there are enough blocks or no more."""
    layers = [layer(1), layer(2)]
    for top in ("compressor", "decompressor", "dense_splitter"):
        assert len(power.layer_words(top, CFG, layers, 30)["i"]) == 2 * 2 * 13
        assert len(power.layer_words(top, CFG, layers, 10**6)["i"]) == 2 * 16 * 13
    queues = power.layer_words("mac_array", CFG, layers, 100)
    assert {name: len(queue) for name, queue in queues.items()} == {"acts": 2 * 4 * 13, "weights": 2 * 4 * 13}


def test_every_token_comes_before_any_comes_twice() -> None:
    """The first token of a text is like no other: an array must not run on it alone, nor on one tile alone."""
    found = power.layer_words("mac_array", CFG, [layer(1)], 10**9)
    passes = list(zip(*(zip(*[iter(found[name])] * 13, strict=True) for name in ("acts", "weights")), strict=True))
    tokens, tiles = (len(set(column)) for column in zip(*passes, strict=True))
    assert len(set(passes)) == len(passes) == tokens * tiles
    assert len({acts for acts, _ in passes[:tokens]}) == tokens
    assert len({weights for _, weights in passes[:tiles]}) == tiles


def test_what_is_not_measured_says_why(compressor: Mapped) -> None:
    for top, cfg, why in (
        ("linear", CFG, "linear has registers and memories"),
        ("compressor", CFG.replace(score_factor="multiply"), "no captured score factors"),
    ):
        record = power.measure_power(top, cfg, compressor, [], period_ps=1000.0)
        assert record["power"] is None
        assert why in record["reason"]


def test_ports_that_are_no_streams_are_named(compressor: Mapped) -> None:
    memory = BankedMemory(2, 8, 5)
    memory._MustUse__silence = True  # only asked, never built: Amaranth would warn
    with pytest.raises(ConfigError, match=r"unit cannot be simulated as gates: \w+ is no stream"):
        simulate_gates(memory, compressor, [], {})
