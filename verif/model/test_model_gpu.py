"""The GPU kernels' source, run on the CPU with a stand-in for Triton's language, against the model."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from flexnm_model import gpu, select
from flexnm_model.gpu_source import source
from flexnm_rtl.config import ConfigError

PATTERNS = [(2, 4), (4, 4), (3, 4), (2, 8), (4, 8), (8, 16), (2, 16), (13, 16), (1, 32), (16, 32), (31, 32), (32, 32)]
BLOCKS = 64


class Pointer:
    """A place in a flat tensor, or many of them."""

    def __init__(self, data: torch.Tensor, places: Any = 0) -> None:
        self.data, self.places = data, places
        self.dtype = types.SimpleNamespace(element_ty=data.dtype)

    def __add__(self, offset: Any) -> Pointer:
        return Pointer(self.data, self.places + offset)


class Language:
    """What the kernels use of ``triton.language``, on CPU tensors."""

    constexpr = int
    int64 = torch.int64
    maximum = staticmethod(torch.maximum)
    minimum = staticmethod(torch.minimum)
    reshape = staticmethod(torch.reshape)
    program = 0

    def program_id(self, axis: int) -> int:
        return self.program

    def arange(self, start: int, end: int) -> torch.Tensor:
        return torch.arange(start, end, dtype=torch.int32)

    def load(self, pointer: Pointer, mask: torch.Tensor, other: int) -> torch.Tensor:
        places = torch.where(mask, pointer.places, 0)
        return self.where(mask, pointer.data[places], other)

    def store(self, pointer: Pointer, value: Any, mask: torch.Tensor | None = None) -> None:
        if mask is None:
            pointer.data[pointer.places] = value
        else:
            mask = mask.expand(pointer.places.shape)
            pointer.data[pointer.places[mask]] = value[mask]

    def where(self, condition: torch.Tensor, a: Any, b: Any) -> torch.Tensor:
        # A number takes 32 bits in Triton, 64 in torch.
        a, b = (torch.tensor(v, dtype=torch.int32) if isinstance(v, int) else v for v in (a, b))
        return torch.where(condition, a, b)

    def split(self, tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tensor.unbind(-1)

    def join(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.stack([a, b], -1)

    def max(self, tensor: torch.Tensor, axis: int) -> torch.Tensor:
        return tensor.amax(axis)


def run(x: torch.Tensor, n: int, m: int, *, compress: bool) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Values, masks, and whether a NaN was seen, of the kernel on x (blocks, m)."""
    language = Language()
    module: dict[str, Any] = {}
    triton = types.ModuleType("triton")
    triton.jit = lambda function: function  # type: ignore[attr-defined]
    triton.language = language  # type: ignore[attr-defined]
    saved = {name: sys.modules.get(name) for name in ("triton", "triton.language")}
    sys.modules |= {"triton": triton, "triton.language": language}  # type: ignore[dict-item]
    try:
        exec(source(n, m, compress=compress), module)
    finally:
        for name, old in saved.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old
    values = x.new_zeros(x.shape[0], n if compress else m)
    masks = torch.zeros(x.shape[0], dtype=torch.int16 if m <= 16 else torch.int32)
    nans = torch.zeros(1, dtype=torch.int32)
    words = [Pointer(t.view(-1).view(torch.int32)) for t in (x, values)]
    for program in range(-(-x.shape[0] // BLOCKS)):
        language.program = program
        infinity = gpu._INFINITY[x.dtype]
        module["kernel"](*words, Pointer(masks), Pointer(nans), x.shape[0], infinity, blocks=BLOCKS)
    return values, masks, bool(nans)


def blocks(m: int, dtype: torch.dtype) -> torch.Tensor:
    """More than a program's worth: normal numbers, many ties, infinities, zeros of both signs."""
    g = torch.Generator().manual_seed(m)
    normal = torch.randn(BLOCKS, m, generator=g)
    few = torch.randint(-2, 3, (BLOCKS, m), generator=g) / 4
    edges = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 1e-7])[torch.randint(0, 5, (7, m), generator=g)]
    return torch.cat([normal, few, edges]).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("n, m", PATTERNS)
def test_kernels_equal_the_model(n: int, m: int, dtype: torch.dtype) -> None:
    x = blocks(m, dtype)
    mask = select.select_blocks(x, n, m).view(-1, m)
    pruned, _, nan = run(x, n, m, compress=False)
    assert not nan
    assert torch.equal(pruned, torch.where(mask, x, 0))
    if n & (n - 1) or n < 2:
        return
    values, masks, nan = run(x, n, m, compress=True)
    assert not nan
    assert torch.equal(values.view(torch.int16).flatten(), x[mask].view(torch.int16))
    words = (mask.to(torch.int64) << torch.arange(m)).sum(-1)
    assert torch.equal(masks.to(torch.int64) & ((1 << m) - 1), words)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_nan_is_seen(dtype: torch.dtype, compress: bool) -> None:
    x = blocks(8, dtype)
    x[70, 7] = float("nan")
    assert run(x, 2, 8, compress=compress)[2]


@pytest.mark.parametrize(
    "x, pattern, text",
    [
        (torch.zeros(4, 16), (8, 16), "16-bit floats (…, K) on CUDA are needed"),
        (torch.zeros(4, 16, dtype=torch.bfloat16), (8, 16), "16-bit floats (…, K) on CUDA are needed"),
        (torch.zeros(4, 16), (9, 8), "N:M needs 1 <= N <= M"),
    ],
)
def test_errors(x: torch.Tensor, pattern: tuple[int, int], text: str) -> None:
    for function in (gpu.prune, gpu.compress):
        with pytest.raises(ConfigError) as caught:
            function(x, *pattern)
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)
