"""Releases: two builds have the same bytes, and one that does not is not given out."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from pathlib import Path

import pytest
from flexnm_gen.cli import run
from flexnm_tb import release
from flexnm_tb.release import SUMS, NotReproducible, compare, tar_of

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_release_is_reproducible(tmp_path: Path) -> None:
    """Wheel and Verilog under other folders, time stamps, permissions, hash seeds, locales and time zones."""
    assert run(["release", "--preset", "n2m4", "--out", str(tmp_path)]) == 0
    sums = dict(reversed(line.split("  ")) for line in (tmp_path / SUMS).read_text().splitlines())
    assert {name.rpartition("-")[2] for name in sums} == {"any.whl", "verilog.tar.gz"}
    assert {path.name for path in tmp_path.iterdir()} == sums.keys() | {SUMS}
    for name, digest in sums.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_a_build_that_differs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, one line, no file."""
    monkeypatch.setattr(release, "ODDITIES", tuple({"PYTHONHASHSEED": seed} for seed in "12"))

    def built(repository: Path, folder: Path, oddity: dict[str, str], presets: list[str], progress: object) -> Path:
        folder.mkdir(parents=True)
        (folder / "a.whl").write_text(oddity["PYTHONHASHSEED"])
        return folder

    monkeypatch.setattr(release, "build", built)
    assert run(["release", "--out", str(tmp_path / "out")]) == 1
    assert "flexnm: error: two builds of a.whl differ" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_a_difference(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "more").touch()
    with pytest.raises(NotReproducible, match="more"):
        compare(tmp_path / "a", tmp_path / "b")


def test_tar_files_hold_names_and_contents_only(tmp_path: Path) -> None:
    """No time stamps, owners or order of creation."""
    packed = []
    for name, order in (("one", "ab"), ("two", "ba")):
        folder = tmp_path / name / "deep"
        folder.mkdir(parents=True)
        for file in order:
            (folder / file).write_text(file)
            os.utime(folder / file, (len(packed), len(packed)))
        packed.append(tar_of(tmp_path / name, "root"))
    assert packed[0] == packed[1]
    with tarfile.open(fileobj=io.BytesIO(packed[0])) as archive:
        assert archive.getnames() == ["root/deep/a", "root/deep/b"]


def test_an_unknown_preset_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["release", "--preset", "n9m9"]) == 2
    assert "unknown preset n9m9: choose one of n2m4" in capsys.readouterr().err


def test_every_package_is_pinned_with_hashes() -> None:
    """So pip takes nothing else, wherever it gets it from."""
    text = (REPOSITORY / "constraints.txt").read_text().replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==[^\s;]+( ;[^#]*?)?( +--hash=sha256:[0-9a-f]{64})+\s*$", entry), entry[:60]
