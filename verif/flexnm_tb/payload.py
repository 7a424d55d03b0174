"""Payloads as integers, by the layouts of the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def pack(layout: Mapping[str, Any], value: Any) -> int:
    """The integer of a payload: a mapping for a struct, an iterable for an array, an integer (or int tensor) leaf.

    Signed leaves are taken modulo two to the width. An array may also be given as an integer already packed.
    """
    if isinstance(value, int):
        return value & ((1 << int(layout["width"])) - 1)
    if "fields" in layout:
        return sum(pack(node, value[name]) << int(node["offset"]) for name, node in layout["fields"].items())
    if "element" in layout:
        element = layout["element"]
        if "signed" in element:
            return pack_elements(value, int(element["width"]))
        return sum(pack(element, item) << (i * int(element["width"])) for i, item in enumerate(value))
    return int(value) & ((1 << int(layout["width"])) - 1)


def pack_elements(values: Iterable[Any], width: int) -> int:
    """Elements of ``width`` bits as one integer, element 0 lowest."""
    mask = (1 << width) - 1
    digits = [int(v) & mask for v in values]
    if width == 8:
        return int.from_bytes(bytes(digits), "little")
    word = 0
    for digit in reversed(digits):
        word = (word << width) | digit
    return word


def unpack(layout: Mapping[str, Any], word: int) -> Any:
    """The inverse of ``pack``: dicts, lists and integers."""
    if "fields" in layout:
        return {name: unpack(node, word >> int(node["offset"])) for name, node in layout["fields"].items()}
    width = int(layout["width"])
    if "element" in layout:
        element = layout["element"]
        step = int(element["width"])
        return [unpack(element, word >> (i * step)) for i in range(int(layout["length"]))]
    bits = word & ((1 << width) - 1)
    return bits - (1 << width) if layout["signed"] and bits >> (width - 1) else bits
