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

Emit = Callable[[str], tuple[wiring.Signature, str]]


class SharedModules:
    """Collects the RTLIL of shared modules while a design is elaborated.

    ``definitions`` maps module names, ``prefix`` and kind joined by ``_``, to RTLIL text.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.definitions: dict[str, str] = {}
        self._signatures: dict[str, wiring.Signature] = {}

    def instance(
        self, kind: str, name: str, build: Callable[[], wiring.Component], emit: Emit | None = None
    ) -> tuple[Instance, Any]:
        """An instance of the module ``kind`` and its interface, defining the module when it is new."""
        module = f"{self.prefix}_{kind}"
        if module not in self.definitions:
            self._signatures[module], self.definitions[module] = (emit or self._converted(build))(module)
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

    def _converted(self, build: Callable[[], wiring.Component]) -> Emit:
        def emit(module: str) -> tuple[wiring.Signature, str]:
            component = build()
            return component.signature, rtlil.convert(component, name=module, platform=self, emit_src=False)

        return emit


def add_shared(
    m: Module,
    platform: Any,
    kind: str,
    name: str,
    build: Callable[[], wiring.Component],
    emit: Emit | None = None,
) -> Any:
    """Add what ``build`` returns to ``m`` as submodule ``name``; returns its interface.

    Every ``build`` given for one ``kind`` must make equal components. ``emit``: signature and RTLIL of the module with
    the name it is given, in place of Amaranth's conversion.
    """
    if isinstance(platform, SharedModules):
        m.submodules[name], interface = platform.instance(kind, name, build, emit)
        return interface
    m.submodules[name] = component = build()
    return component
