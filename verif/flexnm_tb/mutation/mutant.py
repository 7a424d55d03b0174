"""One mutant: a change of one bit of one port of one cell, as Yosys' ``mutate`` describes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

TASK_VARIABLE = "FLEXNM_MUTATION"
"""Environment variable of a simulation with the file of its task."""
_CLOCKS = ("CLK", "clk", "aclk")


@dataclass(frozen=True)
class Mutant:
    """number: value of ``mutsel`` that turns it on. mode: inv, const0, const1, cnot0 or cnot1 (inverted where bit
    ``ctrlbit`` of the same port is 0 or 1). cell: Yosys' name, with the line of the Verilog in it. port, portbit: what
    changes. place: kind of the cell and the first net that it drives, or its expression. line: of the Verilog, from 1.
    """

    number: int
    mode: str
    module: str
    cell: str
    port: str
    portbit: int
    ctrlbit: int | None
    place: str
    line: int

    def identity(self, top: str) -> str:
        """A name that depends neither on the number nor on lines; ``top`` is the unit's module name, left out of it."""
        module = self.module.removeprefix(top).lstrip("_") or "top"
        control = "" if self.ctrlbit is None else f"~{self.ctrlbit}"
        return f"{self.mode} {module} {self.place} {self.port}[{self.portbit}]{control}"

    @property
    def options(self) -> str:
        """Options of ``mutate`` that apply it, without those of its control."""
        control = "" if self.ctrlbit is None else f" -ctrlbit {self.ctrlbit}"
        return (
            f"-mode {self.mode} -module {self.module} -cell {self.cell} -port {self.port} "
            f"-portbit {self.portbit}{control}"
        )


def parse(text: str) -> list[dict[str, str]]:
    """Options of each line of ``mutate -list``, in its order, without those that change a clock.

    The benches are cycle-based: a clock that is a gate late or inverted is nothing that they could tell apart from a
    simulator's race. The last ``-src`` of a line is the cell's.
    """
    lines = []
    for line in text.splitlines():
        options = dict(re.findall(r"-(\w+) (\S+)", line.partition("mutate ")[2]))
        if options.get("port", _CLOCKS[0]) not in _CLOCKS:
            lines.append(options)
    return lines


def line_of(source: str) -> int:
    """First line of a source attribute ``file.v:12.3-14.5``; 0 when it has none."""
    found = re.search(r":(\d+)\.", source)
    return int(found[1]) if found else 0


def expression_of(source: str, texts: dict[str, list[str]]) -> str:
    """The text that a source attribute is about, from the lines of the files; of several lines the first one."""
    found = re.fullmatch(r"(.+):(\d+)\.(\d+)-(\d+)\.(\d+)", source)
    if not found or found[1] not in texts:
        return ""
    line = texts[found[1]][int(found[2]) - 1]
    return line[int(found[3]) - 1 : int(found[5]) - 1 if found[2] == found[4] else None].strip()
