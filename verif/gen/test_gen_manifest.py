"""The manifest against the configuration, the component and the Verilog text; and the Verilog against the linter."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from flexnm_gen.generate import render
from flexnm_gen.tops import TOPS, settle
from flexnm_rtl.config import Config
from flexnm_rtl.presets import PRESETS
from flexnm_tb.verilator import default_cache, verilator_lint

ODD = {
    "odd-index": Config.from_dict({"n_keep": 3, "m_group": 5, "lanes": 1, "rows": 1, "cols": 1, "metadata": "index"}),
    "dense-wide": Config(n_keep=7, m_group=7, lanes=7, act_width=16, weight_width=4, rows=2, cols=2),
    "one-of-two": Config(n_keep=1, m_group=2, lanes=1, act_width=4, weight_width=16, rows=3, cols=1),
}
CONFIGS = PRESETS | ODD
CASES = [(name, top) for name in CONFIGS for top in TOPS]


@functools.cache
def unit(config: str, top: str) -> tuple[str, dict[str, Any], str]:
    """Name, manifest and Verilog."""
    name, files = render(top, CONFIGS[config])
    return name, json.loads(files[f"{name}.json"]), files[f"{name}.v"]


@pytest.mark.parametrize("config, top", CASES, scope="module")
def test_config_comes_back(config: str, top: str) -> None:
    """The manifest's settings are the whole configuration, with the generator's choices made."""
    name, manifest, _ = unit(config, top)
    cfg = Config.from_dict(manifest["config"])
    assert cfg == settle(CONFIGS[config])
    assert (manifest["name"], manifest["top"]) == (name, top)
    for key, value in manifest["derived"].items():
        assert getattr(cfg, key) == value
    assert cfg.tokens_max == CONFIGS[config].tokens_max
    assert (cfg.act_ports, cfg.weight_ports) == (CONFIGS[config].act_ports, CONFIGS[config].weight_ports)
    assert manifest["metadata"]["format"] == cfg.metadata
    assert manifest["metadata"]["width"] == cfg.metadata_width


@pytest.mark.parametrize("config, top", CASES, scope="module")
def test_latency_is_the_components(config: str, top: str) -> None:
    """Built afresh from the settings in the manifest."""
    from amaranth.hdl import Fragment

    _, manifest, _ = unit(config, top)
    component: Any = TOPS[top].build(Config.from_dict(manifest["config"]))
    Fragment.get(component, None)  # Amaranth warns of components nobody elaborates
    assert manifest["latency"]["cycles"] == component.latency


@pytest.mark.parametrize("config, top", CASES, scope="module")
def test_ports_are_those_of_the_verilog(config: str, top: str) -> None:
    """Names, directions and widths, none missing and none more."""
    name, manifest, text = unit(config, top)
    body = re.search(rf"^module {name}\(.*?^endmodule", text, re.MULTILINE | re.DOTALL)
    assert body
    found = re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", body[0], re.MULTILINE)
    verilog = {port: (direction, int(high or 0) + 1) for direction, high, port in found}
    assert verilog == {p["name"]: (p["direction"], p["width"]) for p in manifest["ports"]}
    for stream, direction in manifest["streams"].items():
        assert verilog[f"{stream}__valid"][0] == f"{direction}put"
        assert verilog[f"{stream}__payload"][0] == f"{direction}put"
        assert verilog[f"{stream}__ready"][0] != f"{direction}put"
    for bus, kind in manifest["buses"].items():
        if kind.startswith("axi4-stream"):
            assert verilog[f"{bus}__tvalid"][0] == f"{kind.split()[1]}put"
            assert verilog[f"{bus}__tready"][0] != f"{kind.split()[1]}put"
        else:
            assert verilog[f"{bus}__arvalid"][0] == ("output" if kind == "axi4 read" else "input")
            assert (f"{bus}__awvalid" in verilog) == (kind == "axi4-lite")


def check_layout(node: dict[str, Any]) -> None:
    """Fields follow each other without gap or overlap, and add up to the width; so do elements.

    Fields that overlap all start at the bottom and lie inside.
    """
    if node.get("overlapping"):
        assert len(node["fields"]) > 1
        for child in node["fields"].values():
            assert child["offset"] == 0
            assert child["width"] <= node["width"]
            check_layout(child)
    elif "fields" in node:
        end = 0
        for child in node["fields"].values():
            assert child["offset"] == end
            check_layout(child)
            end += child["width"]
        assert end == node["width"]
    elif "element" in node:
        check_layout(node["element"])
        assert node["length"] * node["element"]["width"] == node["width"]
    else:
        assert isinstance(node["signed"], bool)
        assert node["width"] >= 1


@pytest.mark.parametrize("config, top", CASES, scope="module")
def test_layouts_are_consistent(config: str, top: str) -> None:
    """Every payload, and the data of every AXI4-Stream, has a layout of the port's width."""
    _, manifest, _ = unit(config, top)
    payloads = [p for p in manifest["ports"] if p["name"].endswith(("__payload", "__tdata"))]
    buses = [kind for kind in manifest["buses"].values() if kind.startswith("axi4-stream")]
    assert len(payloads) == len(manifest["streams"]) + len(buses) > 0
    described = [p for p in manifest["ports"] if "layout" in p]
    assert [p["name"] for p in payloads] == [p["name"] for p in described if p["name"] != "pattern"]
    for port in described:
        assert port["layout"]["width"] == port["width"]
        check_layout(port["layout"])


@pytest.mark.parametrize("config, top", CASES, scope="module")
def test_lint_clean(config: str, top: str, tmp_path: Path) -> None:
    """Verilator -Wall has nothing to say."""
    name, _, text = unit(config, top)
    file = tmp_path / f"{name}.v"
    file.write_text(text)
    assert verilator_lint([file], name, default_cache().resolve()) == ""


def test_the_linter_would_complain(tmp_path: Path) -> None:
    """A wire nobody reads and a width that does not fit are found in the same text."""
    name, _, text = unit("n2m4", "compressor")
    file = tmp_path / f"{name}.v"
    file.write_text(text.replace("endmodule", "  wire [3:0] spare;\n  assign spare = 5'd3;\nendmodule", 1))
    messages = verilator_lint([file], name, default_cache().resolve())
    assert "UNUSEDSIGNAL" in messages
    assert "WIDTHTRUNC" in messages
