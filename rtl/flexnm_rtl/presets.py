"""Named configurations. The default is the one ``make sim`` and ``make verilog`` use."""

from __future__ import annotations

from flexnm_rtl.config import Config, ConfigError, Metadata, Selector

DEFAULT_PRESET = "n8m16"

PRESETS: dict[str, Config] = {
    "n2m4": Config(n_keep=2, m_group=4, lanes=2),
    "n4m8": Config(n_keep=4, m_group=8, lanes=4),
    "n8m16": Config(n_keep=8, m_group=16, lanes=8),
    "n16m32": Config(n_keep=16, m_group=32, lanes=16),
    "n8m16-index": Config(n_keep=8, m_group=16, lanes=8, metadata=Metadata.INDEX),
    "n8m16-int4": Config(n_keep=8, m_group=16, act_width=4, weight_width=4, lanes=8),
    "n8m16-serial": Config(n_keep=8, m_group=16, rows=8, cols=16, lanes=1),
    "n8m16-edge": Config(n_keep=8, m_group=16, rows=8, cols=16, lanes=1, k_max=2048, selector=Selector.RANK2),
    "n32m32-flexible": Config(n_keep=32, m_group=32, flexible=True, rows=4, cols=8, lanes=4, k_max=2048),
    "n8m16-decode": Config(n_keep=8, m_group=16, rows=1, lanes=8, k_max=2048, bus_width=128, tile_beats=16),
}


def preset(name: str) -> Config:
    """The preset called ``name``. Raises ConfigError when there is none."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(f"unknown preset {name}: choose one of {', '.join(PRESETS)}") from None
