"""N:M selection on PyTorch tensors: which channels of each block are kept.

The rule (scalar statement: ``reference.select``): of every M consecutive channels keep exactly the N with the largest
magnitude; among equal magnitudes the lower channel index wins.

How: only the N-th largest magnitude of each block is needed, then one comparison gives the mask. Blocks are laid side
by side, one row per channel of the block, so that a comparator of a sorting network is two vector instructions
over all blocks. Both halves of the block are sorted (Batcher's odd-even merge sort, comparators that cannot reach
ranks 1..N left out) and the N-th largest of two sorted lists a, b is ``max over i + j = N of min(a_i, b_j)`` with
``a_0 = b_0 = infinity``. Where the threshold is tied the index rule is applied to those blocks alone; integer
magnitudes are made unique first (magnitude, then the reversed channel index), so they never tie.
"""

from __future__ import annotations

import functools
import math

import torch
from flexnm_rtl.config import MAX_GROUP, ConfigError, ceil_div

INTEGER_DTYPES = (torch.int8, torch.int16, torch.int32)
FLOAT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Large enough for torch to use its threads, small enough for the rows of the network to stay in the cache. It also
# keeps the float32 count of kept channels exact (below 2**24).
_CHUNK_ELEMENTS = 1 << 19


def check_pattern(n: int, m: int) -> None:
    """Raise ConfigError unless ``1 <= n <= m <= 32``; M = 1 is allowed (everything is kept)."""
    if not (1 <= n <= m <= MAX_GROUP):
        raise ConfigError(f"pattern {n}:{m} cannot be selected: N:M needs 1 <= N <= M <= {MAX_GROUP}")


def magnitude(values: torch.Tensor) -> torch.Tensor:
    """``|values|``, same shape, in a type that holds it: int8 -128 becomes 128.

    int8 -> int16, int16 -> int32, int32 -> int64; float16 and bfloat16 -> float32 (exact); float32 and float64 stay.
    Raises ConfigError for any other dtype.
    """
    wider = {torch.int8: torch.int16, torch.int16: torch.int32, torch.int32: torch.int64}
    if values.dtype in wider:
        return values.to(wider[values.dtype]).abs_()
    if values.dtype in FLOAT_DTYPES:
        return values.to(torch.promote_types(values.dtype, torch.float32)).abs()
    raise ConfigError(f"scores of type {values.dtype} cannot be ranked: use float16/32/64, bfloat16 or int8/16/32")


def pad_channels(values: torch.Tensor, m: int) -> torch.Tensor:
    """``values`` (…, K) with zeros appended until K is a multiple of ``m``; the tensor itself if it already is."""
    missing = -values.shape[-1] % m
    return torch.nn.functional.pad(values, (0, missing)) if missing else values


