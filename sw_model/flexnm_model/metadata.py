"""Metadata of a compressed block: which N of M channels were kept. This docstring is the normative bit layout.

``bitmask``: M bits. Bit i is 1 when channel i of the block was kept; bit 0 is the least significant bit and the
lowest channel. Exactly N bits are 1. Example 2:4, channels 0 and 3 kept: ``0b1001``.

``index``: N fields of ``Config.index_width`` = max(1, ceil(log2 M)) bits. Field j, counted from the least significant
bit (bits ``j*index_width`` up to ``(j+1)*index_width - 1``), is the unsigned channel index of kept value j. Kept
values are in ascending channel order, so the fields strictly ascend. Example 2:4, channels 0 and 3: ``0b11_00``.

``enumerative``: max(1, ceil(log2 C(M, N))) bits, the fewest there can be: the unsigned rank of the mask among the
C(M, N) masks of the pattern. Kept channels c_0 < c_1 < .. < c_(N-1) have the rank C(c_0, 1) + C(c_1, 2) + .. +
C(c_(N-1), N), in ``0 .. C(M, N) - 1``, every number once; C(a, b) is 0 where b exceeds a. This is the combinatorial
number system of degree N (Knuth, The Art of Computer Programming 4A, 7.2.1.3; ranks ascend as bitmasks do), a case of
T. M. Cover, "Enumerative source encoding", IEEE Trans. Inf. Theory 19, 1973. Example 2:4, channels 0 and 3:
C(0, 1) + C(3, 2) = ``0b011``.

All accompany the N kept values in the same order: value j belongs to the j-th lowest kept channel. A word of M,
N * index_width or ceil(log2 C(M, N)) bits (32, 160 and 30 at most) is a Python int here; tensors carry a bitmask or a
rank as int64 and an index list as a row of indices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from flexnm_rtl.config import Config, ConfigError, Metadata


def mask_to_bits(mask: torch.Tensor) -> torch.Tensor:
    """Bool mask (…, M), M <= 32 -> int64 (…), bit i = element i."""
    places = torch.arange(mask.shape[-1], dtype=torch.int64, device=mask.device)
    return (mask.to(torch.int64) << places).sum(-1)


def bits_to_mask(bits: torch.Tensor, m: int) -> torch.Tensor:
    """int64 (…) -> bool mask (…, m). Raises ConfigError when a word has bits above ``m``."""
    if bool(((bits < 0) | (bits >> m != 0)).any()):
        raise ConfigError(f"a bitmask has bits beyond channel {m - 1}: it must be {m} bits wide")
    places = torch.arange(m, dtype=torch.int64, device=bits.device)
    return ((bits.unsqueeze(-1) >> places) & 1).bool()


def mask_to_indices(mask: torch.Tensor, n: int) -> torch.Tensor:
    """Bool mask (…, M) with ``n`` ones each -> int64 (…, n), the kept channels ascending.

    Raises ConfigError when a block does not keep exactly ``n``.
    """
    if bool((mask.sum(-1) != n).any()):
        raise ConfigError(f"a mask does not keep exactly N={n} channels of its block")
    return mask.nonzero()[:, -1].view(*mask.shape[:-1], n)


def indices_to_mask(indices: torch.Tensor, m: int) -> torch.Tensor:
    """int64 (…, N) strictly ascending in ``0 .. m-1`` -> bool mask (…, m). Raises ConfigError otherwise."""
    bad = bool(((indices < 0) | (indices >= m)).any()) or bool((indices.diff(dim=-1) <= 0).any())
    if bad:
        raise ConfigError(f"channel indices must ascend strictly and lie in 0 .. {m - 1}")
    mask = torch.zeros(*indices.shape[:-1], m, dtype=torch.bool, device=indices.device)
    return mask.scatter_(-1, indices, True)


def _binomials(m: int, n: int, device: torch.device) -> torch.Tensor:
    """C(channel, k) for channels ``0 .. m-1`` and k in ``0 .. n``: int64 (m, n + 1)."""
    rows = [[math.comb(channel, k) for k in range(n + 1)] for channel in range(m)]
    return torch.tensor(rows, dtype=torch.int64, device=device)


def indices_to_rank(indices: torch.Tensor, m: int) -> torch.Tensor:
    """int64 (…, N) strictly ascending in ``0 .. m-1``, m <= 32 -> int64 (…), the rank of their mask."""
    n = indices.shape[-1]
    position = torch.arange(n, device=indices.device)
    return _binomials(m, n, indices.device)[indices, position + 1].sum(-1)


def rank_to_mask(rank: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """int64 (…) -> bool mask (…, m), m <= 32, the one with ``n`` channels kept that has this rank.

    From the highest channel down, a channel is kept when the rank still reaches C(channel, values still to be placed).
    Raises ConfigError for a rank outside ``0 .. C(m, n) - 1``.
    """
    if bool(((rank < 0) | (rank >= math.comb(m, n))).any()):
        raise ConfigError(f"a rank is out of range: there are {math.comb(m, n)} masks of {n} channels out of {m}")
    table = _binomials(m, n, rank.device)
    mask = torch.zeros(*rank.shape, m, dtype=torch.bool, device=rank.device)
    left = torch.full_like(rank, n)
    for channel in reversed(range(m)):
        share = table[channel][left]
        kept = (left > 0) & (rank >= share)
        mask[..., channel] = kept
        rank, left = torch.where(kept, rank - share, rank), left - kept.to(left.dtype)
    return mask


def pack(mask: torch.Tensor, cfg: Config) -> list[int]:
    """Metadata words of all blocks in the format ``cfg.metadata``: bool (…, M) -> one unsigned int a block, flattened.

    Raises ConfigError when a mask is not ``M`` wide or does not keep exactly ``N``; in a flexible unit, more than N.
    """
    if mask.shape[-1] != cfg.m_group:
        raise ConfigError(f"a mask of {mask.shape[-1]} channels does not fit M={cfg.m_group}")
    if cfg.flexible and bool((mask.sum(-1) <= cfg.n_keep).all()):
        return [int(word) for word in mask_to_bits(mask).flatten().tolist()]
    indices = mask_to_indices(mask.reshape(-1, cfg.m_group), cfg.n_keep)
    if cfg.metadata is Metadata.BITMASK:
        return [int(word) for word in mask_to_bits(mask).flatten().tolist()]
    if cfg.metadata is Metadata.ENUMERATIVE:
        return [int(word) for word in indices_to_rank(indices, cfg.m_group).tolist()]
    width = cfg.index_width
    return [sum(channel << (j * width) for j, channel in enumerate(row)) for row in indices.tolist()]


def unpack(words: Iterable[int], cfg: Config) -> torch.Tensor:
    """Masks (blocks, M), bool, of metadata words in the format ``cfg.metadata``.

    Raises ConfigError for a word that is too wide, keeps another number than ``N``, is no rank of the pattern, or whose
    indices do not ascend.
    """
    flat = list(words)
    if any(not 0 <= word < 1 << cfg.metadata_width for word in flat):
        raise ConfigError(f"a metadata word is out of range: it must be an unsigned {cfg.metadata_width}-bit number")
    if cfg.metadata is Metadata.BITMASK:
        mask = bits_to_mask(torch.tensor(flat, dtype=torch.int64), cfg.m_group)
        mask_to_indices(mask, cfg.n_keep)
        return mask
    if cfg.metadata is Metadata.ENUMERATIVE:
        return rank_to_mask(torch.tensor(flat, dtype=torch.int64), cfg.n_keep, cfg.m_group)
    field = (1 << cfg.index_width) - 1
    rows = [[word >> (j * cfg.index_width) & field for j in range(cfg.n_keep)] for word in flat]
    return indices_to_mask(torch.tensor(rows, dtype=torch.int64).view(len(flat), cfg.n_keep), cfg.m_group)
