"""Operands and results of the linear engine as the bytes of its streams.

Byte order: little endian, byte 0 of a beat in the least significant bits of ``tdata``. A slot holds one block,
elements of their own width from bit 0 up, zeros on top up to a whole byte (``Config.act_slot_bytes``,
``weight_slot_bytes``). Whole streams, outermost first:

    activations  groups of ``rows`` tokens, blocks of M channels, tokens of the group: a slot each
    weights      tiles of ``cols`` outputs, words (``parameter_words`` if the job has them, then one a block of
                 channels), outputs of the tile: a slot each
    results      tiles of ``cols`` outputs, tokens, outputs of the tile: an integer each

Tokens and outputs that fill up the last group and tile are zeros in the packets; results have them for outputs only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from flexnm_rtl.config import Config, ConfigError, ceil_div

from flexnm_model import metadata
from flexnm_model.compress import Compressed, check_range

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[Any]


def pack_acts(x: torch.Tensor, cfg: Config) -> Bytes:
    """Activation packet of a dense or sparse job: x (T, K), signed integers of ``act_width`` bits -> uint8 (bytes,).

    Raises ConfigError for another shape or numbers out of range.
    """
    check_matrix("activations", x, cfg.act_width)
    packed = slots(blocks_of(x, cfg.rows, cfg.m_group), cfg.act_width, cfg.act_slot_bytes)
    return packed.reshape(-1)


def pack_compressed(compressed: Compressed, cfg: Config) -> Bytes:
    """Activation packet of a job in compressed mode: ``compressed`` of tokens (T, K) -> uint8 (bytes,).

    A slot holds the kept values, ``value_width`` bits each (with ``fraction_bits`` f compress ``x << f``), then the
    metadata word. Raises ConfigError for numbers out of range.
    """
    check_range("kept values", compressed.values, cfg.value_width)
    tokens, blocks, n = compressed.values.shape
    words = metadata.pack(compressed.mask, cfg)
    width = cfg.metadata_width
    marks = np.array([[word >> bit & 1 for bit in range(width)] for word in words], dtype=np.uint8)
    bits = np.concatenate(
        [_bits(compressed.values.numpy(), cfg.value_width), marks.reshape(tokens, blocks, width)], axis=-1
    )
    padded = np.zeros((ceil_div(tokens, cfg.rows) * cfg.rows, blocks, 8 * cfg.act_slot_bytes), dtype=np.uint8)
    padded[:tokens, :, : n * cfg.value_width + width] = bits
    grouped = padded.reshape(-1, cfg.rows, blocks, padded.shape[-1]).swapaxes(1, 2)
    return np.packbits(grouped, axis=-1, bitorder="little").reshape(-1)


def pack_weights(w: torch.Tensor, cfg: Config, parameters: Sequence[int] | None = None) -> Bytes:
    """Weight packet of a job: w (O, K), signed integers of ``weight_width`` bits -> uint8 (bytes,).

    parameters: the ``cfg.parameter_bits`` of each output (``requantize.parameter_bits``) for a job in parameter mode.
    Raises ConfigError for another shape or numbers out of range.
    """
    check_matrix("weights", w, cfg.weight_width)
    packed = slots(blocks_of(w, cfg.cols, cfg.m_group), cfg.weight_width, cfg.weight_slot_bytes)
    if parameters is not None:
        if len(parameters) != w.shape[0]:
            raise ConfigError(f"{len(parameters)} parameter words for {w.shape[0]} outputs: one each is needed")
        packed = np.concatenate([_parameter_slots(parameters, packed.shape[0], cfg), packed], axis=1)
    return np.ascontiguousarray(packed).reshape(-1)


def unpack_results(data: Bytes, tokens: int, outputs: int, cfg: Config, *, requantized: bool = False) -> torch.Tensor:
    """Result packet -> int64 (tokens, outputs). Raises ConfigError when it has another length than the job's."""
    width = cfg.requantized_width if requantized else cfg.result_width
    tiles = ceil_div(outputs, cfg.cols)
    expected = tiles * tokens * cfg.cols * width // 8
    if len(data) != expected:
        raise ConfigError(f"a result packet of {len(data)} bytes does not fit the job: {expected} are needed")
    numbers = data.view(f"<i{width // 8}").reshape(tiles, tokens, cfg.cols).swapaxes(0, 1).reshape(tokens, -1)
    return torch.from_numpy(numbers[:, :outputs].astype(np.int64))


def check_matrix(name: str, values: torch.Tensor, width: int) -> None:
    """Raise ConfigError unless ``values`` is a matrix of integers of ``width`` bits, with elements."""
    if values.dim() != 2 or 0 in values.shape:
        raise ConfigError(f"{name} of shape {tuple(values.shape)} cannot be packed: a matrix with elements is needed")
    check_range(name, values, width)


def blocks_of(values: torch.Tensor, side: int, m: int) -> Integers:
    """(S, K) -> (tiles, blocks, side, m), zeros where tiles and blocks go beyond S and K."""
    padded = torch.nn.functional.pad(values.to(torch.int32), (0, -values.shape[1] % m, 0, -values.shape[0] % side))
    tiles: Integers = padded.view(-1, side, padded.shape[1] // m, m).transpose(1, 2).numpy()
    return tiles


def slots(blocks: Integers, width: int, slot_bytes: int) -> Bytes:
    """(…, elements) of ``width`` bits -> (…, slot_bytes)."""
    if width in (8, 16):
        packed = np.ascontiguousarray(blocks.astype(f"<i{width // 8}")).view(np.uint8)
    else:
        packed = np.packbits(_bits(blocks, width), axis=-1, bitorder="little")
    padded = np.zeros((*packed.shape[:-1], slot_bytes), dtype=np.uint8)
    padded[..., : packed.shape[-1]] = packed
    return padded


def _bits(values: Integers, width: int) -> Bytes:
    """(…, elements) -> (…, elements * width) bits, lowest first."""
    bits = (values[..., None].astype(np.int64) >> np.arange(width)) & 1
    return bits.astype(np.uint8).reshape(*values.shape[:-1], -1)


def _parameter_slots(parameters: Sequence[int], tiles: int, cfg: Config) -> Bytes:
    """(tiles, parameter_words, cols, weight_slot_bytes); an output's lowest bits are in the first word."""
    share, words = cfg.parameter_slice, cfg.parameter_words
    padded = [*parameters, *[0] * (tiles * cfg.cols - len(parameters))]
    words_of = np.zeros((tiles, words, cfg.cols, cfg.weight_slot_bytes), dtype=np.uint8)
    for output, value in enumerate(padded):
        for word in range(words):
            part = value >> (word * share) & ((1 << share) - 1)
            raw = part.to_bytes(cfg.weight_slot_bytes, "little")
            words_of[output // cfg.cols, word, output % cfg.cols] = np.frombuffer(raw, dtype=np.uint8)
    return words_of