def select_blocks(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Mask of every block, padding included, as the hardware computes it.

    scores: (…, K), ranked by magnitude, so signed activations may be passed as they are; infinity ranks highest.
    Returns bool (…, ceil(K / m), m) with exactly ``n`` ones in each block; element i of a block is channel i. The last
    block is padded with zero scores, and padding is kept only when fewer than ``n`` real channels are left.
    Raises ConfigError for a bad pattern, a dtype that cannot be ranked, a scalar, or a NaN.
    """
    check_pattern(n, m)
    if scores.dim() == 0:
        raise ConfigError("scores are a single number: a tensor of shape (…, K) is needed")
    padded = pad_channels(scores, m)
    blocks = padded.reshape(-1, m)
    mask = torch.cat([_marks(part, n)[0].bool() for part in _chunks(blocks)])
    return mask.view(*scores.shape[:-1], padded.shape[-1] // m, m)


def select(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Mask of the kept channels, bool, same shape (…, K) as ``scores``; see ``select_blocks`` for the rule and errors.

    When K is not a multiple of ``m`` the last block may show fewer than ``n`` ones: the rest fell on padding.
    """
    mask = select_blocks(scores, n, m).flatten(-2)
    return mask[..., : scores.shape[-1]]


def prune(values: torch.Tensor, n: int, m: int, scores: torch.Tensor | None = None) -> torch.Tensor:
    """``values`` (…, K) with zero wherever ``select`` keeps nothing: same shape and dtype, a new tensor, same errors.

    scores: (…, K) to rank instead of the values, for instance the values times a factor for each channel.
    The same as ``torch.where(select(scores, n, m), values, 0)``, in half the time. No gradient passes.
    """
    check_pattern(n, m)
    if values.dim() == 0:
        raise ConfigError("values are a single number: a tensor of shape (…, K) is needed")
    if values.is_cuda and scores is None:
        from flexnm_model import gpu  # itself a user of this module

        if gpu.possible(values, m):
            return gpu.prune(values.detach(), n, m)
    padded = pad_channels(values.detach(), m)
    ranked = padded if scores is None else pad_channels(scores.detach(), m)
    if ranked.shape != padded.shape:
        raise ConfigError(f"scores of shape {tuple(ranked.shape)} do not fit values of shape {tuple(padded.shape)}")
    parts = []
    for part, rank in zip(_chunks(padded.reshape(-1, m)), _chunks(ranked.reshape(-1, m)), strict=True):
        marks, finite = _marks(rank, n)
        # infinity * 0 is NaN; finite scores of another tensor say nothing about the values
        parts.append(marks.mul_(part) if finite and scores is None else torch.where(marks.bool(), part, 0))
    kept = parts[0] if len(parts) == 1 else torch.cat(parts)
    return kept.to(values.dtype).view(padded.shape)[..., : values.shape[-1]]


def _chunks(blocks: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Even chunks of whole blocks, one at least."""
    return torch.tensor_split(blocks, max(1, ceil_div(blocks.numel(), _CHUNK_ELEMENTS)))


def _marks(blocks: torch.Tensor, n: int) -> tuple[torch.Tensor, bool]:
    """1 where kept and 0 elsewhere, (B, M), and whether every dropped value is sure to be finite."""
    # Comparing in place gives 0 and 1 in the scores' own type, several times faster in torch than a bool result.
    scores = magnitude(blocks)
    if not scores.is_floating_point():
        keys = _unique_keys(scores)
        return keys.ge_(nth_largest(keys, n).unsqueeze(1)), True
    threshold = nth_largest(scores, n).unsqueeze(1)
    # torch.minimum and maximum pass NaN on, so a block with one has a NaN threshold; magnitudes never sum to NaN.
    total = float(threshold.sum())
    if math.isnan(total):
        raise ConfigError("scores contain NaN: selection needs numbers (infinity is allowed)")
    marks = scores.ge_(threshold)
    if int(marks.sum()) != n * marks.shape[0]:
        tied = (marks.sum(1) > n).nonzero().squeeze(1)
        marks[tied] = resolve_ties(magnitude(blocks[tied]), threshold[tied], n).to(marks.dtype)
    return marks, math.isfinite(total)


def resolve_ties(scores: torch.Tensor, threshold: torch.Tensor, n: int) -> torch.Tensor:
    """Mask of ``n`` of each row of scores (B, M), threshold (B, 1) their n-th largest: lower indices win ties."""
    above = scores > threshold
    equal = scores == threshold
    free = n - above.sum(1, keepdim=True)
    return above | (equal & (equal.cumsum(1) <= free))


def _unique_keys(scores: torch.Tensor) -> torch.Tensor:
    wide = torch.int64 if scores.dtype == torch.int64 else torch.int32
    last = MAX_GROUP - 1
    reversed_index = torch.arange(last, last - scores.shape[1], -1, dtype=wide, device=scores.device)
    return (scores.to(wide) << last.bit_length()) | reversed_index


def nth_largest(blocks: torch.Tensor, n: int) -> torch.Tensor:
    """The ``n``-th largest of each row: (B, M) non-negative numbers -> (B,), NaN if the row holds one."""
    count, m = blocks.shape
    half = 1 << max(0, (m - 1).bit_length() - 1)
    # Row i of the network is channels i and i + half; one spare row lets a comparator write beside its inputs.
    rows = blocks.new_empty((half + 1, 2, count))
    rows[:half, 0].copy_(blocks[:, :half].t())
    rows[: m - half, 1].copy_(blocks[:, half:].t())
    rows[m - half : half, 1] = -1
    wires = list(rows.unbind(0))
    spare = wires.pop()
    for high, low, need_low in network(half, min(n, half)):
        a, b = wires[high], wires[low]
        if need_low:
            torch.minimum(a, b, out=spare)
            wires[low], spare = spare, b
        torch.maximum(a, b, out=a)
    return _merge_rank([w[0] for w in wires], [w[1] for w in wires], n)


def _merge_rank(a: list[torch.Tensor], b: list[torch.Tensor], n: int) -> torch.Tensor:
    """The ``n``-th largest of two descending lists, in one instruction for each pair ``a_i, b_j``.

    The running maximum r never exceeds the next b_j, so ``max(r, min(a_i, b_j))`` is a_i clamped to ``r .. b_j``.
    """
    first = max(0, n - len(b))
    result = b[n - 1] if first == 0 else torch.minimum(a[first - 1], b[-1])
    for i in range(first + 1, min(n, len(a)) + 1):
        j = n - i
        result = torch.clamp(a[i - 1], min=result, max=b[j - 1]) if j else torch.maximum(result, a[i - 1])
    return result


@functools.cache
def network(size: int, ranks: int) -> tuple[tuple[int, int, bool], ...]:
    """Comparators (high, low, low used) that leave the ``ranks`` largest of ``size`` wires on wires 0, 1, … in order.

    size: a power of two. A comparator puts the larger value on wire ``high``. Source: Batcher's odd-even merge sort
    (Knuth, TAOCP 3, algorithm 5.2.2M), walked backwards to drop what no wanted wire depends on.
    """
    comparators: list[tuple[int, int]] = []
    p = 1
    while p < size:
        k = p
        while k >= 1:
            for j in range(k % p, size - k, 2 * k):
                pairs = ((i, i + k) for i in range(j, j + min(k, size - j - k)))
                comparators += [(a, b) for a, b in pairs if a // (2 * p) == b // (2 * p)]
            k //= 2
        p *= 2
    live = set(range(ranks))
    kept: list[tuple[int, int, bool]] = []
    for high, low in reversed(comparators):
        # Of no use either when only the smaller value is wanted: the tests prove it for every size and rank in use.
        if high in live:
            kept.append((high, low, low in live))
            live.add(low)
    return tuple(reversed(kept))
