"""Bad inputs to commands and loaders: one line that says what is wrong, exit status 2, nothing half-written."""

from __future__ import annotations

import errno
import gzip
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from flexnm_gen.cli import run
from flexnm_gen.liberty import read_liberty
from flexnm_model import packing
from flexnm_model.capture import capture
from flexnm_model.quantize import quantize
from flexnm_rtl.config import Config, ConfigError
from safetensors.torch import load_file, save_file

WEIGHT = "model.layers.1.mlp.down_proj.weight"
LIBERTY = """library (tiny) {
  cell (INV) { area : 1; pin (A) { direction : input; capacitance : 1; }
    pin (Y) { direction : output; function : "!A"; } }
  cell (DFF) { area : 4; ff (IQ, IQN) { clocked_on : "C"; next_state : "D"; } pin (C) { direction : input; } }
}
"""


def one_line(capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    """Standard error is the line of an error, but for bars that rich leaves behind, and says ``parts``."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    lines = [line for line in lines if "━" not in line and "-:--:--" not in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("flexnm: error: "), lines
    assert "Traceback" not in lines[0]
    for part in parts:
        assert part in lines[0], lines[0]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# ---- models ----


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def wild_header(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes((1 << 40).to_bytes(8, "little") + file.read_bytes()[8:])


def with_value(value: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        tensors[WEIGHT] = tensors[WEIGHT].clone()
        tensors[WEIGHT][0, 0] = value
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[WEIGHT]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def half_written(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text('{"a": ')

    return change


MODELS: dict[str, Callable[[Path], None]] = {
    "safetensors cut short": cut,
    "safetensors with a wild header": wild_header,
    "a tensor is missing": without_a_tensor,
    "NaN weight": with_value(float("nan")),
    "infinite weight": with_value(float("inf")),
    "config.json cut short": half_written("config.json"),
    "tokenizer.json cut short": half_written("tokenizer.json"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_bad_models(
    kind: str, tiny_folder: str, words: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    MODELS[kind](model)
    args = ["--model", str(model), "--text", words]
    assert run(["ppl", *args, "--windows", "1", "--patterns", "2:4", "--json", str(tmp_path / "ppl.json")]) == 2
    one_line(capsys, "model model cannot be loaded", "NaN or infinity" if "weight" in kind else "")
    assert run(["capture", *args, "--tokens", "8", "--layers", "layers.1.mlp.down_proj"]) == 2
    one_line(capsys)
    assert not files(cache), "something was kept"
    assert not (tmp_path / "ppl.json").exists()


@pytest.mark.parametrize("kept", [4, 100, 3000])
def test_a_gguf_cut_short(
    kept: int, words: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np
    from gguf import GGUFWriter

    file = tmp_path / "model.gguf"
    writer = GGUFWriter(str(file), "llama")
    writer.add_block_count(2)
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((64, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file.write_bytes(file.read_bytes()[:kept])
    assert run(["ppl", "--model", str(file), "--text", words, "--windows", "1", "--patterns", "2:4"]) == 2
    one_line(capsys, "model.gguf", "damaged")
    assert not files(cache)


# ---- numbers ----


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_activations_that_are_no_numbers(value: float) -> None:
    x = torch.ones(2, 8)
    x[1, 3] = value
    with pytest.raises(ConfigError, match="values contain NaN or infinity: quantisation needs finite numbers"):
        quantize(x, 8)


def test_numbers_too_large_for_the_engine() -> None:
    cfg = Config(n_keep=2, m_group=4, lanes=2)
    for x in (torch.full((1, 4), 128), torch.full((1, 4), -129)):
        with pytest.raises(ConfigError, match="activations"):
            packing.pack_acts(x, cfg)


def test_captured_layers_cut_short(
    tiny_folder: str, words: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = "layers.1.mlp.down_proj"
    capture([layer], 8, tiny_folder, words)
    (file,) = (cache / "captures").iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    args = ["capture", "--model", tiny_folder, "--text", words, "--tokens", "8", "--layers", layer]
    assert run(args) == 2
    one_line(capsys, "damaged: delete this file")


# ---- Liberty ----


def test_a_good_liberty(tmp_path: Path) -> None:
    """Or the tests below would prove nothing."""
    (tmp_path / "good.lib").write_text(LIBERTY)
    assert set(read_liberty([tmp_path / "good.lib"]).cells) == {"INV", "DFF"}


LIBERTIES: dict[str, tuple[bytes, str]] = {
    "cut short": (LIBERTY.encode()[:-30], "is damaged"),
    "gzip cut short": (gzip.compress(LIBERTY.encode() * 9)[:-40], "is damaged"),
    "gzip with a wrong bit": (gzip.compress(LIBERTY.encode())[:40] + b"\xff" * 20, "is damaged"),
    "only the head of a gzip": (b"\x1f\x8b", "is damaged"),
    "empty": (b"", "is no Liberty file"),
    "another file": (b"no library { }", "is no Liberty file"),
}


@pytest.mark.parametrize("kind", LIBERTIES)
def test_bad_liberty(kind: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = LIBERTIES[kind]
    (tmp_path / "cells.lib").write_bytes(content)
    out = tmp_path / "out"
    assert run(["synth", "--target", "asic", "--liberty", str(tmp_path / "cells.lib"), "--out", str(out)]) == 2
    one_line(capsys, "LIBERTY=", message)
    assert not out.exists()
    assert not files(cache)


def test_a_liberty_that_is_a_folder(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["synth", "--target", "asic", "--liberty", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    one_line(capsys, "LIBERTY=", "directory")


# ---- a disk that gets full ----


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may become larger than ``size`` bytes: a full disk, but for the name of the error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_verilog_on_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with largest_file(4000):
        status = run(["verilog", "--preset", "n2m4", "--top", "compressor", "--out", str(tmp_path / "out")])
    assert status == 2
    one_line(capsys, os.strerror(errno.EFBIG))
    assert not files(tmp_path)


def test_an_old_file_survives_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["verilog", "--top", "compressor", "--out", str(tmp_path / "out"), "--preset"]
    assert run([*args, "n2m4"]) == 0
    (old,) = (tmp_path / "out").rglob("*.json")
    content = old.read_text()
    with largest_file(4000):
        assert run([*args, "n4m8"]) == 2
    assert old.read_text() == content
    assert json.loads(content)["config"]["n_keep"] == 2
    assert not [name for name in files(tmp_path) if "n4m8" in name or Path(name).name.startswith(".")]


def test_capture_on_a_full_disk(tiny_folder: str, words: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["capture", "--model", tiny_folder, "--text", words, "--tokens", "8", "--layers", "layers.1.mlp.down_proj"]
    with largest_file(1000):
        status = run(args)
    assert status == 2
    one_line(capsys)
    assert not files(cache)
    assert run(args) == 0
