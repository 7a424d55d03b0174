"""The port table: the manifest's ports as Markdown for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_OVERLAP = "Fields with the same bits are readings of them in different modes; bits in no field are ignored."


def port_table(manifest: dict[str, Any]) -> str:
    """Markdown with the ports of a unit and the fields of its payloads."""
    lines = [
        f"# {manifest['name']}",
        "",
        f"flexnm {manifest['flexnm_version']}, unit `{manifest['top']}`, pattern {manifest['derived']['pattern']}. "
        f"Latency {manifest['latency']['cycles']} cycles.",
        "",
        f"Metadata: {manifest['metadata']['format']}, {manifest['metadata']['width']} bits; "
        f"{manifest['metadata']['layout']}.",
        "",
        "| port | direction | bits | meaning |",
        "|---|---|---|---|",
        *(_port_row(port, manifest["buses"]) for port in manifest["ports"]),
    ]
    for port in manifest["ports"]:
        if "layout" in port:
            lines += ["", f"## {port['name']}", "", "| field | bits | type |", "|---|---|---|"]
            root = port["name"].rpartition("__")[2]
            lines += [f"| {name} | {bits} | {kind} |" for name, bits, kind in _rows(port["layout"], "", 0, root)]
            lines += ["", _OVERLAP] if _overlaps(port["layout"]) else []
    return "\n".join(lines) + "\n"


_ROLES = {
    "payload": "fields below",
    "valid": "a beat is offered",
    "ready": "a beat is taken when valid and ready are both high at a rising clock edge",
    "tdata": "AXI4-Stream data, fields below",
    "tlast": "AXI4-Stream: last beat of the packet",
    "tkeep": "AXI4-Stream: bit i is set when byte i of the beat is part of the packet",
    "tvalid": "AXI4-Stream: a beat is offered",
    "tready": "AXI4-Stream: a beat is taken when tvalid and tready are both high at a rising clock edge",
}
_MEMORY_MAPPED = {"axi4-lite": "AXI4-Lite", "axi4 read": "AXI4"}
_CHANNELS = {
    "aw": "write address channel",
    "w": "write data channel",
    "b": "write response channel",
    "ar": "read address channel",
    "r": "read data channel",
}


def _port_row(port: dict[str, Any], buses: dict[str, str]) -> str:
    bus, _, signal = port["name"].rpartition("__")
    role = port.get("role") or _role(signal, buses.get(bus, ""))
    return f"| `{port['name']}` | {port['direction']} | {port['width']} | {role} |"


def _role(signal: str, bus: str) -> str:
    """What a stream's or an AXI interface's signal is for; signals of a memory-mapped one start with their channel."""
    channel = re.match("aw|ar|w|b|r", signal)
    if channel and bus in _MEMORY_MAPPED:
        return f"{_MEMORY_MAPPED[bus]} {_CHANNELS[channel[0]]}"
    return _ROLES.get(signal, "")


def _rows(node: dict[str, Any], name: str, offset: int, root: str) -> Iterator[tuple[str, str, str]]:
    """One row per field; of an array, the element layout stands once, with its stride.

    Offsets count from the bottom of the port, inside an array from the bottom of the element.
    """
    if "fields" in node:
        for field, child in node["fields"].items():
            yield from _rows(child, f"{name}.{field}" if name else field, offset + child["offset"], root)
        return
    span = f"{offset + node['width'] - 1}:{offset}"
    if "element" in node:
        element = node["element"]
        index = "ijk"[name.count("[")]
        yield f"`{name or root}`", span, f"{node['length']} elements of {_bits(element['width'])}, element 0 lowest"
        if "fields" in element or "element" in element:
            yield from _rows(element, f"{name or root}[{index}]", 0, root)
        else:
            yield f"`{name or root}[{index}]`", f"{element['width'] - 1}:0 of the element", _kind(element)
        return
    yield f"`{name}`", span, _kind(node)


def _overlaps(node: dict[str, Any]) -> bool:
    children = [*node.get("fields", {}).values(), *([node["element"]] if "element" in node else [])]
    return bool(node.get("overlapping")) or any(map(_overlaps, children))


def _kind(node: dict[str, Any]) -> str:
    return f"{'signed' if node['signed'] else 'unsigned'}, {_bits(node['width'])}"


def _bits(count: int) -> str:
    return f"{count} bit{'s' if count != 1 else ''}"
