"""N:M compression on a CUDA device beside torch.topk and scatter: ``python bench/gpu_compress.py [--json FILE]``.

Times one tensor of BF16 activations, 4096 x 14336 unless said otherwise, in one process: a copy (what the memory
moves), flexnm's kernel compressing and pruning, and pruning by torch.topk and scatter, the usual way (which leaves ties
open). Best of the repetitions by CUDA events. Bandwidth counts every byte read and written once; its share is that of
the copy. Every result is first compared with the model on the CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CHECKED_TOKENS = 64


def milliseconds(function: Callable[[], Any], repeat: int) -> float:
    """Best time of a call on the device."""
    for _ in range(3):
        function()
    best = float("inf")
    for _ in range(repeat):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        function()
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end))
    return best


def topk(x: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Pruning by torch.topk and scatter."""
    blocks = x.view(-1, m)
    kept = blocks.abs().topk(n, dim=-1, sorted=False).indices
    return torch.zeros_like(blocks).scatter_(-1, kept, blocks.gather(-1, kept)).view(x.shape)


def check(x: torch.Tensor, n: int, m: int) -> None:
    """Compare both kernels with the model."""
    from flexnm_model import gpu, select

    part = x[:CHECKED_TOKENS]
    mask = select.select_blocks(part.cpu(), n, m)
    words = (mask.to(torch.int64) << torch.arange(m)).sum(-1)
    values, masks = gpu.compress(part, n, m)
    assert torch.equal(masks.cpu().to(torch.int64) & ((1 << m) - 1), words)
    assert torch.equal(values.cpu().flatten(), part.cpu().reshape(-1, m)[mask.view(-1, m)])
    assert torch.equal(gpu.prune(part, n, m).cpu(), select.prune(part.cpu(), n, m))


def measure(x: torch.Tensor, n: int, m: int, copy: float, repeat: int) -> dict[str, float | str]:
    """Times and bandwidths of one pattern; copy: bytes a millisecond that a copy moves."""
    from flexnm_model import gpu

    check(x, n, m)
    values = x.new_empty(x.numel() // m, n)
    masks = torch.empty(x.numel() // m, dtype=torch.int16 if m <= 16 else torch.int32, device=x.device)
    pruned, nans = torch.empty_like(x), torch.zeros(1, dtype=torch.int32, device=x.device)
    dense = x.numel() * x.element_size()
    compressed = values.numel() * values.element_size() + masks.numel() * masks.element_size()
    row: dict[str, float | str] = {"pattern": f"{n}:{m}"}
    for name, function, moved in (
        ("compress", lambda: gpu.launch(x, values, masks, nans, n, m), dense + compressed),
        ("prune", lambda: gpu.launch(x, pruned, None, nans, n, m), 2 * dense),
        ("topk", lambda: topk(x, n, m), 2 * dense),
    ):
        ms = milliseconds(function, repeat)
        row |= {f"{name}_ms": ms, f"{name}_TB_s": moved / ms / 1e9, f"{name}_share": moved / ms / copy}
    return row


def main() -> int:
    """Run the measurement, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--channels", type=int, default=14336)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: there is no CUDA device here: run this on a machine with one", file=sys.stderr)
        return 2
    x = torch.randn(options.tokens, options.channels, device="cuda", dtype=torch.bfloat16)
    y = torch.empty_like(x)
    copy = 2 * x.numel() * x.element_size() / milliseconds(lambda: y.copy_(x), options.repeat)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: a copy moves {copy / 1e9:.2f} TB/s")
    rows = [measure(x, n, m, copy, options.repeat) for n, m in ((2, 4), (4, 8), (8, 16), (16, 32))]
    print("  ".join(f"{name:>14}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{v:>14}" if isinstance(v, str) else f"{v:14.3f}" for v in row.values()))
    if options.json:
        result = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "copy_TB_s": copy / 1e9}
        options.json.write_text(json.dumps(result | {"rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
