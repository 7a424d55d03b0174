"""Pruned tensors, and the linears of a language model whose inputs are pruned."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_llama
from flexnm_model.llm import decoder_linears
from flexnm_model.select import prune as prune_tensor
from flexnm_model.select import select
from flexnm_rtl.config import ConfigError

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
    values, scores = torch.tensor([[inf, 1.0, 5.0]]), torch.tensor([[1.0, -2.0, 1.0]])
    assert prune_tensor(values, 1, 4, scores).tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("n, m", [(8, 16), (3, 5), (1, 1)])
def test_prune_by_other_scores(n: int, m: int, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(30, 3 * m + 1, generator=g).to(dtype)
    scores = torch.randint(-3, 4, x.shape, generator=g).float()
    got = prune_tensor(x, n, m, scores)
    assert got.dtype == dtype
    assert torch.equal(got, torch.where(select(scores, n, m), x, 0))
    with pytest.raises(ConfigError, match="do not fit values"):
        prune_tensor(x, n, m, scores[:, :-1].repeat(2, 1))


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
