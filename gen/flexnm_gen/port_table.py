"""The port table: the manifest's ports as Markdown for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


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
        *(_port_row(port) for port in manifest["ports"]),
    ]
    for port in manifest["ports"]:
        if "layout" in port:
            lines += ["", f"## {port['name']}", "", "| field | bits | type |", "|---|---|---|"]
            lines += [f"| {name} | {bits} | {kind} |" for name, bits, kind in _rows(port["layout"], "", 0)]
    return "\n".join(lines) + "\n"


def _port_row(port: dict[str, Any]) -> str:
    role = port.get("role") or {
        "payload": "fields below",
        "valid": "a beat is offered",
        "ready": "a beat is taken when valid and ready are both high at a rising clock edge",
    }.get(port["name"].rpartition("__")[2], "")
    return f"| `{port['name']}` | {port['direction']} | {port['width']} | {role} |"


def _rows(node: dict[str, Any], name: str, offset: int) -> Iterator[tuple[str, str, str]]:
    """One row per field; of an array, the element layout stands once, with its stride."""
    if "fields" in node:
        for field, child in node["fields"].items():
            yield from _rows(child, f"{name}.{field}" if name else field, offset + child["offset"])
        return
    span = f"{offset + node['width'] - 1}:{offset}"
    if "element" in node:
        element = node["element"]
        index = "ijk"[name.count("[")]
        yield f"`{name or 'payload'}`", span, f"{node['length']} elements of {element['width']} bits, element 0 lowest"
        if "fields" in element or "element" in element:
            yield from _rows(element, f"{name or 'payload'}[{index}]", 0)
        else:
            yield f"`{name or 'payload'}[{index}]`", f"{element['width'] - 1}:0 of the element", _kind(element)
        return
    yield f"`{name}`", span, _kind(node)


def _kind(node: dict[str, Any]) -> str:
    return f"{'signed' if node['signed'] else 'unsigned'}, {node['width']} bits"
