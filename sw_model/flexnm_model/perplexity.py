"""Perplexity of a language model, dense and with N:M pruned activations; every finished window is kept in the cache.

ppl = exp(sum over windows of -log p(token | tokens before it in its window) / number of predicted tokens)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model import llm, select, text
from flexnm_model.cache import cache_dir, digest, replacing
from flexnm_model.llm import LanguageModel, model_key
from flexnm_model.methods import sparsify
from flexnm_model.methods.baselines import Dense
from flexnm_model.methods.patterns import Blocks, parse_blocks

Pattern = tuple[int, int] | None


@dataclass(frozen=True)
class WindowLoss:
    """nll: summed negative log likelihood in nats. tokens: how many were predicted. seconds: the forward pass."""

    nll: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """One line of the result. pattern: "dense" or "8:16". ratio: perplexity over the dense one's."""

    pattern: str
    perplexity: float
    ratio: float
    seconds: float


def parse_patterns(written: str) -> list[tuple[int, int]]:
    """``"16:32, 8:16"`` -> ``[(16, 32), (8, 16)]``. Raises ConfigError for anything else."""
    chosen = []
    for item in filter(None, (part.strip() for part in written.split(","))):
        blocks = parse_blocks(item)
        chosen.append((blocks.n, blocks.m))
    return chosen


def loss(model: torch.nn.Module, window: torch.Tensor) -> WindowLoss:
    """Loss of one window of token ids, int64 (1, length), of the model as it is.

    Raises ConfigError for a model that computes NaN.
    """
    start = time.perf_counter()
    with torch.inference_mode():
        logits = model(window, use_cache=False).logits[0, :-1].float()
        nll = float(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum"))
    if math.isnan(nll):
        raise ConfigError("the model computes NaN on this text: is its file damaged?")
    return WindowLoss(nll, window.shape[1] - 1, time.perf_counter() - start)


def window_loss(model: torch.nn.Module, window: torch.Tensor, pattern: Pattern) -> WindowLoss:
    """``loss`` of a dense model under ``pattern`` (None: dense)."""
    with sparsify(model, Blocks(*pattern) if pattern else Dense()):
        return loss(model, window)


class _Store:
    """Window losses of one setting, in one small JSON file."""

    def __init__(self, key: str) -> None:
        self.path: Path = cache_dir() / "ppl" / f"{key}.json"
        self.losses: dict[str, WindowLoss] = {}
        # A file that cannot be read is only lost time: the windows are computed again.
        with contextlib.suppress(OSError, ValueError, TypeError):
            stored = json.loads(self.path.read_text())
            self.losses = {k: WindowLoss(**v) for k, v in stored.items()}

    def add(self, index: int, loss: WindowLoss) -> None:
        self.losses[str(index)] = loss
        with replacing(self.path) as out:
            out.write_text(json.dumps({k: asdict(v) for k, v in self.losses.items()}))


def _code_key() -> str:
    """Results of other code are other results: the sources they depend on are part of the key."""
    methods = (Path(__file__).parent / "methods" / name for name in ("patterns.py", "layer.py", "sparsify.py"))
    sources = [*map(Path, (select.__file__, llm.__file__, text.__file__, __file__)), *methods]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:20]


def perplexity(losses: Iterable[WindowLoss]) -> float:
    """Perplexity over all tokens of the windows."""
    known = list(losses)
    return math.exp(sum(loss.nll for loss in known) / sum(loss.tokens for loss in known))


def measure(
    patterns: Sequence[tuple[int, int]],
    *,
    model: str | None = None,
    text_path: str | None = None,
    windows: int = 16,
    window: int = 512,
    advance: Callable[[str], None] = lambda pattern: None,
) -> list[Row]:
    """Perplexity dense and under each pattern, in this order.

    model: see ``llm.load``. text_path: see ``text.load_text``. windows, window: how many, of how many tokens, from
    the start of the text. advance: called with the pattern's name after each window.
    Windows measured before with the same model, text and code come from the cache; the model is only loaded if one is
    missing. Raises ConfigError for bad input, in one line.
    """
    if windows < 1 or window < 2:
        raise ConfigError(f"{windows} windows of {window} tokens: at least 1 window of 2 tokens is needed")
    settings = (model_key(model), text.text_key(text_path), window, _code_key())
    loaded: tuple[LanguageModel, list[torch.Tensor]] | None = None
    rows: list[Row] = []
    for pattern in (None, *patterns):
        name = f"{pattern[0]}:{pattern[1]}" if pattern else "dense"
        store = _Store(digest(*settings, name))
        for index in range(windows):
            if str(index) not in store.losses:
                loaded = loaded or _load(model, text_path, windows, window)
                store.add(index, window_loss(loaded[0].model, loaded[1][index], pattern))
            advance(name)
        losses = [store.losses[str(i)] for i in range(windows)]
        value = perplexity(losses)
        dense = rows[0].perplexity if rows else value
        rows.append(Row(name, value, value / dense, sum(loss.seconds for loss in losses)))
    return rows


def _load(
    model: str | None, text_path: str | None, windows: int, window: int
) -> tuple[LanguageModel, list[torch.Tensor]]:
    content = text.load_text(text_path)
    loaded = llm.load(model)
    return loaded, text.windows(loaded.tokenizer, content, windows, window)
