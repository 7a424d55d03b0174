"""What a sparse linear layer costs the engines: multiplications, cycles of ``linear``, bytes ``decode`` reads.

N may be another than the configuration's: a block of N kept values takes ``ceil(N / lanes)`` cycles of the array, and
makes the decode engine read N rows of weights.
"""

from __future__ import annotations

from flexnm_rtl.config import Config, ceil_div


def kept_channels(channels: int, n: int, m: int) -> int:
    """Channels of a token that are kept: N of each block of M, of the last block at most those it has."""
    full, rest = divmod(channels, m)
    return full * n + min(n, rest)


def multiplications(channels: int, outputs: int, n: int, m: int) -> int:
    """Multiplications of a token: each kept channel meets every output."""
    return kept_channels(channels, n, m) * outputs


def array_blocks(cfg: Config, tokens: int, channels: int, outputs: int) -> int:
    """Blocks of channels the array takes in a job: groups of tokens x tiles of outputs x blocks of a token."""
    return ceil_div(tokens, cfg.rows) * ceil_div(outputs, cfg.cols) * cfg.blocks(channels)


def ideal_cycles(
    cfg: Config, tokens: int, channels: int, outputs: int, *, dense: bool = False, n: int | None = None
) -> int:
    """Cycles in which the array multiplies; no job takes less. n: kept in a block, ``n_keep`` when left out."""
    steps = cfg.steps if n is None else ceil_div(n, cfg.lanes)
    return array_blocks(cfg, tokens, channels, outputs) * (cfg.steps * cfg.dense_beats if dense else steps)


def decode_bytes(cfg: Config, channels: int, outputs: int, n: int) -> int:
    """Bytes of weights the decode engine reads for one token: of each kept channel, whole beats for all outputs.

    The padding of the last block has no weights, so nothing is read for it; nor are the empty beats of the last tile.
    """
    beats = ceil_div(outputs, cfg.weights_per_bus)
    return kept_channels(channels, n, cfg.m_group) * beats * cfg.bus_width // 8
