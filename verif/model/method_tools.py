"""Helpers of the tests of methods: tiny models of three families, and layers with every tensor a method may need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from flexnm_model.llm import decoder_linears
from flexnm_model.methods import Parameters

FAMILIES = ("Llama", "Qwen2", "Gemma3")
IDS = torch.randint(3, 64, (2, 20), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from a second thread and lose a lot on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(family: str) -> Any:
    """Two decoder layers of width 24, random weights and (Qwen2) biases; the K of the MLP, 40, is no multiple of 16."""
    import transformers

    torch.manual_seed(0)
    kind = "Gemma3Text" if family == "Gemma3" else family
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=12, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    for _, linear in decoder_linears(model):
        with torch.no_grad():
            # The usual initial weights are too small for anything to depend on what is pruned.
            linear.get_parameter("weight").mul_(8)
            if getattr(linear, "bias", None) is not None:
                linear.get_parameter("bias").normal_()
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    """Of the two sentences ``IDS``."""
    with torch.inference_mode():
        result = model(IDS, use_cache=False).logits
    assert isinstance(result, torch.Tensor)
    return result


def tensors(
    outputs: int, inputs: int, *, rank: int = 128, seed: int = 0, dtype: torch.dtype = torch.float64
) -> dict[str, torch.Tensor]:
    """Every tensor a layer can need."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    rank = min(rank, outputs, inputs)
    return {
        "norm": normal(inputs).abs(), "mean": normal(inputs) / 4, "peak": normal(inputs).abs() + 1,
        "eta": normal(inputs) / 4, "a": normal(outputs) / 4, "b": normal(outputs),
        "A": normal(outputs, rank), "B": normal(rank, inputs), "weight": normal(outputs, inputs),
    }  # fmt: skip


def parameters(model: torch.nn.Module, *, rank: int = 128) -> Parameters:
    """Those tensors for every decoder linear."""
    layers = {
        name: tensors(*linear.get_parameter("weight").shape, rank=rank, seed=i, dtype=torch.float32)
        for i, (name, linear) in enumerate(decoder_linears(model))
    }
    return Parameters(layers, {"model": "tiny"})
