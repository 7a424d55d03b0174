"""How many cycles a job of the linear engine takes when its streams never pause."""

from __future__ import annotations

from flexnm_model.cost import array_blocks, ideal_cycles
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.dense_split import DenseSplitter
from flexnm_rtl.enumerative import decoder_stages, unranked
from flexnm_rtl.epilogue import Epilogue, row_cycles
from flexnm_rtl.feeder import Feeder
from flexnm_rtl.mac_array import step_latency
from flexnm_rtl.preparation import Preparation

from flexnm_tb.elaboratables import latency_of

__all__ = [
    "array_blocks",
    "drain_cycles",
    "fill_cycles",
    "ideal_cycles",
    "results_keep_up",
    "unstalled_cycles",
]


def fill_cycles(cfg: Config, *, dense: bool = False, compressed: bool = False, parameters: bool = False) -> int:
    """Cycles from start to the first multiplication, and those a product takes from there to the results' registers.

    The first block of all rows and that of all columns arrive side by side, the latter after the parameters.
    """
    act_chunks, weight_chunks = cfg.rows // cfg.act_ports, cfg.cols // cfg.weight_ports
    if dense:
        acts = (act_chunks - 1) * cfg.dense_beats + 1 + DenseSplitter.latency
    else:
        acts = act_chunks + (_decoder_latency(cfg) if compressed else latency_of(Compressor, unranked(cfg)))
    weights = weight_chunks * (1 + (cfg.parameter_words if parameters else 0))
    through_memory, to_results = Feeder.latency + 2, step_latency(cfg) + 1
    return max(acts + latency_of(Preparation, cfg), weights) + through_memory + to_results


def drain_cycles(cfg: Config, tokens: int) -> int:
    """Cycles in which the last group's results leave."""
    last_group = (tokens - 1) % cfg.rows + 1
    last_row = cfg.cols // cfg.result_ports
    return (last_group - 1) * row_cycles(cfg) + last_row + latency_of(Epilogue, cfg)


def results_keep_up(cfg: Config, channels: int, *, dense: bool = False) -> bool:
    """Whether a group's results have left before those of the next one are there, so that the array never waits."""
    group = cfg.blocks(channels) * cfg.steps * (cfg.dense_beats if dense else 1)
    corrected = int(cfg.shifts or cfg.variance)
    return group >= cfg.rows * row_cycles(cfg) + step_latency(cfg) + 1 + corrected


def unstalled_cycles(
    cfg: Config,
    tokens: int,
    channels: int,
    outputs: int,
    *,
    dense: bool = False,
    compressed: bool = False,
    parameters: bool = False,
    n: int | None = None,
) -> int:
    """Cycles of a job, from start to the last result, when no stream ever pauses and ``results_keep_up``.

    n: values kept of a block of a flexible engine. The job uses no method that changes values or sums (those that
    measure tokens first take longer).
    With parameters and a single group of tokens, ``parameter_words`` more beats a tile may make the weights late.
    """
    fill = fill_cycles(cfg, dense=dense, compressed=compressed, parameters=parameters)
    return fill + ideal_cycles(cfg, tokens, channels, outputs, dense=dense, n=n) + drain_cycles(cfg, tokens)


def _decoder_latency(cfg: Config) -> int:
    """Of what turns ranks into bitmasks where compressed blocks arrive."""
    return len(decoder_stages(cfg)) if cfg.metadata is Metadata.ENUMERATIVE else 0
