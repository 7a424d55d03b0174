"""The RTL as a PyTorch module: equal to the software module to the last bit, and put in place of a model's linears."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from flexnm_model import reference
from flexnm_model.compress import pattern_config
from flexnm_model.integer_linear import IntegerLinear, dequantize_sums, swap
from flexnm_model.llm import decoder_linears, load
from flexnm_model.matmul import sparse_matmul
from flexnm_rtl.config import Config, ConfigError
from flexnm_rtl.presets import preset
from flexnm_tb.cosim import pool as pooling
from flexnm_tb.cosim.linear_module import HardwareLinear
from flexnm_tb.cosim.pool import EnginePool
from flexnm_tb.engine_cycles import ideal_cycles

CFG = preset("n2m4").replace(rows=2, cols=4, lanes=1, k_max=64)


@pytest.fixture(scope="module", params=[1, 2])
def pool(request: pytest.FixtureRequest) -> Iterator[EnginePool]:
    with EnginePool(CFG, request.param) as engines:
        yield engines


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(
    "tokens, channels, outputs, bias",
    [((1,), 1, 1, False), ((3,), 7, 5, True), ((2, 5), 64, 9, True), ((67,), 13, 3, False), ((4,), 33, 50, True)],
)
def test_hardware_equals_software(
    pool: EnginePool, tokens: tuple[int, ...], channels: int, outputs: int, bias: bool
) -> None:
    torch.manual_seed(channels)
    linear = torch.nn.Linear(channels, outputs, bias=bias)
    hardware, software = HardwareLinear(linear, pool), IntegerLinear(linear, CFG)
    x = random(*tokens, channels)
    y = hardware(x)
    assert (y.shape, y.dtype) == ((*tokens, outputs), torch.float32)
    assert torch.equal(y, software(x))
    flat = x.flatten(0, -2).shape[0]
    assert hardware.counters["busy_cycles"] >= ideal_cycles(CFG, flat, channels, outputs)
    assert hardware.counters["cycles"] > hardware.counters["busy_cycles"]


def test_outputs_follow_the_formula() -> None:
    """One token, in Python's own numbers."""
    torch.manual_seed(3)
    linear = torch.nn.Linear(6, 3)
    x = random(1, 6)
    q, s_x = reference.quantize(x[0].tolist(), 8)
    rows = [reference.quantize(row, 8) for row in linear.weight.tolist()]
    (sums,) = reference.sparse_matmul([q], [row for row, _ in rows], 2, 4, 32)
    exact = [total * s_x * s_w for total, (_, s_w) in zip(sums, rows, strict=True)]
    expected = torch.tensor(exact, dtype=torch.float32) + linear.bias
    assert torch.equal(IntegerLinear(linear, CFG)(x), expected[None])


def test_scales_are_multiplied_in_the_stated_order() -> None:
    """Numbers for which the order decides the last bit; ``(a, b)`` found by search."""
    a, b, total = 3.3706186726659165e-05, 1.4095879265091864e-05, 7491963
    x_scale, w_scale = (torch.tensor([[value]], dtype=torch.float64) for value in (a, b))
    expected = torch.tensor(total * a * b, dtype=torch.float32)
    others = [total * (a * b), total * b * a]
    assert all(not torch.equal(torch.tensor(other, dtype=torch.float32), expected) for other in others)
    assert dequantize_sums(torch.tensor([[total]]), x_scale, w_scale, None).item() == expected.item()


def test_long_layers_are_cut_at_whole_tiles(pool: EnginePool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randint(-127, 128, (5, 21), dtype=torch.int8)
    w = torch.randint(-127, 128, (39, 21), dtype=torch.int8)
    tile = ideal_cycles(CFG, 5, 21, 1)
    monkeypatch.setattr(pooling, "PART_CYCLES", 3 * tile)
    parts = pool._parts(5, 39, 21)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(39))
    assert all(part.start % CFG.cols == 0 and part.stop - part.start <= 3 * CFG.cols for part in parts)
    result = pool.multiply(x, w)
    assert result.jobs == len(parts) >= 4
    assert torch.equal(result.sums, sparse_matmul(x, w, CFG))


