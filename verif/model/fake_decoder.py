"""A decode engine in plain Python behind the driver's back end: takes memory and packets apart by the documents."""

from __future__ import annotations

import numpy as np
from fake_engine import fields
from flexnm_model import reference
from flexnm_model.driver import DeviceError
from flexnm_model.packing import Bytes
from flexnm_rtl.config import Config
from flexnm_rtl.registers import DECODE, DECODE_IDENTIFICATION


def tokens_of(packet: Bytes, channels: int, cfg: Config) -> list[list[int]]:
    """The tokens of an activation packet, ``rows`` of them, K channels and the padding of the last block."""
    blocks = -(-channels // cfg.m_group)
    size = -(-cfg.m_group * cfg.act_width // 8)
    raw = packet.tobytes()
    assert len(raw) == blocks * cfg.rows * size
    tokens: list[list[int]] = [[] for _ in range(cfg.rows)]
    for slot in range(blocks * cfg.rows):
        word = int.from_bytes(raw[slot * size : (slot + 1) * size], "little")
        assert word >> (cfg.m_group * cfg.act_width) == 0, "zeros above the values"
        tokens[slot % cfg.rows] += fields(word, cfg.act_width, cfg.m_group)
    return tokens


def weight_bits(cfg: Config) -> int:
    """Bits a weight takes in memory."""
    return 4 if cfg.weight_width == 4 else 8 if cfg.weight_width <= 8 else 16


def weight_at(memory: Bytes, offset: int, output: int, channel: int, channels: int, cfg: Config) -> int:
    """One weight, byte by byte: ``offset`` is where the layer's rows begin in ``memory``."""
    bits = weight_bits(cfg)
    row_bytes = cfg.tile_beats * cfg.bus_width // 8
    tile, place = divmod(output, row_bytes * 8 // bits)
    byte, shift = divmod(place * bits, 8)
    start = offset + (tile * channels + channel) * row_bytes + byte
    word = int.from_bytes(memory[start : start + 2].tobytes(), "little") >> shift & ((1 << bits) - 1)
    return word - (1 << bits) if word >> (bits - 1) else word


class FakeDecoder:
    """Registers in a dictionary, memory as loaded; ``transfer`` computes the job with the scalar reference."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.words = dict.fromkeys(DECODE, 0)
        memory = {
            "bus_bytes": cfg.bus_width // 8,
            "tile_beats": cfg.tile_beats,
            "weight_width": weight_bits(cfg),
            "results": max(1, cfg.bus_width // weight_bits(cfg) // 4),
        }
        pattern = {"n": cfg.n_keep, "m": cfg.m_group, "tokens": cfg.rows - 1, "outstanding": cfg.outstanding - 1}
        widths = {"act": cfg.act_width, "weight": cfg.weight_width, "acc": cfg.acc_width, "result": cfg.result_width}
        self.words |= {
            "id": DECODE_IDENTIFICATION,
            "k_max": cfg.k_max,
            "pattern": DECODE["pattern"].encode(**pattern),
            "memory": DECODE["memory"].encode(**memory),
            "widths": DECODE["widths"].encode(**widths),
        }
        self.base, self.memory = 0, np.zeros(0, dtype=np.uint8)
        self.jobs: list[dict[str, int]] = []
        self.errors_at_start = 0
        self.errors_after_job = 0

    def load(self, base: int, data: Bytes) -> None:
        self.base, self.memory = base, data

    def read(self, offset: int) -> int:
        return self.words[self._name(offset)]

    def write(self, offset: int, value: int) -> None:
        name = self._name(offset)
        self.words[name] = self.words[name] & ~value if name == "errors" else value
        if name == "control":
            self.words |= {"cycles": 7, "rows": 5, "errors": self.errors_at_start}

    def _name(self, offset: int) -> str:
        found = [register.name for register in DECODE.values() if register.offset == offset]
        if not found:
            raise DeviceError(f"no register at {offset:#x}")
        return found[0]

    def transfer(self, acts: Bytes, result_bytes: int) -> Bytes:
        cfg, job = self.cfg, {name: self.words[name] for name in ("tokens", "channels", "outputs", "mode", "keep")}
        base, limit = (self.words[f"{name}_low"] | self.words[f"{name}_high"] << 32 for name in ("base", "limit"))
        self.jobs.append(job | {"base": base, "limit": limit})
        self.words["errors"] = self.errors_after_job
        assert self.base <= base <= limit == self.base + len(self.memory)
        channels, lanes = job["channels"], cfg.bus_width // weight_bits(cfg)
        tokens = [self._pruned(token, channels, job) for token in tokens_of(acts, channels, cfg)]
        assert not any(map(any, tokens[job["tokens"] :])), "tokens that are not there are zeros"
        out = bytearray()
        for first in range(0, job["outputs"], lanes):
            for token in tokens[: job["tokens"]]:
                for o in range(first, first + lanes):
                    weights = [weight_at(self.memory, base - self.base, o, k, channels, cfg) for k in range(channels)]
                    total = sum(a * b for a, b in zip(token, weights, strict=True))
                    out += total.to_bytes(cfg.result_width // 8, "little", signed=True)
        assert len(out) == result_bytes
        return np.frombuffer(bytes(out), dtype=np.uint8)

    def _pruned(self, token: list[int], channels: int, job: dict[str, int]) -> list[int]:
        m = self.cfg.m_group
        values = []
        for start in range(0, len(token), m):
            block = token[start : start + m]
            mask = [True] * m if job["mode"] & 1 else reference.select(block, job["keep"])
            values += [v if keep else 0 for v, keep in zip(block, mask, strict=True)]
        return values[:channels]
