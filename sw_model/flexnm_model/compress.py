"""Compressed blocks, as the compression unit sends them: N values and the positions they came from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from flexnm_rtl.config import Config, ConfigError

from flexnm_model.metadata import mask_to_indices
from flexnm_model.select import INTEGER_DTYPES, pad_channels, select_blocks


@dataclass(frozen=True)
class Compressed:
    """Tokens of ``k`` channels in blocks of M, of which N are kept.

    values: (…, blocks, N), the input's dtype, ascending channel order.
    mask: bool (…, blocks, M), element i = channel i of the block; exactly N ones (on the zero padding of the last
    block too when it has fewer than N real channels).
    k: channels before padding.
    """

    values: torch.Tensor
    mask: torch.Tensor
    k: int


def pattern_config(cfg: Config, pattern: tuple[int, int] | None) -> Config:
    """The fixed configuration that computes what a flexible one computes for N and M = ``pattern``.

    pattern: the unit's own N and M when left out, which is all that one that is not flexible can do. Raises ConfigError
    for a pattern that the unit has no room or no blocks for.
    """
    n, m = (cfg.n_keep, cfg.m_group) if pattern is None else pattern
    if not cfg.flexible:
        if (n, m) != (cfg.n_keep, cfg.m_group):
            raise ConfigError(f"pattern {n}:{m} is not that of the unit, {cfg.pattern}: build it with FLEXIBLE=1")
        return cfg
    if m not in cfg.groups:
        raise ConfigError(f"pattern {n}:{m} does not fit the unit: choose M = {', '.join(map(str, cfg.groups))}")
    most = cfg.most_kept(m)
    if not 1 <= n <= most:
        raise ConfigError(f"pattern {n}:{m} does not fit the unit: choose N from 1 to {most} for M={m}")
    return cfg.replace(flexible=False, n_keep=n, m_group=m, lanes=1, acts_per_beat=0, weights_per_beat=0, t_max=0)


def compress_for(x: torch.Tensor, cfg: Config, pruned: Config, scores: torch.Tensor | None = None) -> Compressed:
    """``x`` compressed to the pattern of ``pruned``, in the blocks of the unit ``cfg``: see ``pattern_config``.

    In a flexible unit blocks of a smaller M lie side by side; values that there are not are 0, after those that there
    are.
    """
    if not cfg.flexible:
        return compress(x, pruned, scores)
    padded = None if scores is None else pad_channels(scores, cfg.m_group)
    small = compress(pad_channels(x, cfg.m_group), pruned, padded)
    shape = (*small.mask.shape[:-2], -1)
    mask = small.mask.reshape(*shape, cfg.m_group)
    values = small.values.reshape(*shape, cfg.kept(pruned.n_keep, pruned.m_group))
    return Compressed(torch.nn.functional.pad(values, (0, cfg.n_keep - values.shape[-1])), mask, x.shape[-1])


def check_range(name: str, values: torch.Tensor, width: int) -> None:
    """Raise ConfigError unless integer ``values`` (int8, int16, int32, int64) fit ``width``-bit two's complement."""
    if values.dtype not in (*INTEGER_DTYPES, torch.int64):
        raise ConfigError(f"{name} are {values.dtype}: signed integers are needed (quantise them first)")
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    if values.numel() and (int(values.min()) < low or int(values.max()) > high):
        raise ConfigError(f"{name} do not fit {width} bits: they must lie in {low} .. {high}")


def compress(x: torch.Tensor, cfg: Config, scores: torch.Tensor | None = None) -> Compressed:
    """Keep the ``cfg.n_keep`` channels of each block with the largest score.

    x: (…, K), signed integers of ``cfg.value_width`` bits, or floats. scores: same shape as ``x``, ranked by magnitude;
    ``x`` itself when left out. Raises ConfigError for integers out of range, shapes that differ, and what
    ``select_blocks`` rejects.
    """
    if not x.is_floating_point():
        check_range("activations", x, cfg.value_width)
        x = x.to(torch.int32) if x.dtype == torch.int64 else x
    if scores is not None and scores.shape != x.shape:
        raise ConfigError(f"scores {tuple(scores.shape)} differ from activations {tuple(x.shape)}: shapes must match")
    mask = select_blocks(x if scores is None else scores, cfg.n_keep, cfg.m_group)
    values = pad_channels(x, cfg.m_group).reshape(mask.shape)[mask]
    return Compressed(values.view(*mask.shape[:-1], cfg.n_keep), mask, x.shape[-1])


def decompress(compressed: Compressed) -> torch.Tensor:
    """Dense (…, K) again: kept values in their channels, zero elsewhere. Raises ConfigError if the mask differs."""
    values, mask = compressed.values, compressed.mask
    indices = mask_to_indices(mask, values.shape[-1])
    dense = torch.zeros(mask.shape, dtype=values.dtype, device=values.device).scatter_(-1, indices, values)
    return dense.flatten(-2)[..., : compressed.k]
