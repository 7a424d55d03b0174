"""Random jobs of the linear engine: shapes, operands, tables and requantisation parameters that break hardware."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np
import torch
from flexnm_model import packing
from flexnm_model.compress import compress_for, pattern_config
from flexnm_model.matmul import dense_matmul, sparse_matmul
from flexnm_model.method_tables import ChannelTable
from flexnm_model.requantize import Requantization, parameter_bits
from flexnm_model.token_methods import compute
from flexnm_rtl.config import BIAS_WIDTH, CHANNEL_SHIFT_WIDTH, MULTIPLIER_WIDTH, SHIFT_WIDTH, Config, ceil_div

from flexnm_tb.engine_cycles import ideal_cycles
from flexnm_tb.engine_jobs import Job, Mode
from flexnm_tb.stimuli import edge_tokens, random_numbers, token_length


def random_shape(rng: random.Random, cfg: Config, mode: Mode, most_cycles: int) -> tuple[int, int, int]:
    """T, K, O of a job of at most ``most_cycles`` ideal cycles (or the smallest job, if that takes more)."""
    tokens_max = cfg.tokens_max_dense if mode.dense else cfg.tokens_max
    for _ in range(100):
        shape = (
            rng.randint(1, tokens_max),
            min(cfg.k_max, token_length(rng, cfg)),
            rng.choice([1, cfg.cols, rng.randint(1, 4 * cfg.cols), rng.randint(1, 8 * cfg.cols)]),
        )
        if ideal_cycles(cfg, *shape, dense=mode.dense) <= most_cycles:
            return shape
    return 1, 1, 1


def random_pattern(rng: random.Random, cfg: Config) -> tuple[int, int] | None:
    """N and M of a job of a flexible engine, the smallest and the largest often; None for a fixed one."""
    if not cfg.flexible:
        return None
    m = rng.choice(cfg.groups)
    most = cfg.most_kept(m)
    return (rng.choice([1, most, rng.randint(1, most)]), m) if most else (cfg.n_keep, cfg.m_group)


def soiled(rng: random.Random, packet: packing.Bytes, size: int, used: Sequence[int]) -> packing.Bytes:
    """A packet of slots of ``size`` bytes with garbage in the bits that are ignored.

    used: bits of each slot that count, repeated from the start when it ends.
    """
    slots = packet.reshape(-1, size)
    for slot, low in zip(slots, itertools.cycle(used), strict=False):
        garbage = rng.getrandbits(8 * size) >> low << low
        slot |= np.frombuffer(garbage.to_bytes(size, "little"), dtype=np.uint8)
    return packet


def random_job(
    rng: random.Random,
    cfg: Config,
    mode: Mode,
    shape: tuple[int, int, int],
    constants: tuple[int, int] | None = None,
    pattern: tuple[int, int] | None = None,
    activations: torch.Tensor | None = None,
) -> Job:
    """A job of this shape. Whatever only fills up the last block, group or tile is garbage in its packets.

    constants: all activations and all weights have these values. pattern: of a job of a flexible engine, by chance when
    left out. activations: (T, K), by chance when left out.
    """
    pattern = None if mode.dense else pattern or random_pattern(rng, cfg)
    pruned = pattern_config(cfg, pattern)
    tokens, channels, outputs = shape
    rows, cols = ceil_div(tokens, cfg.rows) * cfg.rows, ceil_div(outputs, cfg.cols) * cfg.cols
    padded = cfg.blocks(channels) * cfg.m_group
    width = channels if mode.compressed else padded  # in compressed blocks padding is the compressor's business
    x = random_numbers(rng, (rows, width), cfg.act_width)
    if rng.random() < 0.3:
        edges = edge_tokens(cfg, width)
        x[rng.randrange(rows)] = edges[rng.randrange(len(edges))]
    w = random_numbers(rng, (cols, padded), cfg.weight_width)
    real_x, real_w = x[:tokens, :channels], w[:outputs, :channels]
    if constants is not None:
        real_x[:], real_w[:] = constants
    if activations is not None:
        real_x[:] = activations
    row_sums = random_numbers(rng, (outputs,), cfg.row_sum_width).to(torch.int64)
    table, exponents = random_table(rng, cfg, channels), random_numbers(rng, (tokens,), 5).to(torch.int64) & 15
    if mode.factors and mode.variance and rng.random() < 0.3:
        real_x[rng.randrange(tokens)], table = lossy(cfg, channels)
    if mode.methods.any:
        zeros = torch.zeros(outputs, dtype=torch.int64)
        none = Requantization(zeros, zeros, zeros)
        sums = compute(real_x, real_w, pruned, mode.methods, table, exponents, none, row_sums).totals
    else:
        sums = (dense_matmul if mode.dense else sparse_matmul)(real_x, real_w, pruned)
    r = random_requantization(rng, sums, cfg.act_width)
    fill = [rng.getrandbits(cfg.parameter_bits) for _ in range(cols - outputs)]
    bits = [*parameter_bits(r, row_sums if cfg.token_shift else None), *fill] if mode.parameters else None
    if mode.compressed:
        acts = packing.pack_compressed(compress_for(x.to(torch.int32) << cfg.fraction_bits, cfg, pruned), cfg)
    else:
        acts = packing.pack_acts(x, cfg)
    packed = packing.pack_weights(w, cfg, bits)
    used = cfg.n_keep * cfg.value_width + cfg.metadata_width if mode.compressed else cfg.m_group * cfg.act_width
    acts = soiled(rng, acts, cfg.act_slot_bytes, [used])
    header = cfg.parameter_words * cfg.cols if mode.parameters else 0
    tile = [cfg.parameter_slice] * header + [cfg.m_group * cfg.weight_width] * (padded // cfg.m_group * cfg.cols)
    packed = soiled(rng, packed, cfg.weight_slot_bytes, tile)
    return Job(cfg, mode, real_x, real_w, r, row_sums, table, exponents, acts, packed, pattern)


def random_table(rng: random.Random, cfg: Config, channels: int) -> ChannelTable:
    """Factors and shifts, from small to the largest there are; the largest factor often."""
    top = (1 << cfg.factor_width) - 1
    factor = [rng.choice([top, *4 * [rng.getrandbits(rng.randint(0, cfg.factor_width))]]) for _ in range(channels)]
    width = rng.choice([4, cfg.act_width + 2, CHANNEL_SHIFT_WIDTH])
    shift = random_numbers(rng, (channels,), min(width, CHANNEL_SHIFT_WIDTH))
    return ChannelTable(torch.tensor(factor, dtype=torch.int64), shift.to(torch.int64))


def lossy(cfg: Config, channels: int) -> tuple[torch.Tensor, ChannelTable]:
    """A token whose large activations are dropped, and the table that sees to it: no gain can restore its variance."""
    index = torch.arange(channels)
    kept = index % cfg.m_group < cfg.n_keep
    low, high = -(1 << (cfg.act_width - 1)), (1 << (cfg.act_width - 1)) - 1
    token = torch.where(kept, 1 + index % 2, torch.where(index % 2 == 0, low, high))
    return token.to(torch.int32), ChannelTable(kept * ((1 << cfg.factor_width) - 1), torch.zeros_like(index))


def random_requantization(rng: random.Random, sums: torch.Tensor, width: int) -> Requantization:
    """Parameters for sums (T, O): results that fit ``width`` bits, some beyond, exact halves, and extremes."""
    columns = [_parameters(rng, column, width) for column in sums.T.tolist()]
    return Requantization(*(torch.tensor(values, dtype=torch.int64) for values in zip(*columns, strict=True)))


def _parameters(rng: random.Random, sums: list[int], width: int) -> tuple[int, int, int]:
    half = 1 << (BIAS_WIDTH - 1)
    size = max(map(abs, sums)).bit_length()
    kind = rng.choice(["fits", "halves", "any"])
    if kind == "fits":
        bias = rng.randint(-(1 << min(size, BIAS_WIDTH - 2)), 1 << min(size, BIAS_WIDTH - 2))
        shift = size + MULTIPLIER_WIDTH - width + rng.randint(-2, 3)
        return bias, rng.getrandbits(MULTIPLIER_WIDTH), min(max(shift, 0), (1 << SHIFT_WIDTH) - 1)
    if kind == "halves":
        # A bias that puts one token's sum exactly between two results.
        shift = max(1, size - width + 2)
        quotient = rng.randint(-(1 << (width - 1)) - 2, (1 << (width - 1)) + 1)
        bias = (2 * quotient + 1) * (1 << (shift - 1)) - rng.choice(sums)
        if -half <= bias < half:
            return bias, 1, shift
    bias = rng.choice([0, -half, half - 1, rng.randint(-half, half - 1)])
    return bias, rng.choice([0, 0xFFFF, rng.getrandbits(MULTIPLIER_WIDTH)]), rng.getrandbits(SHIFT_WIDTH)
