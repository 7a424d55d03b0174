"""Pruning inside a language model: what is pruned, how often, and that nothing stays behind."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_llama
from flexnm_model import prune
from flexnm_model.llm import decoder_linears
from flexnm_model.select import prune as prune_tensor
from flexnm_model.select import select
from flexnm_rtl.config import ConfigError

IDS = torch.randint(3, 64, (2, 20), generator=torch.Generator().manual_seed(1))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        result = model(IDS, use_cache=False).logits
    assert isinstance(result, torch.Tensor)
    return result


def hooks(model: torch.nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.int16, torch.int32]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n, m", [(8, 16), (2, 4), (3, 5), (7, 7), (31, 32), (1, 1)])
def test_prune_is_select_and_zero(n: int, m: int, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    for x in (torch.randn(30, 3 * m + 1, generator=g) * 50, torch.randint(-2, 3, (30, 3 * m), generator=g)):
        x = x.to(dtype)
        got = prune_tensor(x, n, m)
        assert got.dtype == dtype
        assert torch.equal(got, torch.where(select(x, n, m), x, 0))


def test_prune_drops_infinity_without_nan() -> None:
    inf = float("inf")
    assert prune_tensor(torch.tensor([[-inf, 1.0, inf, 2.0]]), 1, 4).tolist() == [[-inf, 0.0, 0.0, 0.0]]


def test_most_negative_integer_survives() -> None:
    x = torch.tensor([[-128, 127, 3, 0], [-(2**7), -128, 127, -128]], dtype=torch.int8)
    assert prune_tensor(x, 1, 4).tolist() == [[-128, 0, 0, 0], [-128, 0, 0, 0]]
    low = torch.tensor([[-(2**31), 2**31 - 1]], dtype=torch.int32)
    assert prune_tensor(low, 1, 2).tolist() == [[-(2**31), 0]]


def test_finds_the_seven_projections_of_each_layer() -> None:
    model = tiny_llama()
    names = [name for name, _ in decoder_linears(model)]
    parts = [f"self_attn.{p}_proj" for p in "qkvo"] + [f"mlp.{p}_proj" for p in ("gate", "up", "down")]
    assert names == [f"layers.{i}.{part}" for i in (0, 1) for part in parts]


@pytest.mark.parametrize("family", ["Qwen2", "Gemma3"])
def test_other_families(family: str) -> None:
    import transformers

    kind = "Gemma3Text" if family == "Gemma3" else family
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    assert len(list(decoder_linears(model))) == 14


def test_every_linear_sees_pruned_input_and_the_result_is_right() -> None:
    """Against masks computed separately in front of every single projection."""
    model = tiny_llama()

    def plain(module: torch.nn.Module, args: tuple[torch.Tensor]) -> torch.Tensor:
        return torch.where(select(args[0], 2, 4), args[0], 0)

    handles = [linear.register_forward_pre_hook(plain) for _, linear in decoder_linears(model)]
    expected = logits(model)
    for handle in handles:
        handle.remove()
    with prune.pruned(model, 2, 4):
        got = logits(model)
    assert torch.equal(got, expected)
    assert not torch.equal(got, logits(model))


def test_shared_input_is_pruned_once() -> None:
    calls: list[int] = []

    def counting(x: torch.Tensor, n: int, m: int) -> torch.Tensor:
        calls.append(x.shape[-1])
        return prune_tensor(x, n, m)

    model = tiny_llama()
    with prune.pruned(model, 8, 16, counting):
        logits(model)
    # q k v share one, o has one, gate and up share one, down has one: four in each of two layers
    assert calls == [24, 24, 24, 40] * 2


def test_keeping_everything_changes_nothing() -> None:
    model = tiny_llama()
    with prune.pruned(model, 4, 4):
        kept = logits(model)
    assert torch.equal(kept, logits(model))


def test_hooks_are_removed_even_after_an_error() -> None:
    model = tiny_llama()
    before = logits(model)
    with prune.pruned(model, 2, 4):
        assert hooks(model) == 14
    assert hooks(model) == 0
    with pytest.raises(RuntimeError, match="stop"), prune.pruned(model, 2, 4):
        raise RuntimeError("stop")
    assert hooks(model) == 0
    assert torch.equal(logits(model), before)


def test_bad_pattern_installs_nothing() -> None:
    model = tiny_llama()
    with pytest.raises(ConfigError, match="5:4"), prune.pruned(model, 5, 4):
        pass
    assert hooks(model) == 0
