"""Promises of the documents that no other test holds: examples, tables, what the Verilog does not have, make itself."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator
from flexnm_gen.cli import run
from flexnm_gen.generate import render
from flexnm_gen.tops import TOPS
from flexnm_model.reference import pack
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.decompressor import Decompressor
from flexnm_rtl.presets import PRESETS
from flexnm_rtl.registers import DECODE, DECODE_IDENTIFICATION
from flexnm_tb.sweep.store import Row

ROOT = Path(__file__).parents[2]
SMALL = Config(n_keep=2, m_group=4, lanes=1, rows=3, cols=2, weight_width=5, k_max=64)


def section(document: str, title: str) -> str:
    """The text below a heading, up to the next one of the same level or above."""
    text = (ROOT / document).read_text(encoding="utf-8")
    level, rest = re.split(rf"^(#+) {re.escape(title)}\n", text, maxsplit=1, flags=re.MULTILINE)[1:]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str) -> list[list[str]]:
    """Cells of the first table, without its two head lines."""
    rows = re.findall(r"^\|(.*)\|$", f"|{text.partition('|')[2]}".partition("\n\n")[0], re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows[2:]]


def printed(code: str) -> str:
    """What Python prints for the indented lines of a text."""
    lines = "\n".join(re.findall(r"^    (?!make)(.+)$", code, re.MULTILINE))
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("title", ["Decode engine", "The paper's methods"])
def test_readme_example_prints_what_it_says(title: str) -> None:
    """The other two examples are run in test_docs.py."""
    code, output = re.split(r"\n\n.*prints\n\n", section("README.md", title), maxsplit=1)
    assert printed(code) == output.strip().partition("\n")[0].strip()


def test_llm_example_prints_true() -> None:
    """A layer on two engines against the same layer in software."""
    code, _, rest = section("docs/llm.md", "What a layer does").partition("\n\nprints")
    assert rest.startswith(" `True`.")
    assert printed(code.partition("In Python:")[2]) == "True"


@pytest.mark.parametrize("top", TOPS)
def test_verilog_is_plain(top: str) -> None:
    """No parameter, no initial value; every module there is is defined in the file and called after the first one."""
    name, files = render(top, SMALL)
    for file in (f"{name}.v", f"{name}_axi.v"):
        lines = [line.split("//")[0].strip() for line in files.get(file, "").splitlines()]
        assert not [line for line in lines if re.match(r"(initial|parameter|localparam|defparam)\b", line)]
        assert not [line for line in lines if re.search(r"#\s*\(", line)]
        assert not [line for line in lines if re.match(r"reg .*=", line)]
    modules = re.findall(r"^ *module \\?([^\s(]+)", files[f"{name}.v"], re.MULTILINE)
    assert name in modules
    assert len(set(modules)) == len(modules)
    assert all(module == name or module.startswith(f"{name}_") for module in modules)
    used = re.findall(r"^  (?!module|function)\\?([^\s(]+) +\\?[^\s(]+ +\($", files[f"{name}.v"], re.MULTILINE)
    assert set(used) | {name} == set(modules)


def test_processing_elements_are_written_once() -> None:
    """Six elements of one module; a bank a row for values, one a column for weights."""
    name, files = render("mac_array", SMALL)
    text = files[f"{name}.v"]
    for part, count in (("pe", 6), ("value_bank", 3), ("route_bank", 3), ("weight_bank", 2)):
        assert len(re.findall(rf"^ *module {name}_{part}\(", text, re.MULTILINE)) == 1
        assert len(re.findall(rf"^  {name}_{part} {part}_", text, re.MULTILINE)) == count


def leaves(node: dict[str, Any], name: str = "") -> list[tuple[int, str, int]]:
    """Offset, dotted name and width of the fields that a page has a line for, from the least significant bit up."""
    fields = node.get("fields")
    if not fields:
        return [(0, name, node["width"])]
    inner = [(field["offset"], leaves(field, f"{name}.{key}" if name else key)) for key, field in fields.items()]
    return sorted((offset + more, dotted, width) for offset, found in inner for more, dotted, width in found)


def test_streams_and_payloads_are_those_of_the_page() -> None:
    """Names, directions, fields and widths of docs/interfaces.md against the manifests."""
    unit = ""
    for unit_cell, stream, direction, payload in table(section("docs/interfaces.md", "Units and their streams")):
        unit = unit_cell.strip("`") or unit
        name, files = render(unit, SMALL)
        manifest = json.loads(files[f"{name}.json"])
        assert manifest["streams"][stream.strip("`")] == direction
        port = next(port for port in manifest["ports"] if port["name"] == f"{stream.strip('`')}__payload")
        sizes = manifest["config"] | manifest["derived"] | {"M": 4, "N": 2, "A": 8, "V": 8, "W": 5}
        text = section("docs/interfaces.md", re.sub(r"\[(.)(.*)\]\(.*", lambda m: m[1].upper() + m[2], payload))

        def bits(cell: str, sizes: dict[str, Any] = sizes) -> int:
            return int(eval(cell.replace("`", "").replace(" x ", " * "), {}, sizes))

        if text.strip().startswith("|"):
            rows = [(cells[0].strip("`"), bits(cells[1])) for cells in table(text) if cells[0] != "`factors`"]
            assert rows == [(field, width) for _, field, width in leaves(port["layout"])], payload
        else:
            assert port["width"] == bits(text.strip().partition(" bits:")[0])


def decompressed(cfg: Config, blocks: list[int]) -> list[int]:
    """What a decompressor makes of a block in every cycle."""
    unit, out = Decompressor(cfg), []

    async def bench(ctx: Any) -> None:
        ctx.set(unit.o.ready, 1)
        for word in [*blocks, *[None] * unit.latency]:
            ctx.set(unit.i.valid, word is not None)
            ctx.set(Value.cast(unit.i.payload), word or 0)
            await ctx.tick()
            if ctx.get(unit.o.valid):
                out.append(ctx.get(Value.cast(unit.o.payload)))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return out


@pytest.mark.parametrize("metadata", list(Metadata))
def test_bad_metadata_affect_no_other_block(metadata: Metadata) -> None:
    """Words that no compressor sends, between good blocks: the good ones come out as without them."""
    cfg = SMALL.replace(m_group=5, n_keep=3, metadata=metadata)
    masks = [[k in kept for k in range(5)] for kept in itertools.combinations(range(5), 3)]
    good = [pack(mask, metadata) for mask in masks]
    bad = sorted(set(range(1 << cfg.metadata_width)) - set(good))
    random.Random(1).shuffle(bad)
    mixed = [(word, False) for word in bad]
    for k, word in enumerate(good):
        mixed.insert(k * len(mixed) // len(good), (word, True))
    words = [0x0A0B0C + 0x1111 * k | word << 3 * cfg.value_width for k, (word, _) in enumerate(mixed)]
    chosen = [k for k, (_, is_good) in enumerate(mixed) if is_good]
    out = decompressed(cfg, words)
    assert len(out) == len(words) > len(good)
    assert [out[k] for k in chosen] == decompressed(cfg, [words[k] for k in chosen])


def test_register_offsets_of_the_decode_page() -> None:
    """All offsets that the steps of a job name, and the identification."""
    text = section("docs/decode.md", "A job, step by step")
    found = dict(re.findall(r"`([a-z_]+)(?:\.\w+)?`[\w ]* \((0x[0-9A-F]+)", text))
    for names, offsets, _ in table(text.replace("\n   |", "\n|")):
        found |= zip(names.replace("`", "").split(", "), offsets.split(", "), strict=True)
    assert len(found) == 17
    assert {name: int(offset, 16) for name, offset in found.items()} == {name: DECODE[name].offset for name in found}
    assert f"`id` (0x00), which is {DECODE_IDENTIFICATION:#X}".replace("0X", "0x") in text


def test_c_of_the_integration_page_compiles(tmp_path: Path) -> None:
    """The function that starts a job, with the header of a unit."""
    name, files = render("linear", SMALL)
    (tmp_path / "regs.h").write_text(files[f"{name}_regs.h"], encoding="utf-8")
    page = section("docs/integration.md", "A layer, step by step").partition("In C, without the transfers:")[2]
    code = "\n".join(re.findall(r"^    (.*)$", page, re.MULTILINE))
    main = "int main(void) { static uint32_t unit[64]; return start(unit, 1, 2, 3, 0); }"
    (tmp_path / "start.c").write_text(f'#include <stdint.h>\n#include "regs.h"\n{code}\n{main}\n', encoding="utf-8")
    command = [
        "gcc",
        "-std=c11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        "-fsyntax-only",
        str(tmp_path / "start.c"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_bits_of_the_metadata_page() -> None:
    """Every line of the table, from C(M, N) and from the configuration."""
    rows = table(section("docs/metadata.md", "Bits"))
    assert len(rows) == 7
    for pattern, *widths, saving in rows:
        n, m = map(int, pattern.split(":"))
        known = [Config(n_keep=n, m_group=m, lanes=1, metadata=kind).metadata_width for kind in Metadata]
        assert (
            list(map(int, widths)) == known == [m, n * math.ceil(math.log2(m)), math.ceil(math.log2(math.comb(m, n)))]
        )
        other = 8 * n + min(known[:2])
        assert abs(float(saving.removesuffix(" %")) - 100 * (1 - (8 * n + known[2]) / other)) < 0.0501


def test_columns_of_the_sweep_page() -> None:
    """The table of columns has exactly the columns of a row, in order."""
    cells = [cells[0] for cells in table(section("docs/sweep.md", "Table"))]
    assert re.findall(r"`(\w+)`", " ".join(cells)) == [field.name for field in dataclasses.fields(Row)]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in the project."""
    # Under `make test` it would speak of the folders that it enters.
    env = {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_make_alone_lists_all_targets() -> None:
    """With what each of them does."""
    targets = re.findall(r"^([a-z_]+):.*## (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    lines = make().stdout.splitlines()
    assert len(targets) > 10
    for target, text in targets:
        assert [line for line in lines if line.split(maxsplit=1) == [target, text]]


def test_make_test_lints_first() -> None:
    """The commands that it would run."""
    commands = make("--dry-run", "test").stdout
    places = [commands.index(word) for word in ("ruff check", "ruff format --check", "mypy", "-m pytest")]
    assert places == sorted(places)


def test_make_names_an_unknown_setting() -> None:
    """Before anything is run: one line, with what is known."""
    done = make("verilog", "DEPTH=3")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "unknown setting DEPTH: known settings of `make verilog` are PRESET N M" in line


def test_presets_are_printed_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    """Each by name, in order, with all of its settings."""
    assert run(["presets"]) == 0
    lines = [line.lstrip("* ").split() for line in capsys.readouterr().out.splitlines()]
    settings = [[f"{key}={value}" for key, value in cfg.as_dict().items()] for cfg in PRESETS.values()]
    assert lines == [[name, *words] for name, words in zip(PRESETS, settings, strict=True)]
