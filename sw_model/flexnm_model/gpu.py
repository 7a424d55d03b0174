"""N:M compression on a CUDA device, as one Triton kernel. Optional: nothing else in flexnm needs it.

The rule is that of ``select`` (largest magnitudes, the lower channel among equals), to the last bit. A thread takes
whole blocks: it reads a block once, finds the N-th largest key (magnitude, then the reversed channel index) in
registers with the network of ``select``, and writes what is kept.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch
from flexnm_rtl.config import ConfigError, ceil_div

from flexnm_model.cache import cache_dir, digest, replacing
from flexnm_model.gpu_source import source
from flexnm_model.select import check_pattern, pad_channels

_INFINITY = {torch.bfloat16: 0x7F80, torch.float16: 0x7C00}

GROUPS = (4, 8, 16, 32)
"""M that there is a kernel for."""


def possible(x: torch.Tensor, m: int) -> bool:
    """Whether ``prune`` can take ``x``: 16-bit floats on CUDA, M one of ``GROUPS``, and Triton installed."""
    return x.is_cuda and x.dtype in _INFINITY and m in GROUPS and _triton_there()


@functools.cache
def _triton_there() -> bool:
    return importlib.util.find_spec("triton") is not None


def prune(x: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """``select.prune`` on a CUDA device: x (…, K) of bfloat16 or float16; a new tensor.

    M: a power of two from 4 up. Raises ConfigError for anything else, and for NaN.
    """
    padded = _checked(x, n, m)
    pruned = torch.empty_like(padded)
    _run(padded, pruned, None, n, m)
    return pruned[..., : x.shape[-1]]


def compress(x: torch.Tensor, n: int, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compressed blocks of x (…, K): kept values (…, blocks, N), ascending channels, type of ``x``, and their bitmasks
    (…, blocks), int16 for M up to 16, else int32, two's complement; bit i = channel i.

    Equal to ``compress.compress`` and its bitmask. N: a power of two from 2 up. Else as ``prune``.
    """
    padded = _checked(x, n, m)
    if n & (n - 1) or n < 2:
        raise ConfigError(f"pattern {n}:{m} has no GPU kernel for compression: N must be 2, 4, 8, 16 or 32")
    lead = (*padded.shape[:-1], padded.shape[-1] // m)
    values = padded.new_empty(*lead, n)
    masks = torch.empty(lead, dtype=torch.int16 if m <= 16 else torch.int32, device=x.device)
    _run(padded, values, masks, n, m)
    return values, masks


def _checked(x: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """``x`` in whole blocks."""
    check_pattern(n, m)
    if x.dtype not in _INFINITY or not x.is_cuda or x.dim() == 0:
        raise ConfigError(f"{x.dtype} of shape {tuple(x.shape)} on {x.device}: 16-bit floats (…, K) on CUDA are needed")
    if m not in GROUPS:
        raise ConfigError(f"pattern {n}:{m} has no GPU kernel: M must be 4, 8, 16 or 32")
    return pad_channels(x, m).contiguous()


def _run(blocks: torch.Tensor, values: torch.Tensor, masks: torch.Tensor | None, n: int, m: int) -> None:
    nans = torch.zeros(1, dtype=torch.int32, device=blocks.device)
    launch(blocks, values, masks, nans, n, m)
    if int(nans):
        raise ConfigError("scores contain NaN: selection needs numbers (infinity is allowed)")


def launch(
    blocks: torch.Tensor, values: torch.Tensor, masks: torch.Tensor | None, nans: torch.Tensor, n: int, m: int
) -> None:
    """Start the kernel on whole blocks (…, K) and do not wait; ``nans`` (1,) int32 gets 1 if there is a NaN.

    masks: None to prune into ``values`` (…, K), else to compress. For measurements; types as in ``compress``.
    """
    count = blocks.numel() // m
    words = [tensor.view(torch.int32).view(-1) for tensor in (blocks.view(-1), values.view(-1))]
    kernel = _kernel(n, m, masks is not None)
    threads = 64 if m >= 8 else 128  # a block each; measured on an H100
    grid = (ceil_div(count, threads),)
    kernel[grid](*words, masks, nans, count, _INFINITY[blocks.dtype], blocks=threads, num_warps=threads // 32)


@functools.cache
def _kernel(n: int, m: int, compress: bool) -> Any:
    """The kernel, from a module in the cache: Triton reads a kernel's source from its file."""
    text = source(n, m, compress=compress)
    path = cache_dir() / "gpu" / f"n{n}m{m}_{digest(text)}.py"
    if not path.exists():
        with replacing(path) as out:
            out.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path.name} in the cache cannot be loaded: delete it")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.kernel
