"""``flexnm calibrate`` on a tiny model: what it writes, its cache, resuming, and one line for bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from flexnm_model import llm, method_commands
from flexnm_model.methods import Parameters, prepare, sparsify
from flexnm_model.methods.calibrate import calibrate
from flexnm_model.text import load_text, windows
from flexnm_rtl.config import ConfigError
from method_tools import one_thread  # noqa: F401, a fixture

pytestmark = pytest.mark.usefixtures("cache", "one_thread")


def run(folder: str, text: str, *more: str) -> str:
    args = ["--model", folder, "--text", text, "--windows", "3", "--window", "32", "--skip", "2", *more]
    result = CliRunner().invoke(method_commands.calibrate, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def same(a: Parameters, b: Parameters) -> bool:
    return all(
        torch.equal(tensor, b.of(layer)[name]) for layer, own in a.layers.items() for name, tensor in own.items()
    )


def test_calibration_is_of_the_windows_behind(tiny_folder: str, words: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "p.safetensors"
    output = run(tiny_folder, words, "--out", str(out))
    assert "14 layers, 96 tokens" in " ".join(output.split())
    loaded = llm.load(tiny_folder)
    chosen = windows(loaded.tokenizer, load_text(words), 5, 32)[2:]
    found = Parameters.load(out, model=llm.model_key(tiny_folder))
    assert same(calibrate(loaded.model, chosen), found)
    assert (found.header["tokens"], found.header["skip"], found.header["windows"]) == (96, 2, 3)


def test_second_calibration_loads_no_model(
    tiny_folder: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny_folder, words, "--out", str(tmp_path / "a"))
    monkeypatch.setattr(llm, "load", lambda model: pytest.fail("loaded again"))
    run(tiny_folder, words, "--out", str(tmp_path / "b"))
    assert same(Parameters.load(tmp_path / "a"), Parameters.load(tmp_path / "b"))


def test_training_goes_on_after_an_interruption(
    tiny_folder: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    spec = ["--train", "2:4+l-pts+ls", "--steps", "10"]
    output = run(tiny_folder, words, *spec, "--out", str(tmp_path / "whole"))
    assert "nats a token" in " ".join(output.split())
    assert list((cache / "train").iterdir()) == []
    original = prepare.training.train
    seen: list[int] = []

    def stopping(*args: object, **kwargs: object) -> Parameters:
        advance = kwargs["advance"]
        assert callable(advance)

        def count(step: int, loss: float) -> None:
            advance(step, loss)
            seen.append(step)
            if len(seen) == 9:
                raise KeyboardInterrupt

        return original(*args, **{**kwargs, "advance": count})  # type: ignore[arg-type]

    monkeypatch.setattr(prepare.training, "train", stopping)
    args = ["--model", tiny_folder, "--text", words, "--windows", "3", "--window", "32", "--skip", "2", *spec]
    target = tmp_path / "part"
    result = CliRunner().invoke(method_commands.calibrate, [*args, "--out", str(target)], standalone_mode=True)
    assert (result.exit_code, target.exists(), seen[-1]) == (1, False, 9)
    run(tiny_folder, words, *spec, "--out", str(target))
    assert seen[9:] == [9, 10]
    assert same(Parameters.load(tmp_path / "whole"), Parameters.load(target))
    with sparsify(llm.load(tiny_folder).model, "2:4+l-pts+ls", parameters=Parameters.load(target)):
        pass


def test_tensors_of_a_file_are_the_start(tiny_folder: str, words: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run(tiny_folder, words, "--out", str(first))
    known = Parameters.load(first)
    marked = {name: {**own, "mean": torch.ones_like(own["mean"])} for name, own in known.layers.items()}
    Parameters(marked, known.header).save(first)
    run(tiny_folder, words, "--train", "2:4+l-pts", "--steps", "0", "--parameters", str(first), "--out", str(second))
    found = Parameters.load(second)
    assert all(bool((own["eta"] == 1).all()) for own in found.layers.values())
    Parameters({name: {"b": own["mean"]} for name, own in known.layers.items()}, known.header).save(first)
    run(tiny_folder, words, "--parameters", str(first), "--out", str(second))
    assert set(Parameters.load(second).of("layers.0.mlp.up_proj")) == {"b", "mean", "norm", "peak"}


def test_what_cannot_be_made_is_said_before_any_work(
    tiny_folder: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "load", lambda model: pytest.fail("loaded the model"))
    for text, message in [("8:16+l-pts+refit", "cannot be refitted"), ("8:16+var", "nothing to train or fit")]:
        with pytest.raises(ConfigError, match=message):
            run(tiny_folder, words, "--train", text)


def test_refit_then_training_on_it(
    tiny_folder: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run(tiny_folder, words, "--train", "4:8+refit@int8", "--out", str(first))
    found = Parameters.load(first)
    assert found.header["refitted"]["method"] == "4:8+refit@int8"
    assert set(found.of("layers.0.mlp.up_proj")) == {"weight", "mean", "norm", "peak"}
    for start in ([], ["--parameters", str(first)]):
        if start:
            monkeypatch.setattr(prepare, "refit", lambda *args, **kwargs: pytest.fail("fitted again"))
        run(tiny_folder, words, "--train", "4:8+refit+ls", "--steps", "2", *start, "--out", str(second))
        assert same(found, Parameters.load(second))
        assert Parameters.load(second).of("layers.1.mlp.down_proj")["a"].any()


BAD = [
    (["--train", "8:16+nonsense"], "unknown part nonsense"),
    (["--windows", "0"], "at least 1 of 2 behind 0"),
    (["--window", "1"], "at least 1 of 2 behind 0"),
    (["--skip", "-1"], "at least 1 of 2 behind 0"),
    (["--skip", "40"], "behind 40 others need .*: ask for at most 0 windows"),
    (["--rate", "2"], "0 < rate < 1"),
    (["--steps", "-1"], "steps >= 0"),
    (["--parameters", "none"], "do not exist"),
    (["--model", "none"], "model none does not exist"),
    (["--text", "none"], "text none cannot be read"),
    (["--out", "."], "is a folder"),
]


@pytest.mark.parametrize("more, message", BAD, ids=str)
def test_bad_input_is_one_line(more: list[str], message: str, tiny_folder: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        run(tiny_folder, words, "--out", str(tmp_path / "p"), *more)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "p").exists()


def test_help_imports_no_torch() -> None:
    script = "import sys, flexnm_model.method_commands; assert not {'torch', 'amaranth'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
