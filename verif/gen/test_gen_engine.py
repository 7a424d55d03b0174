"""What comes with an engine: wrapper, flow files, register documents; against the register map and tools."""

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
from flexnm_rtl import decode_registers, linear_registers
from flexnm_rtl.config import Config
from flexnm_rtl.presets import preset
from flexnm_rtl.registers import DECODE_IDENTIFICATION, IDENTIFICATION, REGISTER_MAPS
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
DECODE_CONFIGS = {
    "default": preset("n8m16"),
    "decode": preset("n8m16-decode"),
    "smallest": Config(
        n_keep=1,
        m_group=2,
        lanes=1,
        act_width=4,
        weight_width=5,
        rows=1,
        k_max=9,
        bus_width=64,
        tile_beats=1,
        outstanding=2,
        address_width=16,
    ),
    "wide": Config(
        n_keep=3,
        m_group=5,
        lanes=1,
        act_width=6,
        weight_width=12,
        rows=3,
        k_max=40,
        bus_width=512,
        tile_beats=64,
        outstanding=32,
        address_width=64,
    ),
}
ALL_CONFIGS = {"linear": CONFIGS, "decode": DECODE_CONFIGS}
CASES = [(top, config) for top, configs in ALL_CONFIGS.items() for config in configs]
LINEAR_CASES, DECODE_CASES = ([case for case in CASES if case[0] == top] for top in ALL_CONFIGS)
PREFIXES = {"linear": "FLEXNM", "decode": "FLEXNM_DECODE"}
IDENTITIES = {"linear": linear_registers.identity, "decode": decode_registers.identity}
both = pytest.mark.parametrize("top", ALL_CONFIGS)
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
def engine(top: str, config: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Name, manifest and all files of the engine."""
    name, files = render(top, ALL_CONFIGS[top][config])
    return name, json.loads(files[f"{name}.json"]), files


def written(top: str, config: str, folder: Path) -> str:
    """Name of the engine, whose files are in ``folder`` afterwards."""
    name, _, files = engine(top, config)
    for file, text in files.items():
        (folder / file).write_text(text)
    return name


@pytest.mark.parametrize("top, config", CASES)
def test_all_files_are_there(top: str, config: str) -> None:
    """Three as for every unit, and the engine's own; other units have none of these."""
    name, _, files = engine(top, config)
    assert set(files) == {f"{name}.v", f"{name}.json", "ports.md", *(extra.format(name) for extra in EXTRA)}
    assert len(render("dense_splitter", ALL_CONFIGS[top][config])[1]) == 3


def lint(folder: Path, name: str) -> str:
    """Verilator -Wall on wrapper and core together."""
    return verilator_lint([folder / f"{name}.v", folder / f"{name}_axi.v"], f"{name}_axi", default_cache().resolve())


@pytest.mark.parametrize("top, config", CASES)
def test_wrapper_is_lint_clean(top: str, config: str, tmp_path: Path) -> None:
    """Every port of the core is connected, in its width, and every port of the wrapper read."""
    assert lint(tmp_path, written(top, config, tmp_path)) == ""


@pytest.mark.parametrize(
    "top, config, good, bad, message",
    [
        ("linear", "one element", r"\.s_axi__wdata\(s_axi_wdata\),", "", "PINMISSING"),
        ("linear", "one element", r"input wire \[7:0\] s_axi_awaddr", "input wire [6:0] s_axi_awaddr", "WIDTHEXPAND"),
        ("linear", "one element", r", s_axis_weights_tkeep\}", "}", "UNUSEDSIGNAL"),
        ("decode", "smallest", r"\.m_axi__rdata\(m_axi_rdata\),", "", "PINMISSING"),
        ("decode", "smallest", r"\[15:0\] m_axi_araddr", "[14:0] m_axi_araddr", "WIDTHEXPAND"),
        ("decode", "smallest", r", s_axis_acts_tkeep\}", "}", "UNUSEDSIGNAL"),
    ],
)
def test_the_linter_would_complain_about_the_wrapper(
    top: str, config: str, good: str, bad: str, message: str, tmp_path: Path
) -> None:
    """A connection left out, a wrong width and an unread port are found."""
    name = written(top, config, tmp_path)
    file = tmp_path / f"{name}_axi.v"
    text, count = re.subn(good, bad, file.read_text(), count=1)
    assert count == 1
    file.write_text(text)
    assert message in lint(tmp_path, name)


@pytest.mark.parametrize("top, config", CASES)
def test_wrapper_has_amba_names(top: str, config: str) -> None:
    """The signals bus libraries look for by prefix; nothing has two underscores."""
    _, manifest, _ = engine(top, config)
    ports = {port.name: port for port in wrapper_ports(manifest)}
    assert not [name for name in ports if "__" in name]
    streams = ["s_axis_acts", "m_axis_results", *(["s_axis_weights"] if top == "linear" else [])]
    assert {name.rpartition("_")[0] for name in ports if "axis" in name} == set(streams)
    for bus in streams:
        assert {f"{bus}_{signal}" for signal in ("tdata", "tkeep", "tvalid", "tready", "tlast")} <= set(ports)
        assert ports[f"{bus}_tkeep"].width * 8 == ports[f"{bus}_tdata"].width
    channels = {"aw": "addr prot", "w": "data strb", "b": "resp", "ar": "addr prot", "r": "data resp"}
    for channel, signals in channels.items():
        assert {f"s_axi_{channel}{signal}" for signal in f"{signals} valid ready".split()} <= set(ports)
    assert {"aclk", "aresetn"} <= set(ports)


@pytest.mark.parametrize("top, config", DECODE_CASES)
def test_wrapper_of_the_decode_engine_has_a_read_manager(top: str, config: str) -> None:
    """The read channels of AXI4 in their directions and widths, and no write channel."""
    cfg = ALL_CONFIGS[top][config]
    _, manifest, _ = engine(top, config)
    ports = {p.name[6:]: (p.direction, p.width) for p in wrapper_ports(manifest) if p.name.startswith("m_axi_")}
    widths = {"id": 1, "addr": cfg.address_width, "len": 8, "size": 3, "burst": 2, "cache": 4, "prot": 3, "valid": 1}
    expected = {f"ar{signal}": ("output", width) for signal, width in widths.items()} | {"arready": ("input", 1)}
    data = {"id": 1, "data": cfg.bus_width, "resp": 2, "last": 1, "valid": 1}
    expected |= {f"r{signal}": ("input", width) for signal, width in data.items()} | {"rready": ("output", 1)}
    assert ports == expected


@pytest.mark.parametrize("top, config", CASES)
def test_wrapper_lists_its_buses_for_block_designs(top: str, config: str) -> None:
    """Every AXI interface of the manifest belongs to the clock."""
    name, manifest, files = engine(top, config)
    found = re.search(r"ASSOCIATED_BUSIF ([\w:]+), ASSOCIATED_RESET aresetn", files[f"{name}_axi.v"])
    assert found
    assert sorted(found[1].split(":")) == sorted(manifest["buses"])


@pytest.mark.parametrize("top, config", CASES)
def test_port_table_says_what_every_port_is_for(top: str, config: str) -> None:
    """No empty cell; the registers are AXI4-Lite, the memory is not."""
    _, manifest, files = engine(top, config)
    rows = dict(re.findall(r"^\| `(\w+)` \| \w+ \| \d+ \| (.*) \|$", files["ports.md"], re.MULTILINE))
    assert list(rows) == [port["name"] for port in manifest["ports"]]
    assert all(rows.values())
    for name, role in rows.items():
        bus = name.rpartition("__")[0]
        kind = manifest["buses"].get(bus, "")
        if kind in ("axi4-lite", "axi4 read"):
            channel = {
                "aw": "write address",
                "w": "write data",
                "b": "write response",
                "ar": "read address",
                "r": "read data",
            }[next(c for c in ("aw", "ar", "w", "b", "r") if name[len(bus) + 2 :].startswith(c))]
            assert role == f"{'AXI4-Lite' if kind == 'axi4-lite' else 'AXI4'} {channel} channel"


@pytest.mark.parametrize("top, config", DECODE_CASES)
def test_buses_and_layouts_of_the_decode_engine(top: str, config: str) -> None:
    """The AXI interfaces, and the widths of their data."""
    _, manifest, _ = engine(top, config)
    cfg = ALL_CONFIGS[top][config]
    assert manifest["streams"] == {}
    assert manifest["buses"] == {
        "s_axi": "axi4-lite",
        "s_axis_acts": "axi4-stream in",
        "m_axi": "axi4 read",
        "m_axis_results": "axi4-stream out",
    }
    layouts = {port["name"]: port["layout"] for port in manifest["ports"] if "layout" in port}
    acts, results = layouts["s_axis_acts__tdata"], layouts["m_axis_results__tdata"]
    assert (acts["length"], acts["element"]["width"]) == (cfg.rows, 8 * cfg.dense_slot_bytes)
    values = acts["element"]["fields"]["dense"]
    assert (values["offset"], values["length"], values["element"]) == (
        0, cfg.m_group, {"width": cfg.act_width, "signed": True},
    )  # fmt: skip
    assert (results["length"], results["element"]["width"]) == (cfg.decode_result_ports, cfg.result_width)
    derived = manifest["derived"]
    assert derived["row_bytes"] == cfg.tile_beats * cfg.bus_width // 8
    assert derived["tile_outputs"] * derived["memory_weight_width"] == derived["row_bytes"] * 8


@pytest.mark.parametrize("top, config", LINEAR_CASES)
def test_buses_and_layouts_of_the_linear_engine(top: str, config: str) -> None:
    """The AXI interfaces, and the widths of their data."""
    _, manifest, _ = engine(top, config)
    cfg = ALL_CONFIGS[top][config]
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


def expected_constants(top: str) -> dict[str, int]:
    """The register map as the headers should have it, worked out from ``REGISTER_MAPS`` here."""
    start = PREFIXES[top]
    expected = {f"{start}_ID_VALUE": IDENTIFICATION if top == "linear" else DECODE_IDENTIFICATION}
    for register in REGISTER_MAPS[top].values():
        expected[f"{start}_{register.name.upper()}_ADDR"] = register.offset
        for field in register.fields:
            words = [register.name] if field.name == register.name else [register.name, field.name]
            prefix = f"{start}_{'_'.join(words).upper()}"
            expected[f"{prefix}_SHIFT"] = field.low
            expected[f"{prefix}_MASK"] = sum(1 << bit for bit in range(field.low, field.low + field.width))
    return expected


@both
def test_c_header_compiles_and_agrees(top: str, tmp_path: Path) -> None:
    """Included twice, by the compiler's own reading of every constant, and none more than expected."""
    name = written(top, "default", tmp_path)
    header = f"{name}_regs.h"
    expected = expected_constants(top)
    checks = "\n".join(f'_Static_assert({key} == {value}u, "{key}");' for key, value in expected.items())
    source = tmp_path / "check.c"
    source.write_text(f'#include "{header}"\n#include "{header}"\n{checks}\nint main(void) {{ return 0; }}\n')
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    defined = set(re.findall(r"^#define (\w+) ", (tmp_path / header).read_text(), re.MULTILINE))
    assert defined == set(expected)


def test_both_c_headers_in_one_program(tmp_path: Path) -> None:
    """No name is defined twice."""
    includes = [f'#include "{written(top, "default", tmp_path)}_regs.h"\n' for top in ALL_CONFIGS]
    source = tmp_path / "both.c"
    source.write_text("".join(includes) + '_Static_assert(FLEXNM_ID_VALUE != FLEXNM_DECODE_ID_VALUE, "");\n')
    command = ["gcc", "-std=c11", "-Wall", "-Werror", "-pedantic", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not expected_constants("linear").keys() & expected_constants("decode").keys()


@both
def test_python_header_agrees(top: str) -> None:
    """Constants and nothing else; it imports nothing."""
    name, _, files = engine(top, "default")
    text = files[f"{name}_regs.py"]
    found: dict[str, Any] = {"__builtins__": {}}
    exec(compile(text, "header", "exec"), found)
    assert {key: value for key, value in found.items() if not key.startswith("__")} == expected_constants(top)


@pytest.mark.parametrize("top, config", CASES)
def test_registers_page_lists_every_register(top: str, config: str) -> None:
    """Name, address, every field with its bits, and the words this unit answers with."""
    _, _, files = engine(top, config)
    page = files["registers.md"]
    values = IDENTITIES[top](ALL_CONFIGS[top][config])
    registers = REGISTER_MAPS[top].values()
    for register in registers:
        section = page.partition(f"\n## {register.name}\n")[2].partition("\n## ")[0]
        assert f"`{register.offset:#04x}`" in section
        assert (f"`{values.get(register.name, 0):#010x}`" in section) == (register.name in values)
        for field in register.fields:
            bits = f"{field.low + field.width - 1}:{field.low}" if field.width > 1 else f"{field.low}"
            assert f"| {bits} | `{field.name}` | {field.meaning} |" in section
    assert page.count("\n## ") == len(registers)


@pytest.mark.parametrize("top, config", CASES)
def test_core_file_is_capi2_and_names_existing_files(top: str, config: str) -> None:
    """FuseSoC reads the first line, then YAML; toplevel is the wrapper."""
    name, manifest, files = engine(top, config)
    text = files[f"{name}.core"]
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text)
    named = [file for fileset in core["filesets"].values() for file in fileset["files"]]
    assert set(named) <= set(files)
    assert core["filesets"]["rtl"]["files"] == [f"{name}.v", f"{name}_axi.v"]
    assert core["name"].split(":") == ["flexnm", top, name, manifest["flexnm_version"]]
    assert manifest["derived"]["pattern"] in core["description"]
    assert ("AXI4," in core["description"]) == (top == "decode")
    for target in core["targets"].values():
        assert target["toplevel"] == wrapper_name(manifest)
        used = [re.sub(r".*\((\w+)\)", r"\1", fileset) for fileset in target["filesets"]]
        assert set(used) <= set(core["filesets"])
    assert core["targets"]["lint"]["default_tool"] == "verilator"


@pytest.mark.parametrize("top, config", CASES)
def test_constraints_name_the_wrappers_ports(top: str, config: str) -> None:
    """The clock everywhere; in the SDC every other port once, with [*] when it is a vector."""
    name, manifest, files = engine(top, config)
    ports = wrapper_ports(manifest)
    assert 'FREQUENCY PORT "aclk"' in files[f"{name}.lpf"]
    assert "create_clock -name aclk" in files[f"{name}.xdc"]
    for direction in ("input", "output"):
        block = re.search(rf"set_{direction}_delay [^{{]*\{{([^}}]*)\}}", files[f"{name}.sdc"])
        assert block
        expected = [f"{p.name}{'[*]' if p.width > 1 else ''}" for p in ports if p.direction == direction]
        assert block[1].split() == [port for port in expected if port != "aclk"]


@pytest.mark.parametrize("top, config", CASES)
def test_template_instantiates_every_port(top: str, config: str, tmp_path: Path) -> None:
    """Elaborates without a missing pin or a wrong width; that its signals have no drivers is its nature."""
    name = written(top, config, tmp_path)
    _, manifest, files = engine(top, config)
    assert f"\n  {name}_axi {top} (\n" in files[f"{name}_template.v"]
    for port in wrapper_ports(manifest):
        assert f".{port.name}({port.name})" in files[f"{name}_template.v"]
    sources = [tmp_path / f"{name}{suffix}.v" for suffix in ("", "_axi", "_template")]
    messages = verilator_lint(sources, f"{name}_template", default_cache().resolve())
    kinds = set(re.findall(r"^%Warning-(\w+)", messages, re.MULTILINE))
    assert kinds <= {"UNDRIVEN", "UNUSEDSIGNAL"}
    assert not re.search(r"^%Error(?!: Exiting)", messages, re.MULTILINE)


@both
def test_equal_bytes_from_an_equal_manifest(top: str) -> None:
    """In this process and in one with another hash seed."""
    name, manifest, files = engine(top, list(ALL_CONFIGS[top])[1])
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
