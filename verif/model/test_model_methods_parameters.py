"""Calibration against a plain computation, and the file of parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from flexnm_model.llm import decoder_linears
from flexnm_model.methods import Parameters, reference, sparsify
from flexnm_model.methods.calibrate import calibrate
from flexnm_rtl.config import ConfigError
from method_tools import (
    FAMILIES,
    IDS,
    one_thread,  # noqa: F401, a fixture
    parameters,
    tiny,
)
from safetensors.torch import save_file

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("skip", [0, 1])
def test_statistics_are_those_of_the_inputs(family: str, skip: int) -> None:
    model = tiny(family)
    windows = [IDS[:1], IDS[1:, :7]]
    seen: dict[str, list[list[float]]] = {}
    handles = [
        linear.register_forward_pre_hook(lambda _, args, name=name: seen[name].extend(args[0][0, skip:].tolist()))
        for name, linear in decoder_linears(model)
        if not seen.setdefault(name, [])
    ]
    with torch.inference_mode():
        for window in windows:
            model(window, use_cache=False)
    for handle in handles:
        handle.remove()
    done: list[None] = []
    found = calibrate(model, windows, skip=skip, advance=lambda: done.append(None))
    assert (len(done), found.header["tokens"]) == (2, 27 - 2 * skip)
    assert not any(module._forward_pre_hooks for module in model.modules())
    for name, x in seen.items():
        for key, expected in reference.statistics(x).items():
            assert found.of(name)[key].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-7), (name, key)


def test_calibration_of_what_cannot_be_calibrated() -> None:
    model = tiny("Llama")
    with pytest.raises(ConfigError, match="nothing to calibrate on"):
        calibrate(model, [])
    with pytest.raises(ConfigError, match="nothing to calibrate on"):
        calibrate(model, [IDS[:1, :1]], skip=1)
    with sparsify(model, "2:4"), pytest.raises(ConfigError, match="the model is sparse"):
        calibrate(model, [IDS[:1]])
    with torch.no_grad():
        model.get_parameter("model.embed_tokens.weight")[IDS[0, 0]] = float("nan")
    with pytest.raises(ConfigError, match="NaN or infinity on this text"):
        calibrate(model, [IDS[:1]])
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_many_tokens_do_not_lose_precision() -> None:
    """Sums are float64: a large mean beside small numbers, over more tokens than float32 can count on."""
    from flexnm_model.methods.calibrate import ChannelStatistics

    statistics = ChannelStatistics(0)
    for _ in range(400):
        statistics.add(torch.full((100, 1), 16777.215))
    assert float(statistics.tensors()["mean"]) == pytest.approx(16777.215, rel=1e-7)


def test_file_and_back(tmp_path: Path) -> None:
    known = parameters(tiny("Llama"))
    path = tmp_path / "sub" / "p.safetensors"
    known.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["p.safetensors"]
    loaded = Parameters.load(path, model="tiny")
    assert loaded.header == known.header
    assert list(loaded.layers) == sorted(known.layers)
    for layer, own in known.layers.items():
        assert loaded.of(layer).keys() == own.keys()
        assert all(torch.equal(loaded.of(layer)[name], tensor) for name, tensor in own.items())
    assert loaded.of("nothing") == {}


def test_merged_takes_the_later_of_two() -> None:
    a = Parameters({"x": {"mean": torch.zeros(1), "norm": torch.ones(1)}}, {"tokens": 1, "model": "m"})
    b = Parameters({"x": {"mean": torch.ones(1)}, "y": {"a": torch.ones(1)}}, {"tokens": 2})
    both = a.merged(b)
    assert both.header == {"tokens": 2, "model": "m"}
    assert {layer: {k: v.item() for k, v in own.items()} for layer, own in both.layers.items()} == {
        "x": {"mean": 1.0, "norm": 1.0},
        "y": {"a": 1.0},
    }


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    good = tmp_path / "good"
    parameters(tiny("Llama")).save(good)
    (tmp_path / "cut").write_bytes(good.read_bytes()[:2000])
    (tmp_path / "short").write_bytes(good.read_bytes()[:-8])
    (tmp_path / "noise").write_bytes(b"noise" * 10)
    save_file({"x.mean": torch.zeros(1)}, tmp_path / "other")
    save_file({"x.mean": torch.zeros(1)}, tmp_path / "headless", metadata={"format": "flexnm parameters 1"})
    damaged = "damaged or no safetensors: run flexnm calibrate again"
    for name, message in {
        "none": "do not exist: make them with flexnm calibrate --out", "cut": damaged, "short": damaged,
        "noise": damaged, "headless": damaged, "other": "is no file of flexnm parameters", "": damaged,
    }.items():  # fmt: skip
        with pytest.raises(ConfigError, match=message) as caught:
            Parameters.load(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"of another model \(tiny\): calibrate this one"):
        Parameters.load(good, model="larger")
