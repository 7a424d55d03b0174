"""Which net every pin of a netlist is on, read from the Verilog that ``flexnm_gen.asic_map`` writes."""

from __future__ import annotations

import re
from collections.abc import Iterator

_MODULE = re.compile(r"^module (\S+?)\(.*?^endmodule", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^  (\S+) (\\?\S+) \(\n(.*?)\n  \);", re.MULTILINE | re.DOTALL)
_PIN = re.compile(r"^    \.(\S+)\((.*)\),?$", re.MULTILINE)

CONSTANTS = ("1'b0", "1'b1")

Instances = list[tuple[str, str, list[tuple[str, str]]]]


def pin_nets(netlist: str, top: str, cells: set[str]) -> Iterator[tuple[str, str]]:
    """Pin ``part/instance/pin`` and net ``part/net`` of every instance of ``cells`` below ``top``.

    A constant is the net ``1'b0`` or ``1'b1``.
    """
    modules = {found[1]: _instances(found[0]) for found in _MODULE.finditer(netlist)}

    def walk(module: str, prefix: str) -> Iterator[tuple[str, str]]:
        for kind, name, pins in modules[module]:
            if kind in cells:
                for pin, net in pins:
                    yield f"{prefix}{name}/{pin}", net if net in CONSTANTS else f"{prefix}{net}"
            elif kind in modules:
                yield from walk(kind, f"{prefix}{name}/")

    return walk(top, "")


def _instances(text: str) -> Instances:
    return [
        (found[1], _plain(found[2]), [(pin[1], _plain(pin[2])) for pin in _PIN.finditer(found[3])])
        for found in _INSTANCE.finditer(text)
    ]


def _plain(name: str) -> str:
    """A name as simulators and timing tools write it: ``\\a[3] `` and ``a [3]`` are ``a[3]``."""
    return name.replace("\\", "").replace(" ", "")
