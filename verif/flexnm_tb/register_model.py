"""The linear engine's register file in a few lines of Python, made from the register map."""

from __future__ import annotations

from importlib.metadata import version

from flexnm_rtl.config import Config
from flexnm_rtl.registers import BY_NAME, IDENTIFICATION, REGISTERS, Access, Register

COUNTERS = ("cycles", "busy_cycles", "wait_acts", "wait_weights", "wait_results", "blocks")
_BY_INDEX = {register.offset // 4: register for register in REGISTERS}


class RegisterModel:
    """Predicts answers. ``busy`` is the bench's to clear when a job has ended (``finish``)."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.busy = False
        self.words: dict[str, int] = {register.name: 0 for register in REGISTERS} | self._constants()
        self.unknown: set[str] = set()

    def _constants(self) -> dict[str, int]:
        cfg = self.cfg
        patch, minor, major = (int(part) for part in reversed(version("flexnm").split(".")[:3]))
        metadata = ("bitmask", "index", "enumerative").index(cfg.metadata.value)
        fields = {
            "id": {"id": IDENTIFICATION},
            "version": {"patch": patch, "minor": minor, "major": major},
            "pattern": {"n": cfg.n_keep, "m": cfg.m_group, "metadata": metadata, "lanes": cfg.lanes},
            "array": {"rows": cfg.rows, "cols": cfg.cols},
            "widths": {
                "act": cfg.act_width,
                "weight": cfg.weight_width,
                "acc": cfg.acc_width,
                "result": cfg.result_width,
            },
            "streams": {"acts": cfg.act_ports, "weights": cfg.weight_ports, "results": cfg.result_ports},
            "t_max": {"t_max": cfg.tokens_max},
            "t_max_dense": {"t_max_dense": cfg.tokens_max_dense},
            "k_max": {"k_max": cfg.k_max},
            "methods": {
                "score_factor": ("none", "multiply", "shift").index(cfg.score_factor.value),
                "factor_width": cfg.factor_width,
                "static_shift": int(cfg.static_shift),
                "token_shift": int(cfg.token_shift),
                "variance": int(cfg.variance),
                "fraction_bits": cfg.fraction_bits,
                "flexible": int(cfg.flexible),
            },
        }
        return {name: BY_NAME[name].encode(**values) for name, values in fields.items()}

    @property
    def mode(self) -> dict[str, int]:
        """Flags of register ``mode``."""
        return BY_NAME["mode"].decode(self.words["mode"])

    @property
    def legal(self) -> bool:
        """Whether the job registers describe a job that may start."""
        tokens, channels, outputs = (self.words[name] for name in ("tokens", "channels", "outputs"))
        mode, cfg = self.mode, self.cfg
        most = cfg.tokens_max_dense if mode["dense"] else cfg.tokens_max
        shifted = mode["static_shift"] or mode["token_shift"]
        plain = mode["dense"] or mode["compressed"]
        excluded = (mode["dense"] and mode["compressed"]) or (
            (mode["requantize"] or shifted) and not mode["parameters"]
        )
        excluded = excluded or (plain and (shifted or mode["factors"] or mode["variance"]))
        hardware = self._constants_of("methods")
        for name in ("static_shift", "token_shift", "variance"):
            excluded = excluded or (mode[name] > hardware[name])
        excluded = excluded or (mode["factors"] > hardware["score_factor"])
        if cfg.flexible and not mode["dense"]:
            pattern = BY_NAME["block_pattern"].decode(self.words["block_pattern"])
            n, m = pattern["keep"], pattern["group"]
            excluded = excluded or m not in cfg.groups or not 0 < n <= m or cfg.kept(n, m) > cfg.n_keep
        return 0 < tokens <= most and 0 < channels <= cfg.k_max and outputs > 0 and not excluded

    def _constants_of(self, name: str) -> dict[str, int]:
        return BY_NAME[name].decode(self.words[name])

    def _absent(self, name: str) -> bool:
        hardware = self._constants_of("methods")
        if name == "block_pattern":
            return not hardware["flexible"]
        if name == "token_data":
            return not hardware["static_shift"]
        return name in ("table_index", "channel_data") and not (hardware["static_shift"] or hardware["score_factor"])

    def read(self, address: int, size: int = 4) -> tuple[int | None, bool]:
        """Bytes and response of a read; None where the value cannot be known."""
        register = _BY_INDEX.get(address // 4)
        if register is None:
            return 0, False
        if register.name in self.unknown:
            return None, True
        word = self.words[register.name] >> 8 * (address % 4)
        return word & ((1 << 8 * size) - 1), True

    def write(self, address: int, data: bytes) -> bool:
        """Effect and response of a write of bytes inside one word."""
        register = _BY_INDEX.get(address // 4)
        if register is None or register.access is Access.READ_ONLY or self._absent(register.name):
            return False
        if register.access in (Access.JOB, Access.TABLE) and self.busy:
            return False
        place = 8 * (address % 4)
        mask = ((1 << 8 * len(data)) - 1) << place & _implemented(register)
        bits = int.from_bytes(data, "little") << place & mask
        if register.access is Access.COMMAND:
            self._command(register.decode(bits))
        elif register.access is Access.CLEAR:
            self.words[register.name] &= ~bits
        elif register.access is Access.TABLE:
            self.words["table_index"] = (self.words["table_index"] + (len(data) > 0)) & 0xFF_FFFF
        else:
            self.words[register.name] = self.words[register.name] & ~mask | bits
        return True

    def _command(self, command: dict[str, int]) -> None:
        errors, busy = BY_NAME["errors"], self.busy
        if command["start"] and busy:
            self.words["errors"] |= errors.encode(not_ready=1)
        elif command["start"] and not self.legal:
            self.words["errors"] |= errors.encode(shape=1)
        elif command["start"]:
            self.busy = True
            self.unknown |= set(COUNTERS)
            self.words["status"] = BY_NAME["status"].encode(busy=1)
        if command["abort"] and busy:
            self.words["errors"] |= errors.encode(aborted=1)

    def finish(self, counters: dict[str, int]) -> None:
        """The job has ended; from now on the counters stand still."""
        self.busy = False
        self.words["status"] = BY_NAME["status"].encode(done=1)
        self.words |= counters
        self.unknown.clear()


def _implemented(register: Register) -> int:
    return register.encode(**{field.name: (1 << field.width) - 1 for field in register.fields})
