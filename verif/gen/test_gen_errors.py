"""Bad input: exit status 2, one line, nothing written."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from flexnm_gen.cli import COMMANDS, run
from gen_tools import python

BAD = {
    "n above m": (["--n", "17", "--m", "16"], "N=17 exceeds M=16"),
    "m of one": (["--m", "1"], "M=1 is out of range"),
    "m too large": (["--m", "33"], "M=33 is out of range"),
    "n of zero": (["--n", "0"], "N=0 is out of range"),
    "negative n": (["--n=-1"], "N=-1 is out of range"),
    "lanes": (["--lanes", "3"], "LANES=3 does not divide N=8"),
    "width": (["--width", "3"], "WIDTH=3 is out of range"),
    "k_max below m": (["--k-max", "8"], "K_MAX=8 is out of range"),
    "t_max below rows": (["--rows", "4", "--t-max", "3"], "T_MAX=3 is out of range"),
    "acts per beat": (["--acts-per-beat", "3"], "ACTS_PER_BEAT=3 does not divide 4"),
    "weights per beat": (["--weights-per-beat", "16"], "WEIGHTS_PER_BEAT=16 is out of range"),
    "results per beat": (["--results-per-beat", "5"], "RESULTS_PER_BEAT=5 does not divide 8"),
    "bus width": (["--bus-width", "96"], "BUS_WIDTH=96 is not possible: choose one of 64, 128, 256, 512"),
    "tile beats": (
        ["--tile-beats", "3"],
        "TILE_BEATS=3 is not possible: choose one of 1, 2, 4, 8, 16, 32, 64, 128, 256",
    ),
    "rows beyond a page": (["--bus-width", "512", "--tile-beats", "128"], "TILE_BEATS=128 is not possible: choose one"),
    "no tile beats": (["--tile-beats", "0"], "TILE_BEATS=0 is not possible"),
    "outstanding": (["--outstanding", "1"], "OUTSTANDING=1 is out of range: it must be a whole number from 2 to 256"),
    "too many outstanding": (["--outstanding", "257"], "OUTSTANDING=257 is out of range"),
    "address width": (["--address-width", "15"], "ADDRESS_WIDTH=15 is out of range: it must be a whole number from 16"),
    "addresses too wide": (["--address-width", "65"], "ADDRESS_WIDTH=65 is out of range"),
    "metadata": (["--metadata", "rle"], "METADATA=rle is unknown"),
    "selector": (["--selector", "best"], "SELECTOR=best is unknown"),
    "preset": (["--preset", "n9m9"], "unknown preset n9m9"),
    "top": (["--top", "alu"], "TOP=alu is unknown"),
    "option": (["--depth", "3"], "--depth"),
    "no whole number": (["--n", "eight"], "'eight' is not a valid integer"),
    "no value": (["--n"], "requires an argument"),
    "n twice": (["--n", "2", "--n", "4"], "'--n': given 2 times"),
    "argument": (["extra"], "extra"),
    "preset and config": (["--preset", "n2m4", "--config", "x.json"], "exclude each other"),
    "missing config": (["--config", "no/such.json"], "no/such.json: No such file"),
}

BAD_JSON = {
    "unknown key": ('{"n_kept": 4}', "unknown key n_kept"),
    "corrupt": ('{"n_keep": 4', "is not JSON"),
    "empty": ("", "is not JSON"),
    "list": ("[1, 2]", "no JSON object"),
    "list in a manifest": ('{"config": [1]}', "no JSON object"),
    "text for a number": ('{"n_keep": "8"}', "N=8 is out of range"),
    "fraction": ('{"n_keep": 8.0}', "N=8.0 is out of range"),
    "fraction of a bus": ('{"bus_width": 128.5}', "BUS_WIDTH=128.5 is not possible"),
    "text for beats": ('{"tile_beats": "16"}', "TILE_BEATS=16 is not possible"),
    "list for a bus": ('{"bus_width": [128]}', "BUS_WIDTH=[128] is not possible"),
    "float for a bus": ('{"bus_width": 128.0}', "BUS_WIDTH=128.0 is not possible"),
    "true for beats": ('{"tile_beats": true}', "TILE_BEATS=True is not possible"),
    "text for addresses": ('{"address_width": "32"}', "ADDRESS_WIDTH=32 is out of range"),
    "true": ('{"n_keep": true}', "N=True is out of range"),
    "null": ('{"metadata": null}', "METADATA=None is unknown"),
    "bytes": (b"\xff\xfe\x00", "is not JSON"),
}


def fails(capsys: pytest.CaptureFixture[str], args: list[str], message: str) -> None:
    """Run, and check status and the one line."""
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("flexnm: error: ")
    assert message in err
    assert err.endswith("\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("args, message", BAD.values(), ids=BAD)
def test_bad_options(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong is named, and neither OUT nor the default folder appears."""
    monkeypatch.chdir(tmp_path)
    fails(capsys, ["verilog", "--out", str(tmp_path / "out"), *args], message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text, message", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_config_file(text: str | bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken settings file."""
    file = tmp_path / "settings.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    fails(capsys, ["verilog", "--config", str(file), "--out", str(tmp_path / "out")], message)
    assert list(tmp_path.iterdir()) == [file]


def test_unwritable_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OUT below a file, and a file where a unit's folder should be."""
    (tmp_path / "file").write_text("mine")
    fails(capsys, ["verilog", "--out", str(tmp_path / "file")], "file")
    fails(capsys, ["verilog", "--out", str(tmp_path / "file" / "below")], "Not a directory")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last of three files fails to be staged: no file, no temporary, no folder."""
    import tempfile

    original, calls = tempfile.mkstemp, []

    def mkstemp(*args: object, **kwargs: object) -> object:
        if kwargs.get("dir") == tmp_path / "out" / "flexnm_dense_splitter_n8m16_a8_bitmask":
            calls.append(1)
            if len(calls) == 3:
                raise OSError(28, "No space left on device", "x")
        return original(*args, **kwargs)  # type: ignore[call-overload]

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    fails(capsys, ["verilog", "--top", "dense_splitter", "--out", str(tmp_path / "out")], "No space left")
    assert len(calls) == 3
    assert list((tmp_path / "out").iterdir()) == []


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Also one line."""
    fails(capsys, ["synthesise"], "synthesise")
    fails(capsys, ["--wat"], "--wat")


def exists(command: str) -> bool:
    """Whether the module of a command is in this tree."""
    return importlib.util.find_spec(COMMANDS[command][0]) is not None


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself."""
    if command and not exists(command):
        pytest.skip(f"{COMMANDS[command][0]} is not there yet")
    assert run([*command.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: flexnm {command}".rstrip())
    assert err == ""


@pytest.mark.parametrize("command, extra", [("ppl", "model"), ("capture", "model"), ("sim", "sim")])
def test_a_missing_package_is_one_line(command: str, extra: str, tmp_path: Path) -> None:
    """Without PyTorch the commands that need it name the extra to install."""
    if not exists(command):
        pytest.skip(f"{COMMANDS[command][0]} is not there yet")
    code = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from flexnm_gen.cli import run
sys.exit(run(sys.argv[1:]))
"""
    done = python(code, command, FLEXNM_CACHE=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"flexnm: error: {command} needs the Python package torch: install flexnm[{extra}]\n"
