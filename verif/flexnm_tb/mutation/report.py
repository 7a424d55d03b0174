"""What ``flexnm mutate`` says: a table by component, the survivors, and the same as JSON."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from flexnm_tb.mutation.design import Design
from flexnm_tb.mutation.session import Verdict
from flexnm_tb.mutation.survivors import Survivor

LEAST = 0.95
"""Share of the mutants that can be noticed that have to be."""


@dataclass(frozen=True)
class Result:
    """A component's outcome. unused: explanations that belong to no survivor."""

    design: Design
    verdicts: Mapping[int, Verdict]
    survivors: Sequence[Survivor]

    @property
    def killed(self) -> int:
        """Mutants that a test noticed."""
        return sum(verdict.killed for verdict in self.verdicts.values())

    @property
    def equivalent(self) -> int:
        """Survivors that are proved to change nothing."""
        return sum(bool(survivor.proof) for survivor in self.survivors)

    @property
    def rate(self) -> float:
        """Killed, of those that are not proved equivalent."""
        return self.killed / max(1, len(self.verdicts) - self.equivalent)

    @property
    def unexplained(self) -> list[Survivor]:
        """Survivors without proof or reason."""
        return [survivor for survivor in self.survivors if survivor.open]

    @property
    def passed(self) -> bool:
        """Whether enough are killed and the others are all explained."""
        return self.rate >= LEAST and not self.unexplained

    def record(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "component": self.design.component.name,
            "module": self.design.top,
            "mutants": len(self.verdicts),
            "killed": self.killed,
            "survived": len(self.survivors),
            "proved_equivalent": self.equivalent,
            "explained": len(self.survivors) - self.equivalent - len(self.unexplained),
            "unexplained": len(self.unexplained),
            "rate": self.rate,
            "killed_by": dict(Counter(v.test for v in self.verdicts.values() if v.killed).most_common()),
            "survivors": [dataclasses.asdict(survivor) for survivor in self.survivors],
        }


def print_report(results: Sequence[Result]) -> None:
    """The table, then one line for each survivor."""
    table = Table(title="Mutants of the generated Verilog")
    table.add_column("component", no_wrap=True)
    for name in ("mutants", "killed", "survived", "proved equivalent", "explained", "unexplained", "rate"):
        table.add_column(name, justify="right")
    for result in results:
        record = result.record()
        numbers = (record[name] for name in ("mutants", "killed", "survived", "proved_equivalent", "explained"))
        rate = f"{100 * result.rate:.1f} %"
        table.add_row(record["component"], *map(str, numbers), str(len(result.unexplained)), rate)
    console = Console(width=120)
    console.print(table)
    for result in results:
        for survivor in result.survivors:
            kind = "equivalent" if survivor.proof else "explained" if survivor.reason else "UNEXPLAINED"
            console.print(
                f"{result.design.component.name} {kind}: {survivor.identity}\n    {survivor.where}\n"
                f"    {survivor.proof or survivor.reason or 'no proof, no reason'}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
