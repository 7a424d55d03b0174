"""Accuracy runs on a tiny model: what is computed, what is kept, what a change makes new, and errors in one line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from flexnm_model import accuracy, accuracy_store, llm, perplexity, text
from flexnm_model.accuracy import Settings, measure, parse_methods
from flexnm_model.accuracy_commands import accuracy as command
from flexnm_model.methods import Method, Parameters, prepare, sparsify
from flexnm_model.methods.prepare import Source
from flexnm_model.tasks import data, score
from flexnm_model.tasks.data import TASKS
from flexnm_model.tasks.formats import Question
from flexnm_rtl.config import ConfigError

pytestmark = pytest.mark.usefixtures("cache")
METHODS = "2:4,2:4+clact"


def questions(count: int) -> list[Question]:
    """Contexts of 5 words; answers of 1 to 3, the second one right."""
    return [
        Question(tuple((f"w{i + 3} w4 w5 w6 w{i + 7}", " w9" + " w8" * j) for j in range(3)), 1, (3, 60, 9))
        for i in range(count)
    ]


@pytest.fixture
def settings(tiny_folder: str, words: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two tasks of 40 documents and 3 windows; the default text, for calibration, is that of the tests."""
    monkeypatch.setattr(data, "load", lambda task: questions(40))
    monkeypatch.setattr(text, "load_text", lambda path, original=text.load_text: original(path or words))
    return Settings(
        model=tiny_folder,
        tasks=(TASKS["piqa"], TASKS["boolq"]),
        limit=10,
        windows=3,
        window=32,
        calibration=Source(windows=2, window=32, skip=4),
    )


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets a word for each window and document that is computed."""
    done: list[str] = []
    scored, lost = score.log_likelihoods, perplexity.loss

    def likelihoods(model: Any, documents: Any) -> Any:
        done.extend("document" for _ in documents)
        return scored(model, documents)

    def loss(model: Any, window: Any) -> Any:
        done.append("window")
        return lost(model, window)

    monkeypatch.setattr(score, "log_likelihoods", likelihoods)
    monkeypatch.setattr(perplexity, "loss", loss)
    return done


def test_results_are_those_of_a_plain_computation(settings: Settings) -> None:
    results = measure(parse_methods("2:4"), settings)
    assert [result.method for result in results] == ["dense", "2:4"]
    loaded = llm.load(settings.model)
    windows = text.windows(loaded.tokenizer, text.load_text(None), 3, 32)
    for result, pattern in zip(results, (None, (2, 4)), strict=True):
        expected = [perplexity.window_loss(loaded.model, window, pattern).nll for window in windows]
        assert [loss.nll for loss in result.losses] == pytest.approx(expected)
        scores = result.tasks["piqa"]
        assert scores.documents == tuple(range(0, 40, 4))
        with sparsify(loaded.model, result.method):
            trees = [score.tree(score.encode(loaded.tokenizer, questions(40)[i])) for i in scores.documents]
            nats = [score.log_likelihoods(loaded.model, [tree])[0] for tree in trees]
        assert scores.acc == tuple(max(range(3), key=each.__getitem__) == 1 for each in nats)
        # The second answer's length makes it the best one of all.
        assert scores.acc_norm == (True,) * 10


def test_known_results_need_no_model(settings: Settings, computed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure(parse_methods(METHODS), settings)
    assert computed.count("window") == 3 * 3
    assert computed.count("document") == 3 * 20
    monkeypatch.setattr(llm, "load", None)
    assert measure(parse_methods(METHODS), settings) == first
    assert len(computed) == 3 * 23


def test_more_documents_only_cost_the_new_ones(settings: Settings, computed: list[str]) -> None:
    measure(parse_methods("dense"), settings)
    measure(parse_methods("dense"), dataclasses.replace(settings, limit=20, windows=4))
    assert (computed.count("document"), computed.count("window")) == (40, 4)


def test_interrupted_run_goes_on(
    settings: Settings, computed: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # About two documents at a time.
    monkeypatch.setattr(accuracy, "PACK_TOKENS", 24)
    whole = measure(parse_methods("2:4"), settings)
    computed.clear()
    for file in (cache / "accuracy").iterdir():
        file.unlink()

    def stop(method: str, what: str, count: int) -> None:
        if (method, what) == ("2:4", "PIQA") and count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(parse_methods("2:4"), settings, stop)
    assert 23 + 3 < len(computed) < 23 + 3 + 10, "in the middle of a task"
    for file in (cache / "accuracy").iterdir():
        file.write_bytes(file.read_bytes() + b'{"number": 3, "na')
    again = measure(parse_methods("2:4"), settings)
    assert len(computed) == 2 * 23
    measure(parse_methods("2:4"), settings)
    assert len(computed) == 2 * 23, "nothing was lost behind the cut line"
    for one, other in zip(again, whole, strict=True):
        assert one.tasks == other.tasks
        assert [loss.nll for loss in one.losses] == [loss.nll for loss in other.losses]


def test_model_is_dense_again_after_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = llm.load(settings.model)
    before = list(llm.decoder_linears(loaded.model))
    monkeypatch.setattr(llm, "load", lambda model: loaded)
    monkeypatch.setattr(perplexity, "loss", lambda model, window: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure(parse_methods("2:4"), settings)
    assert list(llm.decoder_linears(loaded.model)) == before


def test_keys_change_with_what_matters(tmp_path: Path) -> None:
    def tensors(**values: float) -> Parameters:
        return Parameters({"layers.0.mlp.up_proj": {name: torch.full((4,), value) for name, value in values.items()}})

    clact, plan = Method.parse("8:16+clact"), tmp_path / "plan.json"
    known = accuracy_store.method_key(clact, tensors(norm=1.0, peak=2.0))
    assert known == accuracy_store.method_key(clact, tensors(norm=1.0, peak=3.0)), "peak is of no use to clact"
    others = [accuracy_store.method_key(clact, tensors(norm=1.5)), accuracy_store.method_key(Method(), tensors())]
    for contents in ('{"layers": {}}', '{"layers": {"a": "2:4"}}'):
        plan.write_text(contents)
        others.append(accuracy_store.method_key(Method.parse(f"plan:{plan}"), tensors()))
    assert len({known, *others}) == 5


def test_code_key_sees_code_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the package: an edited docstring changes nothing, an edited module that matters does."""
    package = tmp_path / "flexnm_model"
    for file in accuracy_store._PACKAGE.rglob("*.py"):
        target = package / file.relative_to(accuracy_store._PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(accuracy_store, "_PACKAGE", package)

    def keys(name: str = "", edit: str = "") -> tuple[str, str]:
        if name:
            (package / name).write_text((package / name).read_text(encoding="utf-8") + edit, encoding="utf-8")
        accuracy_store.code_key.cache_clear()
        return accuracy_store.code_key(False), accuracy_store.code_key(True)

    known = keys()
    assert keys("select.py", "\n# a comment\n") == known
    select = package / "select.py"
    select.write_text(select.read_text(encoding="utf-8").replace('"""', '"""Edited: ', 1), encoding="utf-8")
    assert keys() == known
    assert keys("capture.py", "\nX = 1\n") == known
    integer = keys("integer_linear.py", "\nX = 1\n")
    assert integer[0] == known[0]
    assert integer[1] != known[1]
    for name in ("methods/layer.py", "tasks/score.py", "text.py"):
        changed = keys(name, "\nX = 1\n")
        assert not {*changed} & {*known, *integer}, name
        known = integer = changed
    accuracy_store.code_key.cache_clear()


def test_methods_are_parsed_in_order_with_dense_first() -> None:
    assert list(map(str, parse_methods("8:16+var+clact, 2:4,8:16+clact+var,dense"))) == [
        "dense",
        "8:16+clact+var",
        "2:4",
    ]
    assert len(parse_methods(accuracy.DEFAULT_METHODS)) == len(accuracy.DEFAULT_METHODS.split(",")) + 1
    assert not any(method.learned for method in parse_methods(accuracy.DEFAULT_METHODS))


def test_given_tensors_go_before_calibrated_ones(settings: Settings, tmp_path: Path) -> None:
    linears = dict(llm.decoder_linears(llm.load(settings.model).model))
    own: dict[str, Mapping[str, torch.Tensor]] = {
        name: {"norm": torch.rand(linear.weight.shape[1], generator=torch.Generator().manual_seed(1))}  # type: ignore
        for name, linear in linears.items()
    }
    header = {"model": llm.model_key(settings.model)}
    Parameters(own, header).save(tmp_path / "p.safetensors")
    given = dataclasses.replace(settings, parameters=(str(tmp_path / "p.safetensors"),))
    methods = parse_methods("2:4+clact,2:4+s-pts")
    plain, changed = measure(methods, settings), measure(methods, given)
    assert plain[1].losses != changed[1].losses
    assert plain[2].losses == changed[2].losses


def run(tiny_folder: str, words: str, *args: str) -> Any:
    base = ["--model", tiny_folder, "--text", words, "--windows", "2", "--window", "16", "--limit", "5"]
    return CliRunner().invoke(command, [*base, *args], catch_exceptions=False)


def test_command_writes_the_report(settings: Settings, tiny_folder: str, words: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = run(tiny_folder, words, "--methods", "2:4", "--tasks", "piqa,boolq", "--out", str(out))
    assert done.exit_code == 0
    assert "2:4" in done.stdout
    assert "Report" not in done.stdout
    report = json.loads((out / "accuracy.json").read_text())
    assert [method["method"] for method in report["methods"]] == ["dense", "2:4"]
    assert report["methods"][1]["tasks"]["boolq"]["documents"] == 5
    page = (out / "accuracy.md").read_text(encoding="utf-8")
    assert all(title in page for title in ("## Perplexity", "## Zero-shot accuracy", "PIQA 5, BoolQ 5"))
    assert all((out / name).read_text().startswith("<?xml") for name in ("loss_nats.svg", "loss_accuracy.svg"))
    assert "--methods 2:4 --tasks piqa,boolq" in report["command"]


def test_perplexity_alone_and_tasks_alone(settings: Settings, tiny_folder: str, words: str, tmp_path: Path) -> None:
    assert run(tiny_folder, words, "--methods", "2:4", "--tasks", "none", "--out", str(tmp_path)).exit_code == 0
    assert "Zero-shot" not in (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    args = ("--methods", "2:4", "--tasks", "piqa", "--windows", "0", "--out", str(tmp_path))
    assert run(tiny_folder, words, *args).exit_code == 0
    assert "Perplexity" not in (tmp_path / "accuracy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "args, message",
    [
        (["--methods", ","], "no method is named"),
        (["--methods", "9:8"], "9:8"),
        (["--methods", "2:4+ls"], r"2:4\+ls needs a, b, .*flexnm calibrate --train '2:4\+ls'"),
        (["--tasks", "pica"], "task pica is unknown"),
        (["--limit", "-1"], "LIMIT=-1 is out of range"),
        (["--windows", "0", "--tasks", "none"], "nothing to measure"),
        (["--windows", "-1"], "at least 2 tokens"),
        (["--methods", "2:4", "--windows", "99"], "at most 25 windows"),
        (["--model", "missing.gguf"], "missing.gguf does not exist: .* gemma3-270m"),
        (["--parameters", "missing.safetensors"], "missing.safetensors do not exist"),
        (["--out", __file__], "is a file"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(settings: Settings, tiny_folder: str, words: str, args: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        run(tiny_folder, words, *args)
    assert "\n" not in str(caught.value)


def test_calibration_is_kept_and_never_on_measured_text(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[Source] = []
    loaded = Source.load

    def load(source: Source, language: Any) -> list[torch.Tensor]:
        sources.append(source)
        return loaded(source, language)

    monkeypatch.setattr(prepare.Source, "load", load)
    first = measure(parse_methods("2:4+clact,2:4+s-pts"), settings)
    assert measure(parse_methods("2:4+clact,2:4+scaling"), settings)[1] == first[1]
    assert sources == [settings.calibration]
    measure(parse_methods("2:4+clact"), dataclasses.replace(settings, windows=6))
    assert [source.skip for source in sources] == [4, 6]
