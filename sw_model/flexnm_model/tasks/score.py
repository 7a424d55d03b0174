"""Log-likelihoods of the answers of multiple-choice documents.

The answers of a document begin with the same tokens, mostly its whole context, so these are computed once: the tokens
that all answers share and then each answer's own tokens lie behind one another in one sequence, and an attention mask
lets an answer see the shared tokens and itself only. Positions count on from the shared part. Several documents can be
put into one such sequence. Every token meets the same tokens as it would alone, so the results are those of the naive
way, one forward pass an answer, up to the rounding of floating-point sums.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.tasks.formats import Question


@dataclass(frozen=True)
class Encoded:
    """One answer. tokens: context and continuation. start: index of the first token of the continuation."""

    tokens: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Tree:
    """A document as one sequence of n tokens. segment: 0 for the shared ones, i + 1 for those of answer i only.

    targets: for each answer, (index in this sequence whose logits predict it, token) of each of its scored tokens.
    """

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    segment: tuple[int, ...]
    targets: tuple[tuple[tuple[int, int], ...], ...]


def encode(tokenizer: Any, question: Question) -> list[Encoded]:
    """The answers as tokens, split as lm-evaluation-harness does (``_encode_pair``).

    Blanks at the end of a context move to the continuation; both are tokenised together, and what is longer than the
    context alone is the continuation. A tokenizer that starts texts with BOS does so here.
    """
    context_tokens: dict[str, int] = {}
    encoded = []
    for context, continuation in question.options:
        bare = context.rstrip()
        if bare not in context_tokens:
            context_tokens[bare] = len(tokenizer(bare)["input_ids"])
        encoded.append(Encoded(tuple(tokenizer(context + continuation)["input_ids"]), context_tokens[bare]))
    return encoded


def tree(options: Sequence[Encoded]) -> Tree:
    """Lay out one document. The last token of an answer is only predicted, so it is no input."""
    inputs = [option.tokens[:-1] for option in options]
    shared = _common_length(inputs)
    tokens, positions, segment = list(inputs[0][:shared]), list(range(shared)), [0] * shared
    targets = []
    for i, (option, sequence) in enumerate(zip(options, inputs, strict=True), start=1):
        shift = len(tokens) - shared
        tokens += sequence[shared:]
        positions += range(shared, len(sequence))
        segment += [i] * (len(sequence) - shared)
        before = range(option.start - 1, len(sequence))
        targets.append(tuple((j if j < shared else j + shift, option.tokens[j + 1]) for j in before))
    return Tree(tuple(tokens), tuple(positions), tuple(segment), tuple(targets))


def _common_length(sequences: Sequence[tuple[int, ...]]) -> int:
    columns = zip(*sequences, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))


def packs(trees: Iterable[tuple[int, Tree]], budget: int) -> Iterator[list[tuple[int, Tree]]]:
    """Numbered documents in groups of at most ``budget`` tokens, one document at least, in order."""
    group: list[tuple[int, Tree]] = []
    used = 0
    for number, document in trees:
        if group and used + len(document.tokens) > budget:
            yield group
            group, used = [], 0
        group.append((number, document))
        used += len(document.tokens)
    if group:
        yield group


def log_likelihoods(model: torch.nn.Module, documents: Sequence[Tree]) -> list[list[float]]:
    """Summed log-likelihood, in nats, of each answer of each document, in one forward pass.

    model: a ``transformers`` causal LM; its attention must take a mask of shape (1, 1, T, T), as ``sdpa`` and ``eager``
    do. Raises ConfigError for documents longer than the model takes, and for a model that computes NaN.
    """
    config: Any = model.config
    longest = max(max(document.positions) for document in documents) + 1
    if longest > getattr(config, "max_position_embeddings", longest):
        raise ConfigError(f"a document has {longest} tokens, the model takes {config.max_position_embeddings}")
    starts = list(itertools.accumulate((len(d.tokens) for d in documents), initial=0))
    wanted = sorted({start + j for start, d in zip(starts, documents, strict=False) for t in d.targets for j, _ in t})
    row = {index: i for i, index in enumerate(wanted)}
    with torch.inference_mode():
        logits = model(
            torch.tensor([[token for d in documents for token in d.tokens]]),
            attention_mask=_masks(model, documents),
            position_ids=torch.tensor([[position for d in documents for position in d.positions]]),
            logits_to_keep=torch.tensor(wanted),
            use_cache=False,
        ).logits[0]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        total = logits.logsumexp(-1)
        results = []
        for start, document in zip(starts, documents, strict=False):
            sums = []
            for targets in document.targets:
                rows, tokens = [row[start + j] for j, _ in targets], [token for _, token in targets]
                sums.append(float((logits[rows, tokens] - total[rows]).sum()))
            results.append(sums)
    if any(math.isnan(value) for sums in results for value in sums):
        raise ConfigError("the model computes NaN on these tasks: is its file damaged?")
    return results


def _masks(model: torch.nn.Module, documents: Sequence[Tree]) -> Any:
    """The additive mask (1, 1, T, T); for models with sliding-window layers, one a kind of layer."""
    config: Any = model.config
    number = torch.tensor([i for i, d in enumerate(documents) for _ in d.tokens])
    position = torch.tensor([position for d in documents for position in d.positions])
    segment = torch.tensor([part for d in documents for part in d.segment])
    distance = position[:, None] - position[None, :]
    same_branch = (segment[None, :] == 0) | (segment[None, :] == segment[:, None])
    seen = (number[:, None] == number[None, :]) & same_branch & (distance >= 0)
    dtype = next(model.parameters()).dtype
    full = _additive(seen, dtype)
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or []
    if window is None or (kinds and "sliding_attention" not in kinds):
        return full
    sliding = _additive(seen & (distance < window), dtype)
    return {"full_attention": full, "sliding_attention": sliding} if kinds else sliding


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
    return mask[None, None]
