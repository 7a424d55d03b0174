"""The commands on a tiny random model: results, resuming, caching."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from flexnm_model import capture as capturing
from flexnm_model import commands, llm, perplexity
from flexnm_model.select import select
from flexnm_model.text import load_text, windows

pytestmark = pytest.mark.usefixtures("cache")


def ppl(folder: str, text: str, *more: str) -> None:
    args = ["--model", folder, "--text", text, "--windows", "3", "--window", "32", *more]
    result = CliRunner().invoke(commands.ppl, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def expected_perplexity(folder: str, text: str, pattern: tuple[int, int] | None) -> float:
    """Straight from the formula: every projection masked on its own, log softmax, mean."""
    loaded = llm.load(folder)

    def hook(module: torch.nn.Module, args: tuple[torch.Tensor]) -> torch.Tensor:
        assert pattern is not None
        return torch.where(select(args[0], *pattern), args[0], 0)

    if pattern:
        for _, linear in llm.decoder_linears(loaded.model):
            linear.register_forward_pre_hook(hook)
    ids = torch.tensor(loaded.tokenizer(load_text(text), add_special_tokens=False)["input_ids"][:96]).view(3, 32)
    with torch.inference_mode():
        log_p = loaded.model(ids, use_cache=False).logits.log_softmax(-1)[:, :-1]
    return math.exp(-float(log_p.gather(-1, ids[:, 1:, None]).mean()))


def test_ppl_equals_the_formula(tiny_folder: str, words: str, tmp_path: Path) -> None:
    out = tmp_path / "ppl.json"
    ppl(tiny_folder, words, "--patterns", "8:16,2:4", "--json", str(out))
    rows = json.loads(out.read_text())["rows"]
    assert [row["pattern"] for row in rows] == ["dense", "8:16", "2:4"]
    for row, pattern in zip(rows, (None, (8, 16), (2, 4)), strict=True):
        assert row["perplexity"] == pytest.approx(expected_perplexity(tiny_folder, words, pattern), rel=1e-5)
        assert row["ratio"] == pytest.approx(row["perplexity"] / rows[0]["perplexity"])


def test_ppl_goes_on_where_it_was(tiny_folder: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[object] = []
    original = perplexity.window_loss

    def counting(model: torch.nn.Module, window: torch.Tensor, pattern: perplexity.Pattern) -> perplexity.WindowLoss:
        if len(measured) == limit:
            raise KeyboardInterrupt
        measured.append(pattern)
        return original(model, window, pattern)

    def measure() -> list[perplexity.Row]:
        return perplexity.measure([(2, 4)], model=tiny_folder, text_path=words, windows=3, window=32)

    monkeypatch.setattr(perplexity, "window_loss", counting)
    limit = 4
    with pytest.raises(KeyboardInterrupt):
        measure()
    assert measured == [None, None, None, (2, 4)]
    limit = 100
    rows = measure()
    assert len(measured) == 6
    assert measure() == rows
    assert len(measured) == 6


def test_ppl_recomputes_what_it_cannot_read(tiny_folder: str, words: str, cache: Path) -> None:
    before = perplexity.measure([], model=tiny_folder, text_path=words, windows=2, window=16)
    for file in (cache / "ppl").iterdir():
        file.write_text("{ damaged")
    after = perplexity.measure([], model=tiny_folder, text_path=words, windows=2, window=16)
    assert after[0].perplexity == before[0].perplexity


def test_bos_goes_in_front_if_the_tokenizer_wants_it() -> None:
    class Tokenizer:
        bos_token_id = 7

        def __init__(self, wants: bool) -> None:
            self.wants = wants

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            ids = [ord(c) for c in text]
            return {"input_ids": [7, *ids] if self.wants and add_special_tokens else ids}

    text = "abcdefgh" * 8
    assert [w.tolist() for w in windows(Tokenizer(True), text, 2, 2)] == [[[7, 97, 98]], [[7, 99, 100]]]
    assert [w.tolist() for w in windows(Tokenizer(False), text, 2, 2)] == [[[97, 98]], [[99, 100]]]


def test_capture_equals_the_model(tiny_folder: str, words: str, cache: Path) -> None:
    data = capturing.capture(None, 40, tiny_folder, words)
    assert sorted(data) == sorted(capturing.default_layers(2))
    layer = data["layers.1.mlp.down_proj"]
    assert (layer.x.shape, layer.w.shape, layer.x.dtype) == ((40, 40), (24, 40), torch.float32)
    loaded = llm.load(tiny_folder)
    outputs: list[torch.Tensor] = []
    linears = dict(llm.decoder_linears(loaded.model))
    linears["layers.1.mlp.down_proj"].register_forward_hook(lambda module, args, out: outputs.append(out))
    with torch.inference_mode():
        loaded.model(windows(loaded.tokenizer, load_text(words), 1, 40)[0])
    torch.testing.assert_close(layer.x @ layer.w.T, outputs[0][0])
    assert len(list((cache / "captures").iterdir())) == 1


def test_bos_is_read_but_not_captured(tiny_folder: str, words: str, tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    loaded = llm.load(tiny_folder)
    starts = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    loaded.tokenizer.backend_tokenizer.post_processor = starts
    loaded.tokenizer.save_pretrained(tmp_path)
    loaded.model.save_pretrained(tmp_path)
    layer = "layers.0.self_attn.q_proj"
    plain = capturing.capture([layer], 40, tiny_folder, words)[layer].x
    started = capturing.capture([layer], 40, str(tmp_path), words)[layer].x
    # The first projection's input does not depend on the tokens before: the same tokens, so the same numbers.
    torch.testing.assert_close(started, plain)
    (window,) = windows(llm.load(str(tmp_path)).tokenizer, load_text(words), 1, 40)
    assert (window.shape, int(window[0, 0])) == ((1, 41), 1)


def test_capture_from_the_cache_needs_no_transformers(tiny_folder: str, words: str) -> None:
    layers = ["layers.0.mlp.up_proj", "layers.0.self_attn.o_proj"]
    first = capturing.capture(layers, 8, tiny_folder, words)
    script = (
        "import sys; from flexnm_model.capture import capture\n"
        f"data = capture({layers!r}, 8, {tiny_folder!r}, {words!r})\n"
        "assert list(data) == " + repr(layers) + "\n"
        "assert 'transformers' not in sys.modules and 'amaranth' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert list(first) == layers


def test_capture_command(tiny_folder: str, words: str) -> None:
    args = ["--model", tiny_folder, "--text", words, "--tokens", "8", "--layers", "layers.0.mlp.up_proj"]
    result = CliRunner().invoke(commands.capture, args, catch_exceptions=False)
    assert "layers.0.mlp.up_proj" in result.output


def test_help_imports_no_torch() -> None:
    script = "import sys, flexnm_model.commands; assert 'torch' not in sys.modules and 'amaranth' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_default_layers_of_smollm2() -> None:
    assert {name.split(".")[1] for name in capturing.DEFAULT_LAYERS} == {"1", "15", "28"}
    assert len(capturing.DEFAULT_LAYERS) == 9
    assert len(capturing.default_layers(1)) == 3
