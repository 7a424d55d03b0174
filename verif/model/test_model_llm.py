"""SmolLM2: the model of real layers equals the reference, and pruning it gives what a plain computation gives."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from flexnm_model import llm, perplexity, reference, text
from flexnm_model.capture import DEFAULT_LAYERS, LayerData, capture
from flexnm_model.matmul import sparse_matmul
from flexnm_model.quantize import quantize
from flexnm_model.select import select
from flexnm_rtl.config import Config

pytestmark = pytest.mark.llm


@pytest.fixture(scope="module")
def layers() -> dict[str, LayerData]:
    return capture()


@pytest.mark.parametrize("name", DEFAULT_LAYERS)
@pytest.mark.parametrize("n, m", [(8, 16), (2, 4), (16, 32)])
def test_real_activations_select_as_the_reference(layers: dict[str, LayerData], name: str, n: int, m: int) -> None:
    x = layers[name].x[:24]
    for scores in (x, quantize(x, 8).q, quantize(x, 4).q):
        expected = [
            [k for block in reference.pad_token(row, m) for k in reference.select(block, n)] for row in scores.tolist()
        ]
        assert select(scores, n, m).tolist() == expected


@pytest.mark.parametrize("name", ["layers.1.self_attn.q_proj", "layers.28.mlp.down_proj"])
def test_real_layer_product_equals_the_reference(layers: dict[str, LayerData], name: str) -> None:
    cfg = Config(k_max=2048)
    x, w = quantize(layers[name].x[-3:], 8).q, quantize(layers[name].w[:8], 8).q
    expected = reference.sparse_matmul(x.tolist(), w.tolist(), 8, 16, cfg.acc_width)
    assert sparse_matmul(x, w, cfg).tolist() == expected


def test_there_are_210_linears_and_no_bos() -> None:
    loaded = llm.load()
    assert len(list(llm.decoder_linears(loaded.model))) == 210
    assert text.windows(loaded.tokenizer, "a b c d e f g h", 1, 4)[0].shape == (1, 4)


def topk_hook(n: int, m: int) -> Callable[[torch.nn.Module, tuple[torch.Tensor]], torch.Tensor]:
    def hook(module: torch.nn.Module, args: tuple[torch.Tensor]) -> torch.Tensor:
        blocks = args[0].reshape(-1, m)
        # A stable descending sort keeps the lower channel first among equal magnitudes.
        kept = blocks.abs().sort(dim=-1, descending=True, stable=True).indices[:, :n]
        return torch.zeros_like(blocks).scatter(-1, kept, blocks.gather(-1, kept)).view(args[0].shape)

    return hook


def test_perplexity_equals_a_plain_computation() -> None:
    """Two windows, dense and 8:16, against a stable sort in front of every linear."""
    loaded = llm.load()
    ids = torch.cat(text.windows(loaded.tokenizer, text.load_text(), 2, 96))

    def plain() -> float:
        losses = []
        with torch.inference_mode():
            for row in ids:
                log_p = loaded.model(row[None], use_cache=False).logits[0, :-1].log_softmax(-1)
                losses.append(-log_p.gather(-1, row[1:, None]).mean())
        return math.exp(float(torch.stack(losses).mean()))

    expected = [plain()]
    handles = [linear.register_forward_pre_hook(topk_hook(8, 16)) for _, linear in llm.decoder_linears(loaded.model)]
    expected.append(plain())
    for handle in handles:
        handle.remove()
    for value, pattern in zip(expected, (None, (8, 16)), strict=True):
        losses = [perplexity.window_loss(loaded.model, row[None], pattern) for row in ids]
        assert perplexity.perplexity(losses) == pytest.approx(value, rel=1e-4)
    assert 1.6 < expected[1] / expected[0] < 2.6
