"""The decode engine reads what the masks of real activations ask for, and keeps the memory bus busy meanwhile."""

import html
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flexnm_model.capture import capture
from flexnm_model.select import select
from flexnm_rtl.config import ConfigError
from flexnm_tb.cosim.decoder import SimulatedDecoder
from flexnm_tb.decode_traffic import (
    TARGET,
    IntegerLayer,
    TrafficMeter,
    bank_imbalance,
    integer_layer,
    random_union,
    traffic_config,
    union_share,
    unstructured,
)

LAYER = "layers.15.self_attn.q_proj"
BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def roofline() -> Any:
    """bench/roofline.py as a module."""
    spec = importlib.util.spec_from_file_location("flexnm_bench_roofline", BENCH / "roofline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def captured() -> IntegerLayer:
    return integer_layer(capture([LAYER], 4)[LAYER], traffic_config(8, 16))


@pytest.fixture(scope="module", params=[(2, 4), (8, 16)], ids=["2:4", "8:16"])
def meter(request: pytest.FixtureRequest) -> Iterator[TrafficMeter]:
    cfg = traffic_config(*request.param)
    with SimulatedDecoder(cfg) as decoder:
        yield TrafficMeter(decoder, cfg)


@pytest.mark.llm
def test_single_tokens_read_half_and_keep_the_bus_busy(
    meter: TrafficMeter, captured: IntegerLayer, roofline: Any
) -> None:
    outputs, channels = captured.w.shape
    formula, _ = roofline.decode_engine(meter.cfg).layer(1, channels, outputs)
    region = meter.load(captured.w)
    dense = meter.job(captured.x[:1], captured.w, region, dense=True)
    assert dense.right
    assert dense.beats * meter.cfg.bus_width // 8 == captured.w.numel()  # O fills whole beats
    for token in captured.x.split(1):
        job = meter.job(token, captured.w, region)
        assert job.mismatches == 0
        assert job.beats == job.expected == formula == dense.beats // 2
        assert job.beats <= job.span <= job.cycles
        assert job.beats >= TARGET * job.cycles


@pytest.mark.llm
def test_a_weight_that_is_wrong_in_memory_is_noticed(meter: TrafficMeter, captured: IntegerLayer) -> None:
    x = captured.x[:1]
    damaged = captured.w.clone()
    damaged[5, int(x.abs().argmax())] ^= 1  # the largest of a token is kept whatever the pattern
    job = meter.job(x, captured.w, meter.load(damaged))
    assert job.mismatches == 1
    assert not job.right


@pytest.mark.llm
def test_tokens_at_once_read_the_union(captured: IntegerLayer) -> None:
    cfg = traffic_config(8, 16, tokens=4)
    with SimulatedDecoder(cfg) as decoder:
        meter = TrafficMeter(decoder, cfg)
        region = meter.load(captured.w)
        dense = captured.w.numel() * 8 // cfg.bus_width
        for tokens in (2, 4):
            job = meter.job(captured.x[:tokens], captured.w, region)
            assert job.right
            mask = select(captured.x[:tokens], 8, 16)
            assert job.beats == pytest.approx(union_share(mask, tokens) * dense)
            assert 0.5 < job.beats / dense < 1


def test_union_of_independent_and_of_equal_masks() -> None:
    assert [random_union(0.5, tokens) for tokens in (1, 2, 4)] == [0.5, 0.75, 0.9375]
    one = torch.arange(8) % 2 == 0
    assert union_share(torch.stack([one] * 4), 4) == 0.5
    alternating = torch.stack([one, ~one] * 4)
    assert union_share(alternating, 2) == 1.0
    assert union_share(alternating, 2, apart=2) == 0.5
    with pytest.raises(ConfigError, match="no group of 16"):
        union_share(alternating, 16)


def test_unstructured_keeps_the_largest_of_the_token() -> None:
    values = torch.tensor([[1, -9, 3, 3, 0, 2]], dtype=torch.int8)
    assert unstructured(values, torch.tensor([3])).tolist() == [[False, True, True, True, False, False]]
    assert unstructured(values, torch.tensor([2])).tolist() == [[False, True, True, False, False, False]]


def test_imbalance_by_hand() -> None:
    mask = torch.tensor([[True, True, False, False] * 4])
    assert bank_imbalance(mask, 4).tolist() == [2.0]  # banks 0 and 1 get everything
    assert bank_imbalance(mask, 4, run=4).tolist() == [1.0]  # every run of 4 has two
    assert bank_imbalance(mask, 2).tolist() == [1.0]


def test_roofline_by_hand(roofline: Any) -> None:
    """576 x 192 at 8:16: the linear engine's 36 blocks of 12 tiles, the decode engine's rows of 12 beats."""
    free, slow, narrow, wide = roofline.engines(4)
    assert [engine.layer(8, 576, 192) for engine in (free, slow)] == [
        (36 * 12 * 8, 576 * 192 + 8 * 36 * 16),
        (576 * 192 / 16, 576 * 192 + 8 * 36 * 16),
    ]
    assert free.layer(65, 576, 192)[0] == 9 * 36 * 12 * 8
    assert narrow.layer(1, 576, 192) == (288 * 12, 288 * 192 + 36 * 4 * 16)
    assert narrow.layer(6, 576, 192)[0] == (576 * (1 - 1 / 16) + 576 * 3 / 4) * 12
    assert wide.layer(1, 576, 192)[0] == 288 * 3
    assert roofline.crossing(narrow, slow, "SmolLM2-135M") == 5
    assert roofline.crossing(wide, free, "SmolLM2-135M") is None


def test_figure_is_the_same_again_and_names_the_engines(roofline: Any, tmp_path: Path) -> None:
    chosen = roofline.engines(4)
    rows = [roofline.measure(e, model, t) for model in roofline.MODELS for e in chosen for t in roofline.TOKENS]
    drawn = []
    for name in ("first.svg", "second.svg"):
        roofline.draw(chosen, rows, 100, tmp_path / name)
        drawn.append((tmp_path / name).read_text(encoding="utf-8"))
    assert drawn[0] == drawn[1]
    committed = html.unescape(roofline.FIGURE.read_text(encoding="utf-8"))
    for label in (*(engine.name for engine in chosen), *(f"{m}: arithmetic intensity" for m in roofline.MODELS)):
        assert f">{label}</text>" in committed, "run `make bench NAME=roofline` and commit the result"
