"""The text form of methods: what parses, what it becomes, and one clear line for everything else."""

from __future__ import annotations

import pytest
from flexnm_model.methods import Method
from flexnm_model.methods.baselines import Dense, Top, WeightBlocks
from flexnm_model.methods.patterns import Blocks, Pattern, Planned
from flexnm_model.methods.registry import MITIGATIONS, SCORES
from flexnm_rtl.config import ConfigError

GOOD = [
    ("dense", Method(Dense()), "dense"),
    ("8:16", Method(Blocks(8, 16)), "8:16"),
    (" 8 : 16 + act ", Method(Blocks(8, 16)), "8:16"),
    ("8:16+clact+var", Method(Blocks(8, 16), "clact", ("var",)), "8:16+clact+var"),
    ("8:16+var+amber+s-pts", Method(Blocks(8, 16), "amber", ("s-pts", "var")), "8:16+amber+s-pts+var"),
    ("16:32+d-pts-median", Method(Blocks(16, 32), "act", ("d-pts-median",)), "16:32+d-pts-median"),
    ("50%", Method(Top(50)), "50%"),
    ("w8:16", Method(WeightBlocks(8, 16)), "w8:16"),
    ("w8:16@int8", Method(WeightBlocks(8, 16), integer=True), "w8:16@int8"),
    ("dense@int8", Method(Dense(), integer=True), "dense@int8"),
    ("dense+scaling@int8", Method(Dense(), "act", ("scaling",), integer=True), "dense+scaling@int8"),
    ("8:16+r-sparse64@int8", Method(Blocks(8, 16), "act", ("r-sparse64",), integer=True), "8:16+r-sparse64@int8"),
    ("plan:build/a.json+var", Method(Planned("build/a.json"), "act", ("var",)), "plan:build/a.json+var"),
]


@pytest.mark.parametrize("text, method, canonical", GOOD)
def test_texts_and_back(text: str, method: Method, canonical: str) -> None:
    assert Method.parse(text) == method
    assert str(method) == canonical
    assert Method.parse(canonical) == method


BAD = [
    ("", "pattern .none. is unknown: write dense, 8:16"),
    ("8-16", "pattern 8-16 is unknown"),
    ("9:8", "1 <= N <= M <= 32"),
    ("0:8", "1 <= N <= M <= 32"),
    ("w9:8", "1 <= N <= M <= 32"),
    ("8:33", "1 <= N <= M <= 32"),
    ("wx", "pattern wx is unknown"),
    ("0%", "from 1% to 100%"),
    ("101%", "from 1% to 100%"),
    ("5.5%", r"pattern 5\.5% is unknown"),
    ("-5%", "pattern -5% is unknown"),
    ("²:4", "pattern ²:4 is unknown"),
    ("111111111111111111:4", "is unknown"),
    ("plan:", "pattern plan: is unknown"),
    ("8:16+", "unknown part of no name: known are act, clact"),
    ("8:16+vat", "unknown part vat: known are act, clact"),
    ("8:16+clact+amber", "two scores, clact and amber"),
    ("8:16+var+var", "var and var do the same step"),
    ("8:16+s-pts+l-pts", "s-pts and l-pts do the same step"),
    ("8:16+ls-scale+ls", "ls-scale and ls do the same step"),
    ("8:16+d-pts+d-pts-median", "do the same step"),
    ("8:16+r-sparse+r-sparse64", "do the same step"),
    ("dense+clact", "dense prunes no activations"),
    ("w8:16+var", "w8:16 prunes no activations"),
    ("8:16@int4", "pattern 8:16@int4 is unknown"),
]


@pytest.mark.parametrize("text, message", BAD)
def test_bad_texts(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Method.parse(text)
    assert "\n" not in str(caught.value)


def test_bad_names_in_code() -> None:
    with pytest.raises(ConfigError, match="score best is unknown: choose one of act, clact"):
        Method(Blocks(8, 16), "best")
    with pytest.raises(ConfigError, match="mitigation magic is unknown: choose from scaling, s-pts"):
        Method(Blocks(8, 16), "act", ("magic",))


def test_what_methods_need() -> None:
    method = Method.parse("8:16+clact+l-pts+ls+scaling+refit")
    assert method.needs == ("norm", "peak", "eta", "a", "b", "weight")
    assert method.learned == ("eta", "a", "b")
    assert Method.parse("8:16+amber+d-pts+var").needs == ()


def test_every_part_says_what_it_is() -> None:
    for name, part in {**SCORES, **MITIGATIONS}.items():
        assert part.name == name
        assert f"``{name}``" in (type(part).__doc__ or ""), name


@pytest.mark.parametrize("pattern", [Blocks(8, 16), Top(50), Planned("x"), Dense(), WeightBlocks(2, 4)], ids=str)
def test_methods_are_values(pattern: Pattern) -> None:
    assert Method(pattern) == Method.parse(str(pattern))
    assert hash(Method(pattern)) == hash(Method.parse(str(pattern)))
