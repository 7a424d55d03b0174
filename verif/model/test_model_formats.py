"""Metadata formats and compressed blocks against the scalar reference."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from flexnm_model import metadata, reference
from flexnm_model.compress import Compressed, compress, decompress
from flexnm_model.select import select, select_blocks
from flexnm_rtl.config import Config, ConfigError, Metadata

PATTERNS = [(2, 4), (4, 8), (8, 16), (16, 32), (1, 2), (1, 16), (3, 5), (7, 7), (31, 32), (32, 32), (3, 7), (5, 17)]
FORMATS = list(Metadata)


def config(n: int, m: int, metadata: Metadata = Metadata.BITMASK, width: int = 8) -> Config:
    return Config(n_keep=n, m_group=m, lanes=1, metadata=metadata, act_width=width)


def integers(width: int, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(-(1 << (width - 1)), 1 << (width - 1), shape, generator=g).to(torch.int16)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("n, m", PATTERNS)
def test_metadata_round_trip_equals_reference(n: int, m: int, fmt: Metadata) -> None:
    cfg = config(n, m, fmt)
    masks = select_blocks(torch.randn(50, 4 * m, generator=torch.Generator().manual_seed(m)), n, m).view(-1, m)
    words = metadata.pack(masks, cfg)
    assert words == [reference.pack(mask, fmt) for mask in masks.tolist()]
    assert all(0 <= word < 1 << cfg.metadata_width for word in words)
    assert torch.equal(metadata.unpack(words, cfg), masks)
    assert [reference.unpack(word, n, m, fmt) for word in words] == masks.tolist()


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_mask_of_small_patterns(fmt: Metadata) -> None:
    small = [(n, m) for m in range(2, 9) for n in range(1, m + 1)]
    for n, m in [*small, (8, 16)] if fmt is Metadata.ENUMERATIVE else small:
        chosen = list(itertools.combinations(range(m), n))
        masks = torch.zeros(len(chosen), m, dtype=torch.bool)
        masks[torch.arange(len(chosen)).unsqueeze(1), torch.tensor(chosen)] = True
        words = metadata.pack(masks, config(n, m, fmt))
        assert len(set(words)) == len(chosen)
        if fmt is Metadata.ENUMERATIVE:  # every number once, in the order of the bitmasks
            bitmasks = metadata.mask_to_bits(masks)
            assert torch.equal(torch.tensor(words)[bitmasks.argsort()], torch.arange(len(chosen)))
        assert torch.equal(metadata.unpack(words, config(n, m, fmt)), masks)


def test_bit_layout_examples_of_the_docstring() -> None:
    mask = torch.tensor([[True, False, False, True]])
    assert metadata.pack(mask, config(2, 4)) == [0b1001]
    assert metadata.pack(mask, config(2, 4, Metadata.INDEX)) == [0b11_00]
    assert metadata.pack(mask, config(2, 4, Metadata.ENUMERATIVE)) == [0b011]
    full = torch.tensor([[True] * 32])
    assert metadata.pack(full, config(32, 32, Metadata.ENUMERATIVE)) == [0]
    assert metadata.pack(full, config(32, 32)) == [2**32 - 1]
    assert metadata.pack(full, config(32, 32, Metadata.INDEX)) == [sum(i << (5 * i) for i in range(32))]


@pytest.mark.parametrize(
    "n, m, bits", [(2, 4, 3), (4, 8, 7), (8, 16, 14), (16, 32, 30), (1, 2, 1), (1, 16, 4), (7, 7, 1)]
)
def test_bits_of_an_enumerated_block(n: int, m: int, bits: int) -> None:
    assert config(n, m, Metadata.ENUMERATIVE).metadata_width == bits
    highest = torch.arange(m) >= m - n
    assert metadata.indices_to_rank(highest.nonzero().T, m).tolist() == [math.comb(m, n) - 1]
    with pytest.raises(ConfigError, match=f"there are {math.comb(m, n)} masks of {n} channels out of {m}"):
        metadata.rank_to_mask(torch.tensor([[math.comb(m, n)]]), n, m)


def test_indices_round_trip_keeps_leading_shape() -> None:
    masks = select_blocks(torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(1)), 8, 16)
    indices = metadata.mask_to_indices(masks, 8)
    assert indices.shape == (3, 5, 2, 8)
    assert torch.equal(metadata.indices_to_mask(indices, 16), masks)
    assert torch.equal(metadata.bits_to_mask(metadata.mask_to_bits(masks), 16), masks)


BAD_WORDS = {
    Metadata.BITMASK: [0b0111, 1 << 4, -1],
    Metadata.INDEX: [0b01_01, 0b00_01, 1 << 4],
    Metadata.ENUMERATIVE: [6, 1 << 3, -1],
}


@pytest.mark.parametrize("fmt, word", [(fmt, word) for fmt, words in BAD_WORDS.items() for word in words])
def test_impossible_words_are_refused(fmt: Metadata, word: int) -> None:
    with pytest.raises(ConfigError):
        metadata.unpack([word], config(2, 4, fmt))
    with pytest.raises(ConfigError):
        reference.unpack(word, 2, 4, fmt)


def test_wrong_masks_are_refused() -> None:
    with pytest.raises(ConfigError, match="exactly N=2"):
        metadata.pack(torch.tensor([[True, True, True, False]]), config(2, 4))
    with pytest.raises(ConfigError, match="does not fit M=4"):
        metadata.pack(torch.tensor([[True, True]]), config(2, 4))
    with pytest.raises(ConfigError, match="beyond channel 3"):
        metadata.bits_to_mask(torch.tensor([16]), 4)
    with pytest.raises(ConfigError, match="ascend"):
        metadata.indices_to_mask(torch.tensor([[0, 4]]), 4)


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("n, m", PATTERNS)
def test_compress_equals_reference(n: int, m: int, width: int) -> None:
    x = integers(width, (20, 3 * m + m // 2), seed=m)
    got = compress(x, config(n, m, width=width))
    for t, token in enumerate(x.tolist()):
        for b, block in enumerate(reference.pad_token(token, m)):
            values, mask = reference.compress_block(block, n)
            assert got.values[t, b].tolist() == values
            assert got.mask[t, b].tolist() == mask
            assert reference.compress_block(reference.decompress_block(values, mask), n)[0] == values
    dense = torch.where(select(x, n, m), x, 0)
    assert torch.equal(decompress(got), dense)
    assert got.values.dtype == x.dtype


def test_compress_by_other_scores() -> None:
    x = torch.tensor([[1, 2, 3, 4]], dtype=torch.int8)
    got = compress(x, config(2, 4), scores=torch.tensor([[9.0, 0.0, 5.0, 1.0]]))
    assert got.values.tolist() == [[[1, 3]]]
    with pytest.raises(ConfigError, match="shapes must match"):
        compress(x, config(2, 4), scores=torch.zeros(2, 4))


def test_compress_floats_and_int64() -> None:
    x = torch.tensor([[0.5, -2.0, 1.0, 0.0, -3.0]])
    got = compress(x, config(2, 4))
    assert got.values.tolist() == [[[-2.0, 1.0], [-3.0, 0.0]]]
    assert decompress(got).tolist() == [[0.0, -2.0, 1.0, 0.0, -3.0]]
    assert compress(torch.tensor([[1, -2, 3, 0]]), config(2, 4)).values.tolist() == [[[-2, 3]]]


@pytest.mark.parametrize("value", [128, -129])
def test_values_beyond_the_width_are_refused(value: int) -> None:
    with pytest.raises(ConfigError, match=r"-128 \.\. 127"):
        compress(torch.tensor([[value, 0, 0, 0]], dtype=torch.int16), config(2, 4))


def test_mask_that_differs_from_the_values_is_refused() -> None:
    with pytest.raises(ConfigError, match="exactly N=2"):
        decompress(Compressed(torch.zeros(1, 1, 2), torch.ones(1, 1, 4, dtype=torch.bool), 4))
    with pytest.raises(ConfigError, match="as many"):
        reference.decompress_block([1, 2], [True, False])
