"""What a flexible unit computes for each of its patterns, against the scalar reference block by block."""

from __future__ import annotations

import pytest
import torch
from flexnm_model import metadata, reference
from flexnm_model.compress import Compressed, compress, compress_for, decompress, pattern_config
from flexnm_rtl.config import Config, ConfigError

UNIT = Config(n_keep=16, m_group=32, lanes=8, flexible=True)
FIXED = Config(n_keep=8, m_group=16, lanes=4)
PATTERNS = [(16, 32), (3, 32), (1, 32), (8, 16), (5, 16), (1, 16), (4, 8), (3, 8), (2, 4), (1, 4)]


def integers(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randint(-128, 128, shape, generator=torch.Generator().manual_seed(seed)).to(torch.int8)


def expected(token: list[int], scores: list[int], n: int, m: int) -> tuple[list[list[int]], list[list[bool]]]:
    """Values (N_max each) and mask (M_max each) of every block of the unit, for one token."""
    values, masks = [], []
    for block, ranked in zip(reference.pad_token(token, 32), reference.pad_token(scores, 32), strict=True):
        mask = [keep for at in range(0, 32, m) for keep in reference.select(ranked[at : at + m], n)]
        kept = [value for value, keep in zip(block, mask, strict=True) if keep]
        values.append(kept + [0] * (16 - len(kept)))
        masks.append(mask)
    return values, masks


@pytest.mark.parametrize("k", [64, 45, 7])
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("n, m", PATTERNS)
def test_small_blocks_lie_side_by_side(n: int, m: int, scored: bool, k: int) -> None:
    x, scores = integers((2, 3, k), seed=k), integers((2, 3, k), seed=k + 1)
    got = compress_for(x, UNIT, pattern_config(UNIT, (n, m)), scores if scored else None)
    ranked = scores if scored else x
    for i in range(2):
        for t in range(3):
            values, masks = expected(x[i, t].tolist(), ranked[i, t].tolist(), n, m)
            assert got.values[i, t].tolist() == values
            assert got.mask[i, t].tolist() == masks
    assert got.k == k
    assert got.values.dtype == x.dtype


@pytest.mark.parametrize("scored", [False, True])
def test_a_fixed_unit_has_one_pattern(scored: bool) -> None:
    x, scores = integers((3, 40), seed=1), integers((3, 40), seed=2) if scored else None
    got, plain = compress_for(x, FIXED, pattern_config(FIXED, None), scores), compress(x, FIXED, scores)
    assert torch.equal(got.values, plain.values)
    assert torch.equal(got.mask, plain.mask)
    assert (got.k, plain.k) == (40, 40)


def test_the_configuration_of_a_pattern() -> None:
    assert pattern_config(FIXED, None) is FIXED
    assert pattern_config(FIXED, (8, 16)) is FIXED
    for n, m in PATTERNS:
        fixed = pattern_config(UNIT.replace(t_max=64, acts_per_beat=4, weights_per_beat=4), (n, m))
        assert fixed == UNIT.replace(flexible=False, n_keep=n, m_group=m, lanes=1)
    assert pattern_config(UNIT, None) == UNIT.replace(flexible=False, lanes=1)


@pytest.mark.parametrize(
    "unit, pattern, text",
    [
        (FIXED, (4, 16), "pattern 4:16 is not that of the unit, 8:16: build it with FLEXIBLE=1"),
        (FIXED, (8, 32), "pattern 8:32 is not that of the unit, 8:16: build it with FLEXIBLE=1"),
        (UNIT, (2, 2), "pattern 2:2 does not fit the unit: choose M = "),
        (UNIT, (8, 12), "pattern 8:12 does not fit the unit: choose M = "),
        (UNIT, (0, 16), "pattern 0:16 does not fit the unit: choose N from 1 to 8 for M=16"),
        (UNIT, (9, 16), "pattern 9:16 does not fit the unit: choose N from 1 to 8 for M=16"),
        (UNIT, (17, 32), "pattern 17:32 does not fit the unit: choose N from 1 to 16 for M=32"),
    ],
)
def test_a_pattern_that_does_not_fit_is_refused(unit: Config, pattern: tuple[int, int], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        pattern_config(unit, pattern)
    assert str(error.value).startswith(text)


def test_metadata_of_fewer_than_n_is_a_bitmask_in_a_flexible_unit_only() -> None:
    x = integers((4, 64), seed=3)
    few = compress_for(x, UNIT, pattern_config(UNIT, (1, 16))).mask
    full = compress_for(x, UNIT, pattern_config(UNIT, (16, 32))).mask
    for mask in (few, full, torch.cat((few, full))):
        words = metadata.pack(mask, UNIT)
        assert words == [sum(1 << i for i, keep in enumerate(row) if keep) for row in mask.view(-1, 32).tolist()]
    with pytest.raises(ConfigError, match="exactly N=16"):
        metadata.pack(few, UNIT.replace(flexible=False))
    many = full.clone()
    many[0, 0] = True
    with pytest.raises(ConfigError, match="exactly N=16"):
        metadata.pack(many, UNIT)


def test_decompressing_takes_the_mask_of_a_fixed_block() -> None:
    few = compress_for(integers((2, 32), seed=4), UNIT, pattern_config(UNIT, (2, 8)))
    with pytest.raises(ConfigError, match="exactly N=16"):
        decompress(Compressed(few.values, few.mask, 32))
