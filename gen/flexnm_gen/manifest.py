"""The manifest: one JSON object that says all a user or a testbench must know of a generated unit."""

from __future__ import annotations

from importlib.metadata import version
from itertools import pairwise
from typing import Any

from amaranth.hdl import Shape, ShapeCastable
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In
from flexnm_rtl.config import Config, Metadata

MANIFEST_VERSION = 1

_DERIVED = (
    "pattern",
    "value_width",
    "score_width",
    "index_width",
    "metadata_width",
    "offset_width",
    "acc_width",
    "steps",
    "dense_beats",
    "compression_ratio",
    "act_ports",
    "weight_ports",
    "result_ports",
    "tokens_max",
    "tokens_max_dense",
    "result_width",
    "requantized_width",
    "act_slot_bytes",
    "weight_slot_bytes",
    "total_width",
    "row_sum_width",
    "parameter_bits",
    "parameter_slice",
    "parameter_words",
    "weights_per_bus",
    "memory_weight_width",
    "tile_outputs",
    "row_bytes",
    "dense_slot_bytes",
    "decode_result_ports",
)
_METADATA_TEXT = {
    Metadata.BITMASK: "bit i is set when channel i of the block is kept; bit 0 is the lowest channel",
    Metadata.INDEX: "one channel index per kept value, ascending; value 0 in the least significant bits",
    Metadata.ENUMERATIVE: "rank of the block's mask: the sum of C(channel of value j, j + 1), unsigned",
}


def layout_of(shape: Any) -> dict[str, Any]:
    """A shape as JSON: a structure has ``fields`` with bit ``offset``, an array ``length`` and ``element``.

    Every node has ``width`` in bits; leaves have ``signed``. ``overlapping`` marks a structure whose fields are
    several readings of the same bits.
    """
    if isinstance(shape, data.ArrayLayout):
        return {"width": shape.size, "length": shape.length, "element": layout_of(shape.elem_shape)}
    if isinstance(shape, data.Layout):
        fields = {str(name): {"offset": field.offset, **layout_of(field.shape)} for name, field in shape}
        node = {"width": shape.size, "fields": fields}
        return node | ({"overlapping": True} if _overlap(fields) else {})
    plain = Shape.cast(shape)
    return {"width": plain.width, "signed": plain.signed}


def _overlap(fields: dict[str, dict[str, Any]]) -> bool:
    spans = sorted((field["offset"], field["offset"] + field["width"]) for field in fields.values())
    return any(end > start for (_, end), (start, _) in pairwise(spans))


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
    """Amaranth streams of the unit by name: ``in`` for one it takes, ``out`` for one it sends."""
    return {
        name: _way(member)
        for name, member, signature in _interfaces(component)
        if isinstance(signature, stream.Signature)
    }


def buses_of(component: wiring.Component) -> dict[str, str]:
    """AXI interfaces of the unit by name: ``axi4-lite``, ``axi4 read``, or ``axi4-stream`` with ``in`` or ``out``."""
    buses = {}
    for name, member, signature in _interfaces(component):
        if "awaddr" in signature.members:
            buses[name] = "axi4-lite"
        elif "araddr" in signature.members:
            buses[name] = "axi4 read"
        elif "tdata" in signature.members:
            buses[name] = f"axi4-stream {_way(member)}"
    return buses


def _interfaces(component: wiring.Component) -> list[tuple[str, Any, Any]]:
    """Name, member and signature as its transmitter sees it, of everything that is more than a wire."""
    return [
        (name, member, member.signature.flip() if member.flow == In else member.signature)
        for name, member in component.signature.members.items()
        if member.is_signature
    ]


def _way(member: Any) -> str:
    return "in" if member.flow == In else "out"


def derived_of(cfg: Config) -> dict[str, Any]:
    """What follows from the settings, for readers that have no ``Config``."""
    return {name: getattr(cfg, name) for name in _DERIVED}


def build_manifest(component: wiring.Component, top: str, name: str, cfg: Config) -> dict[str, Any]:
    """The manifest of one generated unit; see docs/interfaces.md for every key."""
    return {
        "manifest_version": MANIFEST_VERSION,
        "flexnm_version": version("flexnm"),
        "name": name,
        "top": top,
        "config": cfg.as_dict(),
        "derived": derived_of(cfg),
        "latency": {"cycles": component.latency},
        "metadata": {
            "format": cfg.metadata.value,
            "width": cfg.metadata_width,
            "layout": _METADATA_TEXT[cfg.metadata],
        },
        "streams": streams_of(component),
        "buses": buses_of(component),
        "ports": ports_of(component),
    }
