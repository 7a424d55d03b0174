"""What N:M pruning costs beside the layers it prunes: ``python bench/prune_cost.py [--json FILE]``.

Times, in turns and in one process, the dense forward pass of a window, the same pass with pruned inputs, and the same
pass pruned by torch.topk and scatter, the usual way (which leaves ties open and does not pad). Best of the repetitions,
since other work on the machine only ever adds time; the cost is the added time over the dense time. The last columns
time one tensor of 512 x 1536 random numbers.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from flexnm_model import llm, select, text
from flexnm_model.methods import sparsify
from flexnm_model.methods.patterns import Blocks
from flexnm_model.perplexity import parse_patterns
from rich.console import Console
from rich.table import Table


class TopkBlocks(Blocks):
    """N:M by torch.topk and scatter; K must be a multiple of M."""

    def prune(self, z: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        """See ``Pattern.prune``; without factors."""
        blocks = z.reshape(-1, self.m)
        kept = blocks.abs().topk(self.n, dim=-1, sorted=False).indices
        return torch.zeros_like(blocks).scatter_(-1, kept, blocks.gather(-1, kept)).view(z.shape)


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(model: torch.nn.Module, window: torch.Tensor, n: int, m: int, repeat: int) -> dict[str, float | str]:
    """Best seconds of the three passes and the costs, for one pattern."""

    def forward() -> None:
        model(window, use_cache=False)

    times: dict[str, list[float]] = {"dense": [], "flexnm": [], "topk": []}
    for _ in range(repeat):
        times["dense"].append(seconds(forward))
        with sparsify(model, Blocks(n, m)):
            times["flexnm"].append(seconds(forward))
        with sparsify(model, TopkBlocks(n, m)):
            times["topk"].append(seconds(forward))
    row: dict[str, float | str] = {"pattern": f"{n}:{m}"}
    best = {name: min(values) for name, values in times.items()}
    row |= {f"{name}_s": value for name, value in best.items()}
    row |= {f"{name}_cost": best[name] / best["dense"] - 1 for name in ("flexnm", "topk")}
    x = torch.randn(window.shape[1], 1536, generator=torch.Generator().manual_seed(0))
    row["flexnm_ms_512x1536"] = 1e3 * min(seconds(lambda: select.prune(x, n, m)) for _ in range(20))
    row["topk_ms_512x1536"] = 1e3 * min(seconds(lambda: TopkBlocks(n, m).prune(x)) for _ in range(20))
    return row


def main() -> None:
    """Run the measurement, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="GGUF file or Hugging Face folder")
    parser.add_argument("--patterns", default="16:32,8:16,4:8,2:4")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = llm.load(options.model)
    window = text.windows(loaded.tokenizer, text.load_text(), 1, 512)[0]
    with torch.inference_mode():
        loaded.model(window, use_cache=False)
        patterns = parse_patterns(options.patterns)
        rows = [measure(loaded.model, window, n, m, options.repeat) for n, m in patterns]
    table = Table(title=f"Pruning cost, {loaded.name}, 512 tokens, {options.threads} threads")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(v if isinstance(v, str) else f"{v:.3f}" for v in row.values()))
    Console(width=140).print(table)
    if options.json:
        result = {"model": loaded.name, "threads": options.threads, "torch": torch.__version__, "rows": rows}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
