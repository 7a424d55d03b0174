"""Log-likelihoods of answers: shared computation against one forward pass an answer, dense and sparse."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from conftest import tiny_llama
from flexnm_model import llm
from flexnm_model.methods import sparsify
from flexnm_model.tasks import score
from flexnm_model.tasks.formats import Question
from flexnm_model.tasks.score import Encoded
from flexnm_rtl.config import ConfigError


def tiny_gemma() -> Any:
    """One layer that sees 4 tokens only, and one that sees all."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, head_dim=12,
        num_key_value_heads=1, sliding_window=4, layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    model: Any = Gemma3ForCausalLM(config)
    return model.eval()


def tiny_mistral() -> Any:
    """A window of 4 tokens in all layers, which the configuration does not list."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4,
    )  # fmt: skip
    model: Any = MistralForCausalLM(config)
    return model.eval()


def documents() -> list[list[Encoded]]:
    """Random ones, and those with answers of one token, equal answers, different contexts, nothing in common."""
    draw = random.Random(1)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 64) for _ in range(count))

    found = []
    for _ in range(4):
        context = tokens(draw.randint(1, 9))
        answers = [tokens(draw.randint(1, 6)) for _ in range(draw.randint(2, 5))]
        found.append([Encoded(context + answer, len(context)) for answer in answers])
    one, same, rest = tokens(7), tokens(3), tokens(4)
    found.append([Encoded((*one, token), 7) for token in (5, 6)])
    found.append([Encoded(one + same, 7), Encoded(one + same, 7), Encoded(one + same[:2] + rest, 7)])
    found.append([Encoded(one + name + rest, 7 + len(name)) for name in (tokens(1), tokens(3))])
    found.append([Encoded((3, 9, 10), 1), Encoded((4, 9, 10), 2)])
    return found


def naive(model: torch.nn.Module, option: Encoded) -> float:
    """A forward pass of its own, all logits."""
    with torch.inference_mode():
        log_p = model(torch.tensor([option.tokens]), use_cache=False).logits[0].log_softmax(-1)
    return float(sum(log_p[j - 1, option.tokens[j]] for j in range(option.start, len(option.tokens))))


@pytest.mark.parametrize("budget", [1, 40, 1000])
@pytest.mark.parametrize("method", ["dense", "2:4", "5:8+d-pts+var", "50%"])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gemma, tiny_mistral], ids=lambda make: make.__name__)
def test_equal_to_the_naive_way(make: Any, method: str, budget: int) -> None:
    model = make().double()
    with sparsify(model, method):
        expected = [[naive(model, option) for option in options] for options in documents()]
        trees = list(enumerate(score.tree(options) for options in documents()))
        groups = list(score.packs(trees, budget))
        found = [each for group in groups for each in score.log_likelihoods(model, [tree for _, tree in group])]
    assert [number for group in groups for number, _ in group] == list(range(len(trees)))
    assert all(sum(len(tree.tokens) for _, tree in group) <= budget or len(group) == 1 for group in groups)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-9)


def test_shared_tokens_are_computed_once() -> None:
    options = [Encoded((1, 2, 3, 4, 5), 3), Encoded((1, 2, 3, 6, 7, 8), 3)]
    tree = score.tree(options)
    assert tree.tokens == (1, 2, 3, 4, 6, 7)
    assert tree.positions == (0, 1, 2, 3, 3, 4)
    assert tree.segment == (0, 0, 0, 1, 2, 2)
    assert tree.targets == (((2, 4), (3, 5)), ((2, 6), (4, 7), (5, 8)))


def test_encoding_splits_as_the_harness_does(tiny_folder: str) -> None:
    """Blanks at the end of the context belong to the continuation; the context is tokenised without them."""

    class Letters:
        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [1, *map(ord, text)]}

    options = score.encode(Letters(), Question((("ab  ", "c"), ("ab  ", " de")), 0))
    assert options == [Encoded((1, 97, 98, 32, 32, 99), 3), Encoded((1, 97, 98, 32, 32, 32, 100, 101), 3)]
    tokenizer = llm.load(tiny_folder).tokenizer
    assert score.encode(tokenizer, Question((("w3 w4", " w5"),), 0)) == [Encoded((3, 4, 5), 2)]


def test_too_long_and_nan_are_one_line() -> None:
    model = tiny_llama()
    with pytest.raises(ConfigError, match="has 66 tokens, the model takes 64"):
        score.log_likelihoods(model, [score.tree([Encoded(tuple(range(67 - 10)) + (1,) * 10, 60)])])
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ConfigError, match="NaN on these tasks"):
        score.log_likelihoods(model, [score.tree([Encoded((1, 2, 3), 1)])])
