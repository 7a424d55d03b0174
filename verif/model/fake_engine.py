"""An engine in plain Python behind the driver's back end: takes the packets apart bit by bit, by the documents."""

from __future__ import annotations

import numpy as np
from flexnm_model import reference
from flexnm_model.driver import DeviceError
from flexnm_model.packing import Bytes
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.registers import BY_NAME, IDENTIFICATION


def fields(word: int, width: int, count: int) -> list[int]:
    """``count`` signed fields of ``width`` bits, from bit 0 up."""
    raw = [word >> (i * width) & ((1 << width) - 1) for i in range(count)]
    return [v - (1 << width) if v >> (width - 1) else v for v in raw]


class FakeEngine:
    """Registers in a dictionary; ``transfer`` computes the job with the scalar reference."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.words = {register.name: 0 for register in BY_NAME.values()}
        self.words |= {"id": IDENTIFICATION, "t_max": cfg.tokens_max, "k_max": cfg.k_max}
        for name, values in {
            "pattern": {"n": cfg.n_keep, "m": cfg.m_group, "metadata": int(cfg.metadata is Metadata.INDEX),
                        "lanes": cfg.lanes},
            "array": {"rows": cfg.rows, "cols": cfg.cols},
            "widths": {"act": cfg.act_width, "weight": cfg.weight_width, "result": cfg.result_width},
            "streams": {"acts": cfg.act_ports, "weights": cfg.weight_ports, "results": cfg.result_ports},
        }.items():  # fmt: skip
            self.words[name] = BY_NAME[name].encode(**values)
        self.jobs: list[dict[str, int]] = []
        self.errors_after_job = 0

    def read(self, offset: int) -> int:
        return self.words[self._name(offset)]

    def write(self, offset: int, value: int) -> None:
        name = self._name(offset)
        self.words[name] = self.words[name] & ~value if name == "errors" else value
        if name == "control":
            self.words["cycles"] = 7

    def transfer(self, acts: Bytes, weights: Bytes, result_bytes: int) -> Bytes:
        mode = BY_NAME["mode"].decode(self.words["mode"])
        job = {name: self.words[name] for name in ("tokens", "channels", "outputs")}
        self.jobs.append(job | mode)
        self.words["errors"] = self.errors_after_job
        x = self._acts(acts, job, mode)
        w, parameters = self._weights(weights, job, mode)
        out = bytearray()
        size = self.cfg.requantized_width if mode["requantize"] else self.cfg.result_width
        for tile in range(0, len(w), self.cfg.cols):
            for token in x[: job["tokens"]]:
                for o in range(tile, tile + self.cfg.cols):
                    total = sum(a * b for a, b in zip(token, w[o], strict=True))
                    if mode["parameters"]:
                        total = self._epilogue(total, parameters[o], scale=bool(mode["requantize"]))
                    out += total.to_bytes(size // 8, "little", signed=True)
        assert len(out) == result_bytes
        return np.frombuffer(bytes(out), dtype=np.uint8)

    def _name(self, offset: int) -> str:
        found = [register.name for register in BY_NAME.values() if register.offset == offset]
        if not found:
            raise DeviceError(f"no register at {offset:#x}")
        return found[0]

    def _epilogue(self, total: int, word: int, *, scale: bool) -> int:
        (bias,) = fields(word, 32, 1)
        if not scale:
            return total + bias
        return reference.requantize(total, bias, word >> 32 & 0xFFFF, word >> 48 & 0x3F, self.cfg.act_width)

    def _acts(self, data: Bytes, job: dict[str, int], mode: dict[str, int]) -> list[list[int]]:
        """Pruned tokens, of all groups, K channels and padding."""
        cfg = self.cfg
        blocks = -(-job["channels"] // cfg.m_group)
        groups = -(-job["tokens"] // cfg.rows)
        assert len(data) == groups * blocks * cfg.rows * cfg.act_slot_bytes
        tokens: list[list[int]] = [[] for _ in range(groups * cfg.rows)]
        raw = data.tobytes()
        for slot in range(groups * blocks * cfg.rows):
            group, rest = divmod(slot, blocks * cfg.rows)
            word = int.from_bytes(raw[slot * cfg.act_slot_bytes : (slot + 1) * cfg.act_slot_bytes], "little")
            if mode["compressed"]:
                kept = fields(word, cfg.act_width, cfg.n_keep)
                mark = word >> (cfg.n_keep * cfg.act_width) & ((1 << cfg.metadata_width) - 1)
                mask = reference.unpack(mark, cfg.n_keep, cfg.m_group, cfg.metadata) if any(kept) or mark else None
                values = reference.decompress_block(kept, mask) if mask else [0] * cfg.m_group
            else:
                values = fields(word, cfg.act_width, cfg.m_group)
                if not mode["dense"]:
                    values = reference.decompress_block(*reference.compress_block(values, cfg.n_keep))
            tokens[group * cfg.rows + rest % cfg.rows] += values
        return tokens

    def _weights(self, data: Bytes, job: dict[str, int], mode: dict[str, int]) -> tuple[list[list[int]], list[int]]:
        """Weights and parameter words of all outputs, those that fill up the last tile included."""
        cfg = self.cfg
        header = cfg.parameter_words if mode["parameters"] else 0
        words = header + -(-job["channels"] // cfg.m_group)
        tiles = -(-job["outputs"] // cfg.cols)
        assert len(data) == tiles * words * cfg.cols * cfg.weight_slot_bytes
        weights: list[list[int]] = [[] for _ in range(tiles * cfg.cols)]
        parameters = [0] * (tiles * cfg.cols)
        raw = data.tobytes()
        for slot in range(tiles * words * cfg.cols):
            tile, rest = divmod(slot, words * cfg.cols)
            word, column = divmod(rest, cfg.cols)
            bits = int.from_bytes(raw[slot * cfg.weight_slot_bytes : (slot + 1) * cfg.weight_slot_bytes], "little")
            output = tile * cfg.cols + column
            if word < header:
                parameters[output] |= bits << (word * cfg.parameter_slice)
            else:
                weights[output] += fields(bits, cfg.weight_width, cfg.m_group)
        return weights, parameters
