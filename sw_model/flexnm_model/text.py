"""Plain text to measure on, and its tokens in windows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from flexnm_rtl.config import ConfigError

from flexnm_model.cache import digest, file_from_package

_PACKAGE = "exllamav2==0.3.2"
_MEMBER = "exllamav2/conversion/standard_cal_data/wiki.utf8"
_SHA256 = "d53fe0aeadf3355eb5d32b48bf8691575244c31caccae88ed46be8e1b40209c7"
_CHARS_PER_TOKEN = 8


def load_text(path: str | None = None) -> str:
    """A UTF-8 text file, or 2 MB of Wikipedia (cached from a pip package) for None.

    Lines ``<doc …>`` and ``</doc>`` are removed, with their line ends. Raises ConfigError for a file that is missing,
    empty or not UTF-8.
    """
    source = Path(path) if path is not None else file_from_package(_PACKAGE, _MEMBER, _SHA256)
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"text {source} cannot be read ({error.strerror}): name a UTF-8 text file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"text {source} is not UTF-8: convert it first") from None
    text = re.sub(r"^</?doc\b[^>\n]*>\n?", "", text, flags=re.MULTILINE)
    if not text.strip():
        raise ConfigError(f"text {source} is empty: name a file with text")
    return text


def text_key(path: str | None) -> str:
    """Key of the text for the cache: changes with what ``load_text`` returns."""
    return digest(load_text(path))


def tokenize(tokenizer: Any, text: str, count: int) -> list[int]:
    """The first ``count`` tokens of ``text``, no special tokens added; fewer when the text is short.

    Only a prefix is tokenised if that is surely enough; its last tokens, which the cut could change, are not used.
    """
    prefix = text[: _CHARS_PER_TOKEN * count + 1000]
    ids: list[int] = tokenizer(prefix, add_special_tokens=False)["input_ids"]
    if len(ids) < count + 16 and len(prefix) < len(text):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids[:count]


def windows(tokenizer: Any, text: str, count: int, length: int, *, skip: int = 0) -> list[torch.Tensor]:
    """``count`` consecutive windows of ``length`` tokens, each int64 (1, length), after the first ``skip`` windows.

    If the tokenizer itself starts a text with BOS (Gemma does), each window gets one in front: (1, 1 + length).
    Raises ConfigError when the text is too short.
    """
    needed = (skip + count) * length
    ids = tokenize(tokenizer, text, needed)
    if len(ids) < needed:
        behind = f" behind {skip} others" if skip else ""
        raise ConfigError(
            f"the text has {len(ids)} tokens, {count} windows of {length}{behind} need {needed}: "
            f"ask for at most {max(0, len(ids) // length - skip)} windows or take a longer text"
        )
    ids = ids[skip * length :]
    bos = tokenizer.bos_token_id
    started: list[int] = tokenizer("a")["input_ids"]
    start = [bos] if bos is not None and started[:1] == [bos] else []
    return [torch.tensor([start + ids[i * length : (i + 1) * length]]) for i in range(count)]
