"""What can be generated: the top-level units, their names and the settings each of them depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib import wiring
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import TOKEN_METHODS, Config, ConfigError, ScoreFactor
from flexnm_rtl.decode import DecodeEngine
from flexnm_rtl.decompressor import Decompressor
from flexnm_rtl.dense_split import DenseSplitter
from flexnm_rtl.linear import LinearEngine
from flexnm_rtl.mac_array import MacArray
from flexnm_rtl.registers import REGISTER_MAPS
from flexnm_rtl.selection import resolve_selector

ALL = "all"
UNITS = "units"
"""Names that stand for several units: every one, and those that are no engines."""


def _codec_name(cfg: Config) -> str:
    fraction = f"f{cfg.fraction_bits}" if cfg.fraction_bits else ""
    flexible = "flex" if cfg.flexible else ""
    return f"{flexible}n{cfg.n_keep}m{cfg.m_group}_a{cfg.act_width}{fraction}_{cfg.metadata.value}"


def _compressor_name(cfg: Config) -> str:
    scored = "" if cfg.score_factor is ScoreFactor.NONE else f"_{cfg.score_factor.value}{cfg.factor_width}"
    return f"{_codec_name(cfg)}_{cfg.selector.value}{scored}"


def _array_name(cfg: Config) -> str:
    return f"{_codec_name(cfg)}_w{cfg.weight_width}_r{cfg.rows}_c{cfg.cols}_l{cfg.lanes}_k{cfg.k_max}"


def _unit_array_name(cfg: Config) -> str:
    return f"{_array_name(cfg)}{'_short' if cfg.short_stages else ''}"


def _linear_name(cfg: Config) -> str:
    ports = f"t{cfg.tokens_max}_p{cfg.act_ports}_{cfg.weight_ports}_{cfg.result_ports}"
    scored = _compressor_name(cfg).removeprefix(_codec_name(cfg))
    methods = "".join(f"_{name}" for name in TOKEN_METHODS if getattr(cfg, name))
    return f"{_array_name(cfg)}{scored}_{ports}{methods}"


def _decode_name(cfg: Config) -> str:
    memory = f"w{cfg.weight_width}_r{cfg.rows}_k{cfg.k_max}_b{cfg.bus_width}x{cfg.tile_beats}"
    limits = f"q{cfg.outstanding}_d{cfg.address_width}_{cfg.selector.value}"
    return f"n{cfg.n_keep}m{cfg.m_group}_a{cfg.act_width}_{memory}_{limits}"


@dataclass(frozen=True)
class Top:
    """A unit that can be the top of a Verilog file.

    ``suffix`` names everything the unit's hardware depends on, so that two different files never share a name.
    """

    build: Callable[[Config], wiring.Component]
    suffix: Callable[[Config], str]
    summary: str


TOPS: dict[str, Top] = {
    "compressor": Top(Compressor, _compressor_name, "keeps the N largest of every M activations"),
    "decompressor": Top(Decompressor, _codec_name, "restores dense blocks from compressed ones"),
    "mac_array": Top(MacArray, _unit_array_name, "sparse MAC array, output stationary"),
    "linear": Top(LinearEngine, _linear_name, "linear-layer engine with AXI streams and registers"),
    "decode": Top(DecodeEngine, _decode_name, "decode engine: reads only the weights of kept channels, AXI4"),
    "dense_splitter": Top(DenseSplitter, _codec_name, "feeds dense blocks to the MAC array (dense mode)"),
}

LARGEST = "linear"
"""The unit that takes longest to generate; it contains all others but the decompressor."""


def chosen_tops(name: str) -> list[str]:
    """The units that ``name`` stands for: itself, or several for ``all`` and ``units``. Raises ConfigError."""
    if name == ALL:
        return list(TOPS)
    if name == UNITS:
        return [top for top in TOPS if top not in REGISTER_MAPS]
    find_top(name)
    return [name]


def find_top(name: str) -> Top:
    """The unit called ``name``. Raises ConfigError when there is none."""
    if name not in TOPS:
        raise ConfigError(f"TOP={name} is unknown: choose one of {', '.join([UNITS, ALL, *TOPS])}")
    return TOPS[name]


def settle(cfg: Config) -> Config:
    """The configuration with the generator's own choices made."""
    return cfg.replace(
        selector=resolve_selector(cfg),
        t_max=cfg.tokens_max,
        acts_per_beat=cfg.act_ports,
        weights_per_beat=cfg.weight_ports,
        results_per_beat=cfg.result_ports,
    )


def module_name(top: str, cfg: Config) -> str:
    """Verilog module name of a unit, for example ``flexnm_compressor_n8m16_a8_bitmask_rank``."""
    return f"flexnm_{top}_{find_top(top).suffix(settle(cfg))}"
