"""What is mutated, and which benches have to notice."""

from __future__ import annotations

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
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in COMPONENTS:
            raise ConfigError(f"ONLY={name} is no component: choose from {', '.join(COMPONENTS)}")
    return [component for component in COMPONENTS.values() if not wanted or component.name in wanted]
