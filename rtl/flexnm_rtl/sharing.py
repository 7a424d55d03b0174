"""One Verilog module for many equal submodules.

Amaranth emits a module per submodule object, so an array of 512 processing elements would become 512 equal modules.
Converting for Verilog with a ``SharedModules`` as the platform emits each kind once and instantiates it; without one
(simulation) the submodules stay ordinary Amaranth submodules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In


class SharedModules:
    """Collects the RTLIL of shared modules while a design is elaborated.

    ``definitions`` maps module names, ``prefix`` and kind joined by ``_``, to RTLIL text.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.definitions: dict[str, str] = {}
        self._signatures: dict[str, wiring.Signature] = {}

    def instance(self, kind: str, name: str, build: Callable[[], wiring.Component]) -> tuple[Instance, Any]:
        """An instance of the module ``kind`` and its interface, defining the module when it is new."""
        module = f"{self.prefix}_{kind}"
        if module not in self.definitions:
            component = build()
            self._signatures[module] = component.signature
            self.definitions[module] = rtlil.convert(component, name=module, platform=self, emit_src=False)
        signature = self._signatures[module]
        interface = signature.create(path=(name,))
        ports: dict[str, Any] = {}
        for path, member, value in signature.flatten(interface):
            direction = "i" if member.flow == In else "o"
            ports[f"{direction}_{'__'.join(map(str, path))}"] = Value.cast(value)
        for port, signal in (("clk", ClockSignal()), ("rst", ResetSignal())):
            if f"\\{port}\n" in self.definitions[module]:
                ports[f"i_{port}"] = signal
        return Instance(module, **ports), interface


def add_shared(m: Module, platform: Any, kind: str, name: str, build: Callable[[], wiring.Component]) -> Any:
    """Add what ``build`` returns to ``m`` as submodule ``name``; returns its interface.

    Every ``build`` given for one ``kind`` must make equal components.
    """
    if isinstance(platform, SharedModules):
        m.submodules[name], interface = platform.instance(kind, name, build)
        return interface
    m.submodules[name] = component = build()
    return component
