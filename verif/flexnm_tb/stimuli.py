"""Tokens and weights that benches feed: random ones, and the edge cases that break hardware."""

from __future__ import annotations

import random

import torch
from flexnm_rtl.config import Config


def edge_tokens(cfg: Config, k: int) -> torch.Tensor:
    """Tokens (edges, k), int32: all zero, all equal, most negative, alternating extremes, ramps, one hot."""
    low, high = -(1 << (cfg.act_width - 1)), (1 << (cfg.act_width - 1)) - 1
    index = torch.arange(k, dtype=torch.int32)
    ramp = index % (high + 1)
    return torch.stack(
        [
            torch.zeros(k, dtype=torch.int32),
            torch.full((k,), 3, dtype=torch.int32),
            torch.full((k,), low, dtype=torch.int32),
            torch.where(index % 2 == 0, low, high).to(torch.int32),
            torch.where(index % 2 == 0, high, -high).to(torch.int32),
            ramp,
            -ramp,
            torch.where(index % cfg.m_group == cfg.m_group - 1, low, 0).to(torch.int32),
            torch.where(index % cfg.m_group == 0, 1, 0).to(torch.int32),
        ]
    )


def random_numbers(rng: random.Random, shape: tuple[int, ...], width: int) -> torch.Tensor:
    """Signed ``width``-bit numbers, int32: uniform, or few distinct ones so that ties are frequent."""
    low, high = -(1 << (width - 1)), 1 << (width - 1)
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    if rng.random() < 0.3:
        low, high = -2, 3
    return torch.randint(low, high, shape, generator=generator, dtype=torch.int32)


def token_length(rng: random.Random, cfg: Config, most_blocks: int = 6) -> int:
    """A number of channels, about half of the time not a multiple of M."""
    k = rng.randint(1, most_blocks * cfg.m_group)
    return k if rng.random() < 0.5 else -(-k // cfg.m_group) * cfg.m_group