def test_flexible_engines_take_pattern_after_pattern() -> None:
    """One engine, every block size, N up to its room: results of the fixed model, cycles in proportion to N."""
    cfg = Config(n_keep=24, m_group=32, flexible=True, rows=2, cols=4, lanes=2, k_max=64, t_max=8)
    x = torch.randint(-128, 128, (5, 50), dtype=torch.int16)
    w = torch.randint(-128, 128, (9, 50), dtype=torch.int16)
    with EnginePool(cfg, 1) as engines:
        for n, m in ((2, 4), (1, 8), (6, 8), (8, 16), (5, 16), (24, 32), (3, 4), (1, 32)):
            result = engines.multiply(x, w, pattern=(n, m))
            assert torch.equal(result.sums, sparse_matmul(x, w, pattern_config(cfg, (n, m)))), f"{n}:{m}"
            assert result.counters["busy_cycles"] == ideal_cycles(cfg, 5, 50, 9, n=32 // m * n)
        assert torch.equal(engines.multiply(x, w, dense=True).sums, x.long() @ w.long().T)
        for pattern, right in (((4, 4), "N from 1 to 3"), ((3, 5), "M = 4, 8, 16, 32"), ((0, 8), "N from 1 to 6")):
            with pytest.raises(ConfigError, match=right):
                engines.multiply(x, w, pattern=pattern)


def test_a_fixed_engine_has_one_pattern(pool: EnginePool) -> None:
    ones = torch.ones((4, 16), dtype=torch.int8)
    with pytest.raises(ConfigError, match="FLEXIBLE=1"):
        pool.multiply(ones, ones, pattern=(CFG.n_keep + 1, CFG.m_group))


def test_an_interrupted_pool_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pooling, "_POLL_SECONDS", 0)
    ones = torch.ones((64, 64), dtype=torch.int8)
    with EnginePool(CFG, 1) as engines:
        with pytest.raises(KeyboardInterrupt):
            engines.multiply(ones, ones, interrupt)
        with pytest.raises(RuntimeError, match="new EnginePool"):
            engines.multiply(ones, ones)


def test_what_does_not_fit_is_named(pool: EnginePool) -> None:
    with pytest.raises(ConfigError, match="big has K=65, more than K_MAX=64: set K_MAX to 65"):
        HardwareLinear(torch.nn.Linear(65, 2), pool, name="big")
    with pytest.raises(ConfigError, match="ENGINES=0"):
        EnginePool(CFG, 0)


def test_swap_puts_everything_back(tiny_folder: str) -> None:
    model = load(tiny_folder).model
    before = dict(decoder_linears(model))
    window = torch.arange(3, 11)[None]
    with torch.inference_mode():
        dense = model(window).logits
        with swap(model, lambda name, old: IntegerLinear(old, CFG)) as new:
            inside = dict(decoder_linears(model))
            assert inside == new
            assert list(inside) == list(before)
            assert all(isinstance(module, IntegerLinear) for module in inside.values())
            assert not torch.equal(model(window).logits, dense)
        assert torch.equal(model(window).logits, dense)
    assert dict(decoder_linears(model)) == before


def test_swap_puts_everything_back_after_an_error(tiny_folder: str) -> None:
    model = load(tiny_folder).model
    before = dict(decoder_linears(model))
    with pytest.raises(IndexError), swap(model, lambda name, old: IntegerLinear(old, CFG)):
        model(torch.tensor([[64]]))
    assert dict(decoder_linears(model)) == before


def test_swap_changes_nothing_if_a_layer_does_not_fit(tiny_folder: str) -> None:
    model = load(tiny_folder).model
    before = dict(decoder_linears(model))
    small = CFG.replace(k_max=32)
    with (
        pytest.raises(ConfigError, match=r"layers\.0\.mlp\.down_proj has K=40"),
        swap(model, lambda name, old: IntegerLinear(old, small, name=name)),
    ):
        pass
    assert dict(decoder_linears(model)) == before
