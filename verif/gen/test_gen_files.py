"""The bytes and time stamps of generated files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flexnm_gen.cli import run
from flexnm_gen.generate import generate
from flexnm_gen.tops import TOPS
from flexnm_rtl.config import Config
from gen_tools import python, tree

ENGINE_FILES = 2 * 9
"""More files in the folders of the two engines than in the others."""

SMALL = ["--n", "3", "--m", "5", "--rows", "2", "--cols", "2", "--metadata", "index"]


def test_equal_bytes_in_every_process(tmp_path: Path) -> None:
    """Neither hash seed, folder nor process changes a byte."""
    trees = []
    for seed in ("1", "4242"):
        out = tmp_path / f"seed{seed}"
        code = "import sys; from flexnm_gen.cli import run; sys.exit(run(sys.argv[1:]))"
        done = python(code, "verilog", *SMALL, "--top", "all", "--out", str(out), PYTHONHASHSEED=seed)
        assert (done.returncode, done.stderr) == (0, "")
        trees.append(tree(out))
    assert trees[0] == trees[1]
    assert len(trees[0]) == 3 * len(TOPS) + ENGINE_FILES


def test_equal_bytes_whatever_was_generated_before(tmp_path: Path) -> None:
    """All units in one run, or one of them alone in the same process."""
    assert run(["verilog", *SMALL, "--top", "all", "--out", str(tmp_path / "all")]) == 0
    assert run(["verilog", *SMALL, "--top", "mac_array", "--out", str(tmp_path / "one")]) == 0
    assert tree(tmp_path / "one").items() <= tree(tmp_path / "all").items()


def stamps(folder: Path) -> dict[str, int]:
    """Time stamp and inode tell a rewritten file."""
    return {p.name: p.stat().st_mtime_ns + p.stat().st_ino for p in folder.iterdir()}


def test_unchanged_files_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second run names the same files, and writes none."""
    args = ["verilog", *SMALL, "--top", "compressor", "--out", str(tmp_path)]
    assert run(args) == 0
    first = capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    before = stamps(folder)
    assert run(args) == 0
    assert capsys.readouterr().out == first == f"{folder / folder.name}.v\n"
    assert stamps(folder) == before


def test_only_files_that_differ_are_rewritten(tmp_path: Path) -> None:
    """A damaged file and a removed one come back; the third keeps its stamp."""
    folder = generate("dense_splitter", Config(n_keep=2, m_group=4, lanes=2), tmp_path)
    want, before = tree(folder), stamps(folder)
    (folder / f"{folder.name}.v").write_text("broken")
    (folder / "ports.md").unlink()
    assert generate("dense_splitter", Config(n_keep=2, m_group=4, lanes=2), tmp_path) == folder
    assert tree(folder) == want
    assert stamps(folder)[f"{folder.name}.json"] == before[f"{folder.name}.json"]


def test_a_changed_setting_rewrites(tmp_path: Path) -> None:
    """In the same folder when the hardware's name stays, in another one when it changes."""
    cfg = Config(n_keep=2, m_group=4, lanes=2)
    folder = generate("compressor", cfg, tmp_path)
    before = tree(folder)
    assert generate("compressor", cfg.replace(rows=7), tmp_path) == folder
    after = tree(folder)
    assert json.loads(after[f"{folder.name}.json"])["config"]["rows"] == 7
    assert {name for name in before if before[name] != after[name]} == {f"{folder.name}.json", f"{folder.name}.v"}
    modules = [next(t for n, t in files.items() if n.endswith(".v")).split(b"\n", 3)[3] for files in (before, after)]
    assert modules[0] == modules[1], "the compressor does not depend on the rows of the array"
    assert generate("compressor", cfg.replace(act_width=9), tmp_path) != folder


