"""A tiny random Llama with a tokenizer, on disk, and a cache of its own: commands on a model without any download."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from flexnm_tb.testplan.plugin import pytest_addoption, pytest_terminal_summary  # noqa: F401

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Compiling takes longer than simulating here.
os.environ.setdefault("FLEXNM_OPTIMISE", "-O1")
os.environ.setdefault("FLEXNM_BENCH_OPTIMISE", "-O0")


def tiny_llama() -> Any:
    """Two decoder layers of width 24, K of the MLP not divisible by 16, random weights from a fixed seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    return model.eval()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("FLEXNM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny model and a word tokenizer as a Hugging Face folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, 64)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    kind: Any = PreTrainedTokenizerFast
    fast = kind(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    tiny_llama().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A text of 400 known words between document tags."""
    import torch

    path = tmp_path_factory.mktemp("text") / "words.txt"
    numbers = torch.randint(3, 64, (400,), generator=torch.Generator().manual_seed(0)).tolist()
    path.write_text('<doc id="1">\n' + " ".join(f"w{i}" for i in numbers) + "\n</doc>\n")
    return str(path)
