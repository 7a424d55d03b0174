"""What comes with an engine: wrapper, ports, flow files; against the manifest and tools."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from engine_tools import ALL_CONFIGS, CASES, DECODE_CASES, EXTRA, LINEAR_CASES, both, engine, written
from flexnm_gen.axi_wrapper import wrapper_name, wrapper_ports
from flexnm_gen.engine_files import engine_files
from flexnm_gen.generate import render
from flexnm_tb.verilator import default_cache, verilator_lint
from gen_tools import python


@pytest.mark.parametrize("top, config", CASES, scope="module")
def test_all_files_are_there(top: str, config: str) -> None:
    """Three as for every unit, and the engine's own; other units have none of these."""
    name, _, files = engine(top, config)
    assert set(files) == {f"{name}.v", f"{name}.json", "ports.md", *(extra.format(name) for extra in EXTRA)}
    assert len(render("dense_splitter", ALL_CONFIGS[top][config])[1]) == 3


def lint(folder: Path, name: str) -> str:
    """Verilator -Wall on wrapper and core together."""
    return verilator_lint([folder / f"{name}.v", folder / f"{name}_axi.v"], f"{name}_axi", default_cache().resolve())


@pytest.mark.parametrize("top, config", CASES, scope="module")
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


@pytest.mark.parametrize("top, config", CASES, scope="module")
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


@pytest.mark.parametrize("top, config", DECODE_CASES, scope="module")
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


@pytest.mark.parametrize("top, config", CASES, scope="module")
def test_wrapper_lists_its_buses_for_block_designs(top: str, config: str) -> None:
    """Every AXI interface of the manifest belongs to the clock."""
    name, manifest, files = engine(top, config)
    found = re.search(r"ASSOCIATED_BUSIF ([\w:]+), ASSOCIATED_RESET aresetn", files[f"{name}_axi.v"])
    assert found
    assert sorted(found[1].split(":")) == sorted(manifest["buses"])


@pytest.mark.parametrize("top, config", CASES, scope="module")
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


@pytest.mark.parametrize("top, config", DECODE_CASES, scope="module")
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


@pytest.mark.parametrize("top, config", LINEAR_CASES, scope="module")
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


@pytest.mark.parametrize("top, config", CASES, scope="module")
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


@pytest.mark.parametrize("top, config", CASES, scope="module")
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


@pytest.mark.parametrize("top, config", CASES, scope="module")
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
