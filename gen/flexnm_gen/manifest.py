"""The manifest: one JSON object that says all a user or a testbench must know of a generated unit."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from amaranth.hdl import Shape, ShapeCastable
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from flexnm_rtl.config import Config, Metadata

MANIFEST_VERSION = 1

_METADATA_TEXT = {
    Metadata.BITMASK: "bit i is set when channel i of the block is kept; bit 0 is the lowest channel",
    Metadata.INDEX: "one channel index per kept value, ascending; value 0 in the least significant bits",
}


def layout_of(shape: Any) -> dict[str, Any]:
    """A shape as JSON: a struct has ``fields`` with bit ``offset``, an array ``length`` and ``element``.

    Every node has ``width`` in bits; leaves have ``signed``.
    """
    if isinstance(shape, data.StructLayout):
        fields = {name: {"offset": field.offset, **layout_of(field.shape)} for name, field in shape}
        return {"width": shape.size, "fields": fields}
    if isinstance(shape, data.ArrayLayout):
        return {"width": shape.size, "length": shape.length, "element": layout_of(shape.elem_shape)}
    plain = Shape.cast(shape)
    return {"width": plain.width, "signed": plain.signed}


def ports_of(component: wiring.Component) -> list[dict[str, Any]]:
    """Clock, reset, then the ports of the component's signature as Verilog sees them."""
    ports: list[dict[str, Any]] = [
        {"name": "clk", "direction": "input", "width": 1, "role": "clock, rising edge"},
        {"name": "rst", "direction": "input", "width": 1, "role": "reset, synchronous, active high"},
    ]
    for path, member, _value in component.signature.flatten(component):
        shape = member.shape
        layout = layout_of(shape)
        port: dict[str, Any] = {
            "name": "__".join(map(str, path)),
            "direction": "input" if member.flow == In else "output",
            "width": layout["width"],
        }
        if isinstance(shape, ShapeCastable):
            port["layout"] = layout
        ports.append(port)
    return ports


def streams_of(component: wiring.Component) -> dict[str, str]:
    """Streams of the unit by name: ``in`` for one it takes, ``out`` for one it sends."""
    return {
        name: "in" if member.flow == In else "out"
        for name, member in component.signature.members.items()
        if member.is_signature
    }


def build_manifest(component: wiring.Component, top: str, name: str, cfg: Config) -> dict[str, Any]:
    """The manifest of one generated unit; see docs/interfaces.md for every key."""
    return {
        "manifest_version": MANIFEST_VERSION,
        "flexnm_version": version("flexnm"),
        "name": name,
        "top": top,
        "config": cfg.as_dict(),
        "derived": {
            "pattern": cfg.pattern,
            "index_width": cfg.index_width,
            "metadata_width": cfg.metadata_width,
            "offset_width": cfg.offset_width,
            "acc_width": cfg.acc_width,
            "steps": cfg.steps,
            "dense_beats": cfg.dense_beats,
            "compression_ratio": cfg.compression_ratio,
        },
        "latency": {"cycles": component.latency},
        "metadata": {
            "format": cfg.metadata.value,
            "width": cfg.metadata_width,
            "layout": _METADATA_TEXT[cfg.metadata],
        },
        "streams": streams_of(component),
        "ports": ports_of(component),
    }
