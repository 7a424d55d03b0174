"""Command-line options that make up a configuration, shared by every command that takes one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from flexnm_rtl.config import Config, ConfigError, Metadata, ScoreFactor, Selector
from flexnm_rtl.presets import DEFAULT_PRESET, preset

_OPTIONS: list[tuple[str, str, type, str]] = [
    ("--n", "n_keep", int, "Channels kept of every M (N)."),
    ("--m", "m_group", int, "Channels in a block (M), 2 to 32."),
    ("--flexible", "flexible", int, "1: any N of M = 4, 8, 16, 32 at run time, up to N and M."),
    ("--width", "width", int, "Bits of activations and weights, 4 to 16."),
    ("--weight-width", "weight_width", int, "Bits of weights, where they differ from --width."),
    ("--rows", "rows", int, "Rows of the MAC array: tokens at a time."),
    ("--cols", "cols", int, "Columns of the MAC array: outputs at a time."),
    ("--lanes", "lanes", int, "Multipliers in a processing element; divides N.  [default: N]"),
    ("--k-max", "k_max", int, "Largest number of input channels; sizes the accumulator."),
    ("--t-max", "t_max", int, "Largest number of tokens in a job of the engine.  [default: 64 or more]"),
    ("--acts-per-beat", "acts_per_beat", int, "Blocks of activations in a beat of the engine; divides rows."),
    ("--weights-per-beat", "weights_per_beat", int, "Blocks of weights in a beat of the engine; divides cols."),
    ("--results-per-beat", "results_per_beat", int, "Results in a beat of the engine; divides cols."),
    (
        "--score-factor",
        "score_factor",
        str,
        f"Factors of the scores by channel: {', '.join(f.value for f in ScoreFactor)}.",
    ),
    ("--factor-width", "factor_width", int, "Bits of a factor.  [default: 8 to multiply, 3 to shift]"),
    ("--static-shift", "static_shift", int, "1: the engine shifts values by channel (S-PTS, L-PTS)."),
    ("--token-shift", "token_shift", int, "1: the engine shifts values by their token's mean (D-PTS)."),
    ("--variance", "variance", int, "1: the engine gives back the variance that the selection takes (VAR)."),
    ("--fraction-bits", "fraction_bits", int, "Bits of shifted values below the activations' unit, 0 to 4."),
    ("--bus-width", "bus_width", int, "Bits of the decode engine's memory bus: 64, 128, 256 or 512."),
    ("--tile-beats", "tile_beats", int, "Beats of a row of its weights in memory; a power of two."),
    ("--outstanding", "outstanding", int, "Bursts it has under way at a time, 2 to 256."),
    ("--address-width", "address_width", int, "Bits of its memory addresses, 16 to 64."),
    ("--metadata", "metadata", str, f"Metadata format: {', '.join(m.value for m in Metadata)}."),
    ("--selector", "selector", str, f"Selection hardware: {', '.join(s.value for s in Selector)}."),
]

_CHOSEN_FROM = {
    "acts_per_beat": {"rows", "lanes", "n_keep"},
    "weights_per_beat": {"cols", "lanes", "n_keep"},
    "results_per_beat": {"cols"},
}


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--preset``, ``--config`` and one option per setting; ``make_config`` reads them."""
    for flag, name, kind, text in reversed(_OPTIONS):
        command = click.option(flag, name, type=kind, multiple=True, callback=_once, help=text)(command)
    command = click.option(
        "--config", "config_file", type=click.Path(path_type=Path), help="JSON file: settings, or a manifest."
    )(command)
    return click.option(
        "--preset", "preset_name", help=f"Start from a named configuration.  [default: {DEFAULT_PRESET}]"
    )(command)


def make_config(preset_name: str | None, config_file: Path | None, **settings: Any) -> Config:
    """The configuration of a command line: preset or file, then single settings on top.

    When N is given without lanes, lanes becomes N. A stream's width that a file fixes is chosen anew when the array it
    feeds is changed. Raises ConfigError.
    """
    if preset_name is not None and config_file is not None:
        raise ConfigError("--preset and --config exclude each other: give one of them")
    base = _from_file(config_file) if config_file is not None else preset(preset_name or DEFAULT_PRESET)
    given = {name: value for name, value in settings.items() if value is not None}
    width = given.pop("width", None)
    if width is not None:
        given = {"act_width": width, "weight_width": width, **given}
    if "n_keep" in given and "lanes" not in given:
        given["lanes"] = given["n_keep"]
    if "score_factor" in given and "factor_width" not in given:
        given["factor_width"] = 0
    given = {name: 0 for name, causes in _CHOSEN_FROM.items() if causes & given.keys()} | given
    return Config.from_dict({**base.as_dict(), **given})


def _from_file(path: Path) -> Config:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    fields = content.get("config", content) if isinstance(content, dict) else None
    if not isinstance(fields, dict):
        raise ConfigError(f"{path} holds no JSON object: expected settings by name, or a manifest")
    return Config.from_dict(fields)


def _once(_ctx: click.Context, _param: click.Parameter, values: tuple[Any, ...]) -> Any:
    if len(values) > 1:
        raise click.BadParameter(f"given {len(values)} times, once is enough.")
    return values[0] if values else None
