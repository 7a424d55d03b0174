"""An engine in plain Python behind the driver's back end: takes the packets apart bit by bit, by the documents."""

from __future__ import annotations

import numpy as np
from flexnm_model import reference, reference_methods
from flexnm_model.driver import DeviceError
from flexnm_model.packing import Bytes
from flexnm_rtl.config import Config, Metadata, ScoreFactor
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
            "pattern": {"n": cfg.n_keep, "m": cfg.m_group, "metadata": list(Metadata).index(cfg.metadata),
                        "lanes": cfg.lanes},
            "array": {"rows": cfg.rows, "cols": cfg.cols},
            "widths": {"act": cfg.act_width, "weight": cfg.weight_width, "result": cfg.result_width},
            "streams": {"acts": cfg.act_ports, "weights": cfg.weight_ports, "results": cfg.result_ports},
            "methods": {"score_factor": list(ScoreFactor).index(cfg.score_factor), "factor_width": cfg.factor_width,
                        "static_shift": cfg.static_shift, "token_shift": cfg.token_shift, "variance": cfg.variance,
                        "fraction_bits": cfg.fraction_bits},
        }.items():  # fmt: skip
            self.words[name] = BY_NAME[name].encode(**values)
        self.tables: dict[str, dict[int, int]] = {"channel_data": {}, "token_data": {}}
        self.table_writes = 0
        self.jobs: list[dict[str, int]] = []
        self.errors_after_job = 0

    def read(self, offset: int) -> int:
        return self.words[self._name(offset)]

    def write(self, offset: int, value: int) -> None:
        name = self._name(offset)
        if name in self.tables:
            self.tables[name][self.words["table_index"]] = value
            self.words["table_index"] += 1
            self.table_writes += 1
            return
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
        sums = [self._totals(token, w, parameters, mode, t) for t, token in enumerate(x[: job["tokens"]])]
        out = bytearray()
        size = self.cfg.requantized_width if mode["requantize"] else self.cfg.result_width
        for tile in range(0, len(w), self.cfg.cols):
            for totals in sums:
                for o in range(tile, tile + self.cfg.cols):
                    result = reference.clamp(totals[o], self.cfg.result_width)
                    if mode["requantize"]:
                        word = parameters[o]
                        scale = word >> 32 & 0xFFFF, word >> 48 & 0x3F
                        result = reference.requantize(totals[o], 0, *scale, self.cfg.act_width)
                    out += result.to_bytes(size // 8, "little", signed=True)
        assert len(out) == result_bytes
        return np.frombuffer(bytes(out), dtype=np.uint8)

    def _name(self, offset: int) -> str:
        found = [register.name for register in BY_NAME.values() if register.offset == offset]
        if not found:
            raise DeviceError(f"no register at {offset:#x}")
        return found[0]

    def _totals(
        self, token: list[int], w: list[list[int]], parameters: list[int], mode: dict[str, int], t: int
    ) -> list[int]:
        """Of one token and all outputs, bias included."""
        bias = [fields(word, 32, 1)[0] for word in parameters] if mode["parameters"] else None
        if mode["dense"] or mode["compressed"]:
            sums = [sum(a * b for a, b in zip(token, weights, strict=False)) for weights in w]
            return sums if bias is None else [total + b for total, b in zip(sums, bias, strict=True)]
        # Channels beyond K are no channels: they count neither in the mean nor in the variances.
        table = [self.tables["channel_data"].get(j, 0) for j in range(len(token))]
        one = reference_methods.TokenJob(
            token,
            [word & 0xFFFF for word in table] if mode["factors"] else None,
            [fields(word, 16, 2)[1] for word in table] if mode["static_shift"] else None,
            self.tables["token_data"].get(t, 0),
            bool(mode["token_shift"]),
            bool(mode["variance"]),
            bias,
            [fields(word >> 64, 32, 1)[0] for word in parameters],
        )
        return reference_methods.totals(one, [weights[: len(token)] for weights in w], self.cfg)

    def _acts(self, data: Bytes, job: dict[str, int], mode: dict[str, int]) -> list[list[int]]:
        """Tokens of all groups: K channels as they are, or values, with padding, in a dense or compressed job."""
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
                kept = fields(word, cfg.value_width, cfg.n_keep)
                mark = word >> (cfg.n_keep * cfg.value_width) & ((1 << cfg.metadata_width) - 1)
                mask = reference.unpack(mark, cfg.n_keep, cfg.m_group, cfg.metadata) if any(kept) or mark else None
                values = reference.decompress_block(kept, mask) if mask else [0] * cfg.m_group
            else:
                values = [v << cfg.fraction_bits * mode["dense"] for v in fields(word, cfg.act_width, cfg.m_group)]
            tokens[group * cfg.rows + rest % cfg.rows] += values
        plain = mode["dense"] or mode["compressed"]
        return tokens if plain else [token[: job["channels"]] for token in tokens]

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