def test_a_manifest_gives_the_same_bytes_again(tmp_path: Path) -> None:
    """Each unit, from its own manifest."""
    assert run(["verilog", *SMALL, "--top", "all", "--selector", "auto", "--out", str(tmp_path / "a")]) == 0
    for folder in (tmp_path / "a").iterdir():
        manifest = folder / f"{folder.name}.json"
        top = json.loads(manifest.read_text())["top"]
        assert run(["verilog", "--config", str(manifest), "--top", top, "--out", str(tmp_path / "b")]) == 0
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_settings_of_a_plain_json_file(tmp_path: Path) -> None:
    """Fields by name; what is missing takes its default; options go on top."""
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"n_keep": 2, "m_group": 8, "lanes": 2}))
    args = ["verilog", "--config", str(file), "--width", "5", "--top", "decompressor", "--out", str(tmp_path / "out")]
    assert run(args) == 0
    (folder,) = (tmp_path / "out").iterdir()
    config = json.loads((folder / f"{folder.name}.json").read_text())["config"]
    expected = Config(n_keep=2, m_group=8, lanes=2, act_width=5, weight_width=5)
    assert config == {
        **expected.as_dict(),
        "selector": "rank",
        "t_max": 64,
        "acts_per_beat": 4,
        "weights_per_beat": 8,
        "results_per_beat": 2,
    }


def streams(folder: Path, *args: str) -> list[int]:
    """Tokens and widths of the engine's streams that a command line leads to."""
    assert run(["verilog", "--top", "compressor", "--out", str(folder), *args]) == 0
    (unit,) = folder.iterdir()
    config = json.loads((unit / f"{unit.name}.json").read_text())["config"]
    return [config[key] for key in ("t_max", "acts_per_beat", "weights_per_beat", "results_per_beat")]


def memory(folder: Path, *args: str) -> list[int]:
    """Bus, rows, bursts and addresses of the decode engine that a command line leads to."""
    assert run(["verilog", "--top", "decode", "--k-max", "64", "--rows", "1", "--out", str(folder), *args]) == 0
    (unit,) = folder.iterdir()
    config = json.loads((unit / f"{unit.name}.json").read_text())["config"]
    return [config[key] for key in ("bus_width", "tile_beats", "outstanding", "address_width")]


def test_settings_of_the_decode_engine(tmp_path: Path) -> None:
    """Each of them reaches the configuration, the name and, from the manifest, the next configuration."""
    chosen = ["--bus-width", "64", "--tile-beats", "4", "--outstanding", "3", "--address-width", "40"]
    assert memory(tmp_path / "a", *chosen) == [64, 4, 3, 40]
    (unit,) = (tmp_path / "a").iterdir()
    assert "_b64x4_q3_d40_" in unit.name
    manifest = ["--config", str(unit / f"{unit.name}.json")]
    assert memory(tmp_path / "b", *manifest) == [64, 4, 3, 40]
    assert memory(tmp_path / "c", *manifest, "--tile-beats", "8", "--outstanding", "2") == [64, 8, 2, 40]
    assert memory(tmp_path / "d") == [128, 16, 16, 32]


def test_settings_of_the_engine(tmp_path: Path) -> None:
    """Given ones stay; those fixed by a manifest are chosen anew when the array changes, unless given again."""
    chosen = ["--t-max", "100", "--acts-per-beat", "2", "--weights-per-beat", "4", "--results-per-beat", "8"]
    assert streams(tmp_path / "a", *chosen) == [100, 2, 4, 8]
    (unit,) = (tmp_path / "a").iterdir()
    manifest = ["--config", str(unit / f"{unit.name}.json")]
    assert streams(tmp_path / "b", *manifest) == [100, 2, 4, 8]
    assert streams(tmp_path / "c", *manifest, "--rows", "6") == [100, 6, 4, 8]
    assert streams(tmp_path / "d", *manifest, "--cols", "6") == [100, 2, 6, 2]
    assert streams(tmp_path / "e", *manifest, "--lanes", "4", "--weights-per-beat", "8") == [100, 2, 8, 8]
