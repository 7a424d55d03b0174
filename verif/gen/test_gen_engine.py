"""What comes with the linear engine: wrapper, flow files, register documents; against the register map and tools."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from flexnm_gen.axi_wrapper import wrapper_name, wrapper_ports
from flexnm_gen.engine_files import engine_files
from flexnm_gen.generate import render
from flexnm_rtl.config import Config
from flexnm_rtl.presets import preset
from flexnm_rtl.register_file import identity
from flexnm_rtl.registers import IDENTIFICATION, REGISTERS
from flexnm_tb.verilator import default_cache, verilator_lint
from gen_tools import python

CONFIGS = {
    "default": preset("n8m16"),
    "edge": preset("n8m16-edge"),
    "one element": Config(n_keep=1, m_group=2, lanes=1, act_width=4, weight_width=5, rows=1, cols=1, k_max=9),
    "narrow streams": Config(
        n_keep=3, m_group=5, lanes=1, rows=6, cols=4, k_max=40, acts_per_beat=2, weights_per_beat=1, results_per_beat=4
    ),
}
CASES = list(CONFIGS)
EXTRA = (
    "{}_axi.v",
    "{}.core",
    "{}.sdc",
    "{}.xdc",
    "{}.lpf",
    "{}_template.v",
    "{}_regs.h",
    "{}_regs.py",
    "registers.md",
)


@functools.cache
def engine(config: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Name, manifest and all files of the engine."""
    name, files = render("linear", CONFIGS[config])
    return name, json.loads(files[f"{name}.json"]), files


def written(config: str, folder: Path) -> str:
    """Name of the engine, whose files are in ``folder`` afterwards."""
    name, _, files = engine(config)
    for file, text in files.items():
        (folder / file).write_text(text)
    return name


@pytest.mark.parametrize("config", CASES)
def test_all_files_are_there(config: str) -> None:
    """Three as for every unit, and the engine's own; other units have none of these."""
    name, _, files = engine(config)
    assert set(files) == {f"{name}.v", f"{name}.json", "ports.md", *(extra.format(name) for extra in EXTRA)}
    assert len(render("dense_splitter", CONFIGS[config])[1]) == 3


def lint(folder: Path, name: str) -> str:
    """Verilator -Wall on wrapper and core together."""
    return verilator_lint([folder / f"{name}.v", folder / f"{name}_axi.v"], f"{name}_axi", default_cache().resolve())


@pytest.mark.parametrize("config", CASES)
def test_wrapper_is_lint_clean(config: str, tmp_path: Path) -> None:
    """Every port of the core is connected, in its width, and every port of the wrapper read."""
    assert lint(tmp_path, written(config, tmp_path)) == ""


@pytest.mark.parametrize(
    "good, bad, message",
    [
        (r"\.s_axi__wdata\(s_axi_wdata\),", "", "PINMISSING"),
        (r"input wire \[7:0\] s_axi_awaddr", "input wire [6:0] s_axi_awaddr", "WIDTHEXPAND"),
        (r", s_axis_weights_tkeep\}", "}", "UNUSEDSIGNAL"),
    ],
)
def test_the_linter_would_complain_about_the_wrapper(good: str, bad: str, message: str, tmp_path: Path) -> None:
    """A connection left out, a wrong width and an unread port are found."""
    name = written("one element", tmp_path)
    file = tmp_path / f"{name}_axi.v"
    file.write_text(re.sub(good, bad, file.read_text(), count=1))
    assert message in lint(tmp_path, name)


@pytest.mark.parametrize("config", CASES)
def test_wrapper_has_amba_names(config: str) -> None:
    """The signals bus libraries look for by prefix; nothing has two underscores."""
    _, manifest, _ = engine(config)
    ports = {port.name: port for port in wrapper_ports(manifest)}
    assert not [name for name in ports if "__" in name]
    for bus in ("s_axis_acts", "s_axis_weights", "m_axis_results"):
        assert {f"{bus}_{signal}" for signal in ("tdata", "tkeep", "tvalid", "tready", "tlast")} <= set(ports)
        assert ports[f"{bus}_tkeep"].width * 8 == ports[f"{bus}_tdata"].width
    channels = {"aw": "addr prot", "w": "data strb", "b": "resp", "ar": "addr prot", "r": "data resp"}
    for channel, signals in channels.items():
        assert {f"s_axi_{channel}{signal}" for signal in f"{signals} valid ready".split()} <= set(ports)
    assert {"aclk", "aresetn"} <= set(ports)


@pytest.mark.parametrize("config", CASES)
def test_buses_and_layouts_of_the_manifest(config: str) -> None:
    """The AXI interfaces, and the widths of their data."""
    _, manifest, _ = engine(config)
    cfg = CONFIGS[config]
    assert manifest["streams"] == {}
    assert manifest["buses"] == {
        "s_axi": "axi4-lite",
        "s_axis_acts": "axi4-stream in",
        "s_axis_weights": "axi4-stream in",
        "m_axis_results": "axi4-stream out",
    }
    layouts = {port["name"]: port["layout"] for port in manifest["ports"] if "layout" in port}
    slot = layouts["s_axis_acts__tdata"]["element"]
    assert slot["width"] == 8 * cfg.act_slot_bytes
    assert slot["overlapping"] is True
    assert slot["fields"]["dense"]["width"] == cfg.block_bits
    assert slot["fields"]["compressed"]["width"] == cfg.compressed_bits
    assert layouts["s_axis_acts__tdata"]["length"] == cfg.act_ports
    assert layouts["s_axis_weights__tdata"]["element"]["fields"]["parameter_bits"]["width"] == cfg.parameter_slice
    assert "overlapping" not in slot["fields"]["compressed"]


