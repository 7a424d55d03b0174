"""Selection on tensors against the scalar reference: random, tied and extreme blocks of many patterns."""

from __future__ import annotations

import pytest
import torch
from flexnm_model import reference
from flexnm_model.select import magnitude, network, nth_largest, select, select_blocks
from flexnm_rtl.config import ConfigError
from hypothesis import given, settings
from hypothesis import strategies as st

PATTERNS = [(2, 4), (4, 8), (8, 16), (16, 32), (1, 2), (1, 16), (3, 5), (7, 7), (31, 32), (1, 1), (32, 32), (9, 16)]
FLOATS = [torch.float32, torch.bfloat16, torch.float16]
INTEGERS = [torch.int8, torch.int16, torch.int32]


def expected(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Masks by the scalar reference, (rows, blocks, m), of scores (rows, K)."""
    rows = [[reference.select(b, n) for b in reference.pad_token(row, m)] for row in scores.tolist()]
    return torch.tensor(rows, dtype=torch.bool).view(scores.shape[0], -1, m)


def check(scores: torch.Tensor, n: int, m: int) -> None:
    blocks = select_blocks(scores, n, m)
    assert blocks.dtype == torch.bool
    assert bool((blocks.sum(-1) == n).all())
    assert torch.equal(blocks, expected(scores, n, m))
    assert torch.equal(select(scores, n, m), blocks.flatten(-2)[..., : scores.shape[-1]])


def cases(dtype: torch.dtype, m: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(m)
    k = 4 * m
    if dtype.is_floating_point:
        few = torch.randint(-3, 4, (40, k), generator=g).to(dtype) / 4
        normal = torch.randn(40, k, generator=g).to(dtype)
        extremes = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 1e-7, -65504.0], dtype=dtype)
    else:
        info = torch.iinfo(dtype)
        few = torch.randint(-2, 3, (40, k), generator=g).to(dtype)
        normal = torch.randint(info.min, info.max + 1, (40, k), generator=g).to(dtype)
        extremes = torch.tensor([0, info.min, info.max, -info.max, 1, info.min + 1], dtype=dtype)
    drawn = extremes[torch.randint(0, 6, (40, k), generator=g)]
    flat = [torch.full((1, k), v, dtype=dtype) for v in (0, 1, -1)]
    return [few, normal, drawn, *flat, normal[:, : k - 1], few[:, : 3 * m + 1]]


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
@pytest.mark.parametrize("n, m", PATTERNS)
def test_equals_reference(n: int, m: int, dtype: torch.dtype) -> None:
    for scores in cases(dtype, m):
        check(scores, n, m)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_any_pattern_with_ties(data: st.DataObject) -> None:
    m = data.draw(st.integers(1, 32))
    n = data.draw(st.integers(1, m))
    k = data.draw(st.integers(1, 80))
    values = data.draw(st.lists(st.integers(-3, 3), min_size=k, max_size=k))
    check(torch.tensor([values], dtype=torch.int8), n, m)
    check(torch.tensor([values], dtype=torch.float32), n, m)


@pytest.mark.parametrize("m", range(1, 33))
def test_every_n(m: int) -> None:
    scores = torch.randint(0, 2 * m, (6, 3 * m + m // 2), generator=torch.Generator().manual_seed(m)).float()
    for n in range(1, m + 1):
        check(scores, n, m)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_network_sorts_every_zero_one_input(size: int) -> None:
    """By the 0-1 principle (Knuth 5.3.4Z) this proves every network in use for all numbers."""
    bits = ((torch.arange(1 << size) >> torch.arange(size).unsqueeze(1)) & 1).bool()
    for ranks in range(1, size + 1):
        wires: list[torch.Tensor | None] = list(bits)
        for high, low, need_low in network(size, ranks):
            a, b = wires[high], wires[low]
            assert a is not None
            assert b is not None
            wires[high], wires[low] = a | b, a & b if need_low else None
        for rank, wire in enumerate(wires[:ranks]):
            assert wire is not None
            assert torch.equal(wire, bits.sum(0) > rank)


@pytest.mark.parametrize("m", [5, 8, 16])
def test_nth_largest_of_every_zero_one_block(m: int) -> None:
    bits = (torch.arange(1 << m).unsqueeze(1) >> torch.arange(m)) & 1
    for n in range(1, m + 1):
        assert torch.equal(nth_largest(bits.to(torch.int32), n), (bits.sum(1) >= n).to(torch.int32))


def test_most_negative_outranks_most_positive() -> None:
    scores = torch.tensor([[127, -128, -127, 126]], dtype=torch.int8)
    assert select(scores, 1, 4).tolist() == [[False, True, False, False]]
    assert magnitude(scores).tolist() == [[127, 128, 127, 126]]
    assert int(magnitude(torch.tensor([-(2**31)], dtype=torch.int32))) == 2**31


def test_ties_keep_the_lower_channels() -> None:
    assert select(torch.tensor([1.0, -2.0, 2.0, 2.0]), 2, 4).tolist() == [False, True, True, False]
    assert select(torch.zeros(16), 8, 16).tolist() == [True] * 8 + [False] * 8


def test_padding_never_beats_a_real_channel() -> None:
    """A zero in a real channel ties with the padding behind it and wins."""
    assert select(torch.zeros(2, 6), 2, 4).tolist() == [[True, True, False, False, True, True]] * 2
    assert select_blocks(torch.zeros(1, 5), 3, 4)[0, 1].tolist() == [True, True, True, False]


def test_chunks_do_not_change_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randint(-9, 10, (37, 160), generator=torch.Generator().manual_seed(0)).float()
    whole = select(scores, 8, 16)
    monkeypatch.setattr("flexnm_model.select._CHUNK_ELEMENTS", 100)
    assert torch.equal(select(scores, 8, 16), whole)
    assert torch.equal(whole, expected(scores, 8, 16).flatten(-2))


def test_leading_shape_and_empty() -> None:
    scores = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(0))
    assert select(scores, 2, 4).shape == (2, 3, 20)
    assert torch.equal(select(scores, 2, 4)[1, 2], select(scores[1, 2], 2, 4))
    assert select(torch.zeros(0, 16), 8, 16).shape == (0, 16)
    assert select(torch.zeros(3, 0), 8, 16).shape == (3, 0)


def test_input_is_left_alone() -> None:
    scores = torch.tensor([[-1.0, 2.0, -3.0, 4.0]])
    select(scores, 2, 4)
    assert scores.tolist() == [[-1.0, 2.0, -3.0, 4.0]]


@pytest.mark.parametrize("n, m", [(0, 4), (5, 4), (1, 33), (-1, 4)])
def test_bad_pattern(n: int, m: int) -> None:
    with pytest.raises(ConfigError, match="1 <= N <= M <= 32"):
        select(torch.zeros(64), n, m)


@pytest.mark.parametrize("n", [1, 8, 16])
@pytest.mark.parametrize("position", [0, 7, 15])
def test_nan_is_refused(n: int, position: int) -> None:
    scores = torch.zeros(4, 64)
    scores[2, 16 + position] = float("nan")
    with pytest.raises(ConfigError, match="NaN"):
        select(scores, n, 16)
    with pytest.raises(ConfigError, match="NaN"):
        reference.select(scores[2, 16:32].tolist(), n)


@pytest.mark.parametrize("scores", [torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.bool)])
def test_bad_dtype(scores: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="cannot be ranked"):
        select(scores, 2, 4)


def test_scalar_is_refused() -> None:
    with pytest.raises(ConfigError, match="single number"):
        select(torch.tensor(1.0), 1, 1)
