"""Stream words of tokens and weights: what goes into a unit, and what the software model says comes out."""

from __future__ import annotations

import random
from typing import Any

import torch
from flexnm_model import metadata
from flexnm_model.compress import compress, compress_for, pattern_config
from flexnm_model.select import pad_channels
from flexnm_model.token_methods import scores
from flexnm_rtl.config import Config
from flexnm_rtl.dense_split import beat_base, beat_metadata

from flexnm_tb.payload import pack_elements


def dense_inputs(
    x: torch.Tensor, cfg: Config, rng: random.Random | None = None, factors: torch.Tensor | None = None
) -> list[dict[str, Any]]:
    """Beats of one token (K,) for a compressor; with ``rng`` the padding channels carry garbage.

    factors: of the channels' scores, int64 (K,), in a design that has them.
    """
    rows = pad_channels(x, cfg.m_group).view(-1, cfg.m_group).tolist()
    beats = []
    for b, values in enumerate(rows):
        real = min(cfg.m_group, x.shape[0] - b * cfg.m_group)
        if rng is not None:
            values[real:] = [rng.getrandbits(cfg.act_width) for _ in values[real:]]
        packed = pack_elements(values, cfg.act_width)
        beat = {"values": packed, "keep": (1 << real) - 1, "last": int(b == len(rows) - 1)}
        if factors is not None:
            of_block = factors[b * cfg.m_group : b * cfg.m_group + real].tolist()
            beat["factors"] = pack_elements(
                of_block + [(1 << cfg.factor_width) - 1] * (cfg.m_group - real), cfg.factor_width
            )
        beats.append(beat)
    return beats


def compressed_beats(
    x: torch.Tensor, cfg: Config, factors: torch.Tensor | None = None, pattern: tuple[int, int] | None = None
) -> list[dict[str, Any]]:
    """Beats of one token (K,) as the model compresses it.

    factors: see ``dense_inputs``. pattern: N and M, in a flexible design.
    """
    scored = None if factors is None else scores(x.to(torch.int64), factors, cfg).to(torch.int32)
    result = compress_for(x, cfg, pattern_config(cfg, pattern), scored)
    kept, marks = result.values.tolist(), metadata.pack(result.mask, cfg)
    return [
        {
            "block": {"values": pack_elements(values, cfg.act_width), "metadata": mark},
            "last": int(b == len(kept) - 1),
        }
        for b, (values, mark) in enumerate(zip(kept, marks, strict=True))
    ]


def restored_beats(x: torch.Tensor, cfg: Config) -> list[dict[str, Any]]:
    """Beats of one pruned token (K,), zero-padded, as a decompressor sends them."""
    result = compress(x, cfg)
    dense = torch.zeros(result.mask.shape, dtype=torch.int64)
    dense[result.mask] = result.values.flatten().to(torch.int64)
    rows = dense.tolist()
    return [
        {"values": pack_elements(values, cfg.act_width), "last": int(b == len(rows) - 1)}
        for b, values in enumerate(rows)
    ]


def dense_beats(x: torch.Tensor, cfg: Config) -> list[dict[str, Any]]:
    """Beats of one token (K,) in dense mode: ``cfg.dense_beats`` for every block, nothing dropped."""
    rows = pad_channels(x, cfg.m_group).view(-1, cfg.m_group).tolist()
    beats = []
    for b, values in enumerate(rows):
        for beat in range(cfg.dense_beats):
            base, start = beat_base(cfg, beat), beat * cfg.n_keep
            chosen = [values[c] if c >= start else 0 for c in range(base, base + cfg.n_keep)]
            final = beat == cfg.dense_beats - 1
            beats.append(
                {
                    "block": {"values": pack_elements(chosen, cfg.act_width), "metadata": beat_metadata(cfg, beat)},
                    "hold": int(not final),
                    "last": int(final and b == len(rows) - 1),
                }
            )
    return beats


def array_acts(
    x: torch.Tensor, cfg: Config, *, dense: bool = False, pattern: tuple[int, int] | None = None
) -> list[dict[str, Any]]:
    """Beats of a token group (rows, K) for the array, sparse or in dense mode; pattern: as in ``compressed_beats``."""
    tokens = [dense_beats(row, cfg) if dense else compressed_beats(row, cfg, pattern=pattern) for row in x]
    return [
        {
            "blocks": [beat["block"] for beat in beats],
            "hold": beats[0].get("hold", 0),
            "last": beats[0]["last"],
        }
        for beats in zip(*tokens, strict=True)
    ]


def weight_beats(w: torch.Tensor, cfg: Config) -> list[int]:
    """Words of a weight tile (cols, K) for the array, one per block of channels."""
    padded = pad_channels(w, cfg.m_group)
    blocks = padded.view(w.shape[0], -1, cfg.m_group).transpose(0, 1).flatten(1)
    return [pack_elements(block, cfg.weight_width) for block in blocks.tolist()]


def result_beats(sums: torch.Tensor, cfg: Config) -> list[dict[str, Any]]:
    """Beats of the results (rows, cols) of a token group."""
    rows = sums.tolist()
    return [{"sums": pack_elements(row, cfg.acc_width), "last": int(r == len(rows) - 1)} for r, row in enumerate(rows)]