def expected_constants() -> dict[str, int]:
    """The register map as the headers should have it, worked out from ``REGISTERS`` here."""
    expected = {"FLEXNM_ID_VALUE": IDENTIFICATION}
    for register in REGISTERS:
        expected[f"FLEXNM_{register.name.upper()}_ADDR"] = register.offset
        for field in register.fields:
            words = [register.name] if field.name == register.name else [register.name, field.name]
            prefix = f"FLEXNM_{'_'.join(words).upper()}"
            expected[f"{prefix}_SHIFT"] = field.low
            expected[f"{prefix}_MASK"] = sum(1 << bit for bit in range(field.low, field.low + field.width))
    return expected


def test_c_header_compiles_and_agrees(tmp_path: Path) -> None:
    """Included twice, by the compiler's own reading of every constant, and none more than expected."""
    name = written("default", tmp_path)
    header = f"{name}_regs.h"
    expected = expected_constants()
    checks = "\n".join(f'_Static_assert({key} == {value}u, "{key}");' for key, value in expected.items())
    source = tmp_path / "check.c"
    source.write_text(f'#include "{header}"\n#include "{header}"\n{checks}\nint main(void) {{ return 0; }}\n')
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    defined = set(re.findall(r"^#define (\w+) ", (tmp_path / header).read_text(), re.MULTILINE))
    assert defined == set(expected)


def test_python_header_agrees() -> None:
    """Constants and nothing else; it imports nothing."""
    name, _, files = engine("default")
    text = files[f"{name}_regs.py"]
    found: dict[str, Any] = {"__builtins__": {}}
    exec(compile(text, "header", "exec"), found)
    assert {key: value for key, value in found.items() if not key.startswith("__")} == expected_constants()


@pytest.mark.parametrize("config", CASES)
def test_registers_page_lists_every_register(config: str) -> None:
    """Name, address, every field with its bits, and the words this unit answers with."""
    _, _, files = engine(config)
    page = files["registers.md"]
    values = identity(CONFIGS[config])
    for register in REGISTERS:
        section = page.partition(f"\n## {register.name}\n")[2].partition("\n## ")[0]
        assert f"`{register.offset:#04x}`" in section
        assert (f"`{values.get(register.name, 0):#010x}`" in section) == (register.name in values)
        for field in register.fields:
            bits = f"{field.low + field.width - 1}:{field.low}" if field.width > 1 else f"{field.low}"
            assert f"| {bits} | `{field.name}` | {field.meaning} |" in section
    assert page.count("\n## ") == len(REGISTERS)


@pytest.mark.parametrize("config", CASES)
def test_core_file_is_capi2_and_names_existing_files(config: str) -> None:
    """FuseSoC reads the first line, then YAML; toplevel is the wrapper."""
    name, manifest, files = engine(config)
    text = files[f"{name}.core"]
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text)
    named = [file for fileset in core["filesets"].values() for file in fileset["files"]]
    assert set(named) <= set(files)
    assert core["filesets"]["rtl"]["files"] == [f"{name}.v", f"{name}_axi.v"]
    assert core["name"].split(":") == ["flexnm", "linear", name, manifest["flexnm_version"]]
    for target in core["targets"].values():
        assert target["toplevel"] == wrapper_name(manifest)
        used = [re.sub(r".*\((\w+)\)", r"\1", fileset) for fileset in target["filesets"]]
        assert set(used) <= set(core["filesets"])
    assert core["targets"]["lint"]["default_tool"] == "verilator"


@pytest.mark.parametrize("config", CASES)
def test_constraints_name_the_wrappers_ports(config: str) -> None:
    """The clock everywhere; in the SDC every other port once, with [*] when it is a vector."""
    name, manifest, files = engine(config)
    ports = wrapper_ports(manifest)
    assert 'FREQUENCY PORT "aclk"' in files[f"{name}.lpf"]
    assert "create_clock -name aclk" in files[f"{name}.xdc"]
    for direction in ("input", "output"):
        block = re.search(rf"set_{direction}_delay [^{{]*\{{([^}}]*)\}}", files[f"{name}.sdc"])
        assert block
        expected = [f"{p.name}{'[*]' if p.width > 1 else ''}" for p in ports if p.direction == direction]
        assert block[1].split() == [port for port in expected if port != "aclk"]


@pytest.mark.parametrize("config", CASES)
def test_template_instantiates_every_port(config: str, tmp_path: Path) -> None:
    """Elaborates without a missing pin or a wrong width; that its signals have no drivers is its nature."""
    name = written(config, tmp_path)
    _, manifest, files = engine(config)
    for port in wrapper_ports(manifest):
        assert f".{port.name}({port.name})" in files[f"{name}_template.v"]
    sources = [tmp_path / f"{name}{suffix}.v" for suffix in ("", "_axi", "_template")]
    messages = verilator_lint(sources, f"{name}_template", default_cache().resolve())
    kinds = set(re.findall(r"^%Warning-(\w+)", messages, re.MULTILINE))
    assert kinds <= {"UNDRIVEN", "UNUSEDSIGNAL"}
    assert not re.search(r"^%Error(?!: Exiting)", messages, re.MULTILINE)


def test_equal_bytes_from_an_equal_manifest() -> None:
    """In this process and in one with another hash seed."""
    name, manifest, files = engine("edge")
    code = (
        "import json, sys; from flexnm_gen.engine_files import engine_files\n"
        "print(json.dumps(engine_files(json.loads(sys.argv[1]))))"
    )
    done = python(code, json.dumps(manifest), PYTHONHASHSEED="77")
    assert done.returncode == 0, done.stderr
    again = engine_files(manifest)
    assert json.loads(done.stdout) == again
    assert again.items() <= files.items()
    assert len(again) == len(EXTRA)
    assert name in again[f"{name}_axi.v"]
