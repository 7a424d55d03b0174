"""Accuracy of the methods in hardware against their bits: ``python bench/method_bits.py [--json FILE]``.

On captured layers of an LLM: the output of the integer path (8-bit activations and weights; factors, shifts and gains
in so many bits) beside the same method in float. The first half of the tokens calibrates, the second half is measured.

    error      |y_integer - y_float| / |y_float|, mean over the layers, and the worst layer. Much of it is that rounded
               scores change places, so that other channels are kept, which are about as good
    to dense   |y - y_dense| / |y_dense|, mean over the layers, of the integer path and of the float method: what counts
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from flexnm_model.capture import LayerData, capture
from flexnm_model.methods import Method
from flexnm_model.methods.integer import MethodLinear, config_for
from flexnm_model.methods.layer import SparseLinear
from flexnm_rtl.config import GAIN_FRACTION, Config
from rich.console import Console
from rich.table import Table

SIZES: dict[str, Any] = {"rows": 1, "cols": 1, "lanes": 1}


@dataclass(frozen=True)
class Setting:
    """One row: a method, the number that varies and its value, and the engine's fields that say so."""

    method: str
    bits: str
    value: int
    fields: dict[str, Any] = field(default_factory=dict)
    gain_fraction: int = GAIN_FRACTION


@dataclass(frozen=True)
class Case:
    """A layer: its linear, calibrated tensors, inputs (T, K), and dense outputs (T, O)."""

    linear: torch.nn.Linear
    tensors: dict[str, torch.Tensor]
    x: torch.Tensor
    dense: torch.Tensor


def settings(pattern: str) -> Iterator[Setting]:
    """All rows, the last one without any of the methods."""
    for score in ("clact", "amber", "variance"):
        for width in range(2, 13):
            fields = {"score_factor": "multiply", "factor_width": width}
            yield Setting(f"{pattern}+{score}", "factor, multiply", width, fields)
        for width in range(1, 5):
            yield Setting(
                f"{pattern}+{score}", "factor, shift", width, {"score_factor": "shift", "factor_width": width}
            )
    for shift in ("s-pts", "d-pts", "s-pts+d-pts"):
        for f in range(5):
            yield Setting(f"{pattern}+{shift}", "fraction", f, {"static_shift": True, "fraction_bits": f})
    for fraction in range(6, 13):
        yield Setting(f"{pattern}+var", "gain fraction", fraction, gain_fraction=fraction)
    yield Setting(pattern, "none", 0)


def case_of(layer: LayerData) -> Case:
    """Calibrate on the first half of the tokens, measure on the second."""
    half = len(layer.x) // 2
    seen, x = layer.x[:half], layer.x[half:]
    linear = torch.nn.Linear(layer.w.shape[1], layer.w.shape[0], bias=False, device="meta")
    linear.weight = torch.nn.Parameter(layer.w, requires_grad=False)
    tensors = {"norm": seen.norm(dim=0), "mean": seen.mean(0), "peak": seen.abs().amax(0)}
    return Case(linear, tensors, x, linear(x))


def relative(y: torch.Tensor, reference: torch.Tensor) -> float:
    """|y - reference| / |reference|."""
    return float((y - reference).norm() / reference.norm())


def measure(setting: Setting, case: Case, known: dict[tuple[str, int], torch.Tensor]) -> tuple[float, float, float]:
    """Error, integer to dense, float to dense. known: outputs of the float methods so far."""
    method = Method.parse(setting.method)
    sparse = SparseLinear(case.linear, method, case.tensors)
    key = setting.method, id(case)
    if key not in known:
        known[key] = sparse(case.x)
    cfg = config_for(method, case.x.shape[1], Config(**SIZES, **setting.fields))
    peak = 2 * float((case.tensors["peak"] + case.tensors["mean"].abs()).max())
    layer = MethodLinear(sparse, method, cfg, peak=peak, gain_fraction=setting.gain_fraction)
    y = layer(case.x)
    return relative(y, known[key]), relative(y, case.dense), relative(known[key], case.dense)


def rows(cases: list[Case], pattern: str) -> Iterator[dict[str, Any]]:
    """A row of results for every setting."""
    known: dict[tuple[str, int], torch.Tensor] = {}
    for setting in settings(pattern):
        errors, integers, floats = zip(*(measure(setting, case, known) for case in cases), strict=True)
        count = len(cases)
        yield {
            "method": setting.method,
            "varies": setting.bits,
            "value": setting.value,
            "error": sum(errors) / count,
            "worst": max(errors),
            "integer_to_dense": sum(integers) / count,
            "float_to_dense": sum(floats) / count,
        }


def main() -> None:
    """Run the measurement, print the table, write the JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="GGUF file or Hugging Face folder")
    parser.add_argument("--pattern", default="8:16")
    parser.add_argument("--tokens", type=int, default=512, help="half of them calibrate")
    parser.add_argument("--layers", help="names, separated by commas (default: those that make capture keeps)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    layers = options.layers.split(",") if options.layers else None
    captured = capture(layers, options.tokens, options.model)
    with torch.inference_mode():
        measured = list(rows([case_of(layer) for layer in captured.values()], options.pattern))
    table = Table(title=f"Accuracy against bits, {len(captured)} layers, {options.tokens - options.tokens // 2} tokens")
    for column in measured[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in measured:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=140).print(table)
    if options.json:
        result = {"layers": list(captured), "tokens": options.tokens, "torch": torch.__version__, "rows": measured}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
