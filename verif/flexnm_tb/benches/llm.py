"""cocotb runs of captured LLM layers: count mismatches and cycles instead of stopping at the first difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
import torch
from flexnm_model.capture import capture
from flexnm_model.matmul import sparse_matmul
from flexnm_model.quantize import quantize
from flexnm_rtl.config import Config, ceil_div

from flexnm_tb import context, words
from flexnm_tb.payload import pack
from flexnm_tb.streams import Bench, Sink, Source


def _layer(job: dict[str, Any], cfg: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantised activations (T, K) and weights (O, K) of the job's layer."""
    data = capture(job["layers"], job["tokens"], job["model"], job["text"])[job["layer"]]
    return quantize(data.x, cfg.act_width).q.to(torch.int32), quantize(data.w, cfg.weight_width).q.to(torch.int32)


def _report(job: dict[str, Any], sink: Sink, expected: list[int], first: int, ideal: int) -> None:
    wrong = sum(got != want for got, want in zip(sink.words, expected, strict=True))
    result = {"words": len(expected), "mismatches": wrong, "cycles": sink.cycles[-1] + 1 - first, "ideal": ideal}
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


@cocotb.test()
async def compressor(dut: Any) -> None:
    """Every token of the layer through the compression unit, without stalls."""
    ctx, job = context.load(), context.job()
    x, _ = _layer(job, ctx.cfg)
    source = Source(dut, "i", ctx.layout("i")["width"])
    sink = Sink(dut, "o")
    bench = Bench(dut, [source, sink])
    await bench.start()
    expected: list[int] = []
    for token in x:
        source.queue.extend(pack(ctx.layout("i"), beat) for beat in words.dense_inputs(token, ctx.cfg))
        expected.extend(pack(ctx.layout("o"), beat) for beat in words.compressed_beats(token, ctx.cfg))
    await bench.run(sink, len(expected), timeout=100 + 2 * len(expected))
    _report(job, sink, expected, source.taken[0], len(expected))


@cocotb.test()
async def mac_array(dut: Any) -> None:
    """The whole layer through the array: all tokens against all outputs, tile by tile, without stalls."""
    ctx, job = context.load(), context.job()
    cfg = ctx.cfg
    x, w = _layer(job, cfg)
    # Tiles at the edge are filled up with zeros; what the array computes there is compared too.
    x = torch.nn.functional.pad(x, (0, 0, 0, -x.shape[0] % cfg.rows))
    w = torch.nn.functional.pad(w, (0, 0, 0, -w.shape[0] % cfg.cols))
    acts = Source(dut, "acts", ctx.layout("acts")["width"])
    weights = Source(dut, "weights", ctx.layout("weights")["width"])
    sink = Sink(dut, "results")
    bench = Bench(dut, [acts, weights, sink])
    await bench.start()
    sums = sparse_matmul(x, w, cfg)
    tiles = [words.weight_beats(tile, cfg) for tile in torch.split(w, cfg.cols)]
    expected: list[int] = []
    for group, rows in zip(torch.split(x, cfg.rows), torch.split(sums, cfg.rows), strict=True):
        beats = [pack(ctx.layout("acts"), beat) for beat in words.array_acts(group, cfg)]
        for tile, block in zip(tiles, torch.split(rows, cfg.cols, 1), strict=True):
            acts.queue.extend(beats)
            weights.queue.extend(tile)
            expected.extend(pack(ctx.layout("results"), beat) for beat in words.result_beats(block, cfg))
    ideal = ceil_div(x.shape[0], cfg.rows) * len(tiles) * cfg.blocks(x.shape[1]) * cfg.steps
    await bench.run(sink, len(expected), timeout=1000 + 3 * (ideal + len(expected)))
    _report(job, sink, expected, acts.taken[0], ideal)
