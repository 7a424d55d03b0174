"""What is mutated, and which benches have to notice."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from flexnm_rtl.config import Config, ConfigError, Metadata
from flexnm_rtl.presets import DEFAULT_PRESET, preset

_ENGINE = tuple(
    f"flexnm_tb.benches.{name}" for name in ("linear", "linear_errors", "linear_registers", "linear_counters")
)


@dataclass(frozen=True)
class Component:
    """A unit, its configuration, the modules of its cocotb tests, and how many mutants are made of it.

    wrapped: the unit is simulated inside its AXI wrapper.
    """

    name: str
    top: str
    cfg: Config
    benches: tuple[str, ...]
    count: int
    wrapped: bool = False


COMPONENTS = {
    component.name: component
    for component in (
        Component("compressor", "compressor", preset(DEFAULT_PRESET), ("flexnm_tb.benches.compressor",), 150),
        Component(
            "array",
            "mac_array",
            # Columns, lanes and rows that all differ; small, because every processing element is the same module.
            Config(n_keep=4, m_group=8, rows=2, cols=3, lanes=2, metadata=Metadata.INDEX, k_max=4096),
            ("flexnm_tb.benches.mac_array",),
            150,
        ),
        Component(
            "engine",
            "linear",
            Config(n_keep=2, m_group=4, rows=2, cols=3, lanes=1, k_max=24, t_max=7),
            _ENGINE,
            200,
            wrapped=True,
        ),
    )
}


def chosen(names: str) -> list[Component]:
    """The components named, separated by commas; all of them for an empty text. Raises ConfigError for another name."""
    return [COMPONENTS[name] for name in chosen_names(names, COMPONENTS, "ONLY", "is no component")]


def chosen_names(names: str, known: Collection[str], setting: str, problem: str = "is unknown") -> list[str]:
    """Names of a list with commas, in the order of ``known``; all of it for an empty text.

    Raises ConfigError for another name: ``setting`` has it, and ``problem`` is what is wrong with it.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise ConfigError(f"{setting}={name} {problem}: choose from {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]
