"""The register maps of the engines, standard library only: hardware, driver, headers and documents read them.

All registers have 32 bits and stand at multiples of 4. Bits that no field names read as 0 and ignore writes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

ADDRESS_BITS = 8
IDENTIFICATION = 0x464E4D31  # "FNM1", the linear engine
DECODE_IDENTIFICATION = 0x464E4D44  # "FNMD", the decode engine


class Access(enum.StrEnum):
    """What a write does. Writing to a read-only register, or a job or table register while busy, answers SLVERR.

    A write to a table register stores the word in entry ``table_index`` of its table, bytes without strobe as 0, and
    moves ``table_index`` on by one.
    """

    READ_ONLY = "RO"
    JOB = "RW, not while busy"
    TABLE = "write an entry, reads 0, not while busy"
    COMMAND = "write 1 to act, reads 0"
    CLEAR = "write 1 to clear"


@dataclass(frozen=True)
class Field:
    """Bits ``low .. low + width - 1`` of a register."""

    name: str
    low: int
    width: int
    meaning: str


@dataclass(frozen=True)
class Register:
    """One register: byte ``offset``, ``access``, fields."""

    name: str
    offset: int
    access: Access
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field:
        """The field called ``name``. Raises KeyError."""
        found = next((f for f in self.fields if f.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def decode(self, word: int) -> dict[str, int]:
        """Field values of a word read."""
        return {f.name: word >> f.low & ((1 << f.width) - 1) for f in self.fields}

    def encode(self, **values: int) -> int:
        """The word to write for field values; fields left out are 0. Raises KeyError for a name there is not."""
        return sum((value & ((1 << self.field(n).width) - 1)) << self.field(n).low for n, value in values.items())


def _whole(name: str, offset: int, access: Access, meaning: str, width: int = 32) -> Register:
    return Register(name, offset, access, (Field(name, 0, width, meaning),))


def _bytes(name: str, offset: int, *fields: tuple[str, str]) -> Register:
    placed = (Field(n, 8 * k, 8, text) for k, (n, text) in enumerate(fields))
    return Register(name, offset, Access.READ_ONLY, tuple(placed))


def _flags(name: str, offset: int, access: Access, *flags: tuple[str, str]) -> Register:
    return Register(name, offset, access, tuple(Field(n, k, 1, text) for k, (n, text) in enumerate(flags)))


RegisterMap = Mapping[str, Register]


def _map(*registers: Register) -> RegisterMap:
    return {register.name: register for register in registers}


def _identification(word: int) -> Register:
    return _whole("id", 0x00, Access.READ_ONLY, f"identification, {word:#010x}")


_VERSION = _bytes(
    "version", 0x04, ("patch", "flexnm patch version"), ("minor", "minor version"), ("major", "major version")
)
_WIDTHS = _bytes(
    "widths",
    0x10,
    ("act", "bits of an activation"),
    ("weight", "bits of a weight"),
    ("acc", "bits of an accumulator"),
    ("result", "bits of an exact result in the stream"),
)
_K_MAX = _whole("k_max", 0x20, Access.READ_ONLY, "largest channels of a job")
_CONTROL = _flags(
    "control",
    0x40,
    Access.COMMAND,
    ("start", "start a job with the shape and mode of the job registers"),
    ("abort", "end the job at once: what is missing of its operands counts as zeros"),
)
_STATUS = _flags(
    "status",
    0x44,
    Access.READ_ONLY,
    ("busy", "a job is running"),
    ("done", "the last job has ended; cleared by start"),
)
_SHAPE = ("shape", "start refused: a size of 0 or beyond the largest, or modes that exclude each other")
_NOT_READY = ("not_ready", "start refused: a job is running")
_ABORTED = ("aborted", "a job was ended by abort")
_ACT_ERRORS = (
    ("acts_short", "the activation packet ended early; zeros took the place of what was missing"),
    ("acts_long", "the activation packet went on too long; the rest was thrown away"),
)
_SIZES = (
    _whole("tokens", 0x50, Access.JOB, "T, tokens of the job", 17),
    _whole("channels", 0x54, Access.JOB, "K, input channels of the job", 21),
    _whole("outputs", 0x58, Access.JOB, "O, outputs of the job", 24),
)
_CYCLES = _whole("cycles", 0x80, Access.READ_ONLY, "cycles from start to the last result")

BY_NAME = _map(
    _identification(IDENTIFICATION),
    _VERSION,
    _bytes(
        "pattern",
        0x08,
        ("n", "channels kept of a block"),
        ("m", "channels of a block"),
        ("metadata", "0 bitmask, 1 index list, 2 enumerative"),
        ("lanes", "multipliers of a processing element"),
    ),
    Register(
        "array",
        0x0C,
        Access.READ_ONLY,
        (Field("rows", 0, 16, "tokens at a time"), Field("cols", 16, 16, "outputs at a time")),
    ),
    _WIDTHS,
    Register(
        "streams",
        0x14,
        Access.READ_ONLY,
        (
            Field("acts", 0, 10, "blocks of activations in a beat"),
            Field("weights", 10, 10, "blocks of weights in a beat"),
            Field("results", 20, 10, "exact results in a beat"),
        ),
    ),
    _whole("t_max", 0x18, Access.READ_ONLY, "largest tokens of a sparse job"),
    _whole("t_max_dense", 0x1C, Access.READ_ONLY, "largest tokens of a dense job"),
    _K_MAX,
    Register(
        "methods",
        0x24,
        Access.READ_ONLY,
        (
            Field("score_factor", 0, 2, "factors of the scores: 0 none, 1 multiply, 2 shift"),
            Field("factor_width", 2, 5, "bits of a factor"),
            Field("static_shift", 7, 1, "1: shift by channel (S-PTS, L-PTS)"),
            Field("token_shift", 8, 1, "1: shift by a token's mean (D-PTS)"),
            Field("variance", 9, 1, "1: gain by a token's variance (VAR)"),
            Field("fraction_bits", 10, 3, "bits of a shifted value below the activations' unit"),
            Field("flexible", 13, 1, "1: N and M are chosen for each job (block_pattern)"),
        ),
    ),
    _CONTROL,
    _STATUS,
    _flags(
        "errors",
        0x48,
        Access.CLEAR,
        *_ACT_ERRORS,
        ("weights_short", "the weight packet ended early"),
        ("weights_long", "the weight packet went on too long"),
        _SHAPE,
        _NOT_READY,
        _ABORTED,
    ),
    *_SIZES,
    _flags(
        "mode",
        0x5C,
        Access.JOB,
        ("dense", "keep all channels"),
        ("compressed", "the activation stream carries compressed blocks; excludes dense"),
        ("parameters", "each tile of weights starts with its outputs' parameters; their bias is added"),
        ("requantize", "results are requantised; needs parameters"),
        (
            "factors",
            "scores are magnitudes times (or shifted by) the channels' factors; not in dense and compressed jobs",
        ),
        ("static_shift", "values are shifted by channel; needs parameters; not in dense and compressed jobs"),
        ("token_shift", "values are shifted by their token's mean; needs parameters; likewise"),
        ("variance", "sums get the gain of their token's variances; likewise but for the parameters"),
    ),
    _whole(
        "table_index",
        0x60,
        Access.JOB,
        "entry of the next write to a table: token, or block * 2**ceil(log2 M) + channel in it",
        24,
    ),
    Register(
        "channel_data",
        0x64,
        Access.TABLE,
        (
            Field("factor", 0, 16, "factor of the channel's scores, unsigned"),
            Field("channel_shift", 16, 16, "shift of the channel, signed, for tokens of exponent 0"),
        ),
    ),
    _whole("token_data", 0x68, Access.TABLE, "exponent of the token: its static shift is divided by 2**exponent", 4),
    Register(
        "block_pattern",
        0x6C,
        Access.JOB,
        (
            Field("keep", 0, 6, "N of the job, 1 to M; a flexible engine's only"),
            Field("group", 6, 6, "M of the job: 4, 8, 16 or 32, up to the engine's; not in dense jobs"),
        ),
    ),
    _CYCLES,
    _whole("busy_cycles", 0x84, Access.READ_ONLY, "cycles in which the array multiplied"),
    _whole("wait_acts", 0x88, Access.READ_ONLY, "cycles in which the array waited for activations"),
    _whole("wait_weights", 0x8C, Access.READ_ONLY, "cycles in which it waited for weights"),
    _whole("wait_results", 0x90, Access.READ_ONLY, "cycles in which it waited for results to leave"),
    _whole("blocks", 0x94, Access.READ_ONLY, "blocks of channels the array has taken, for all rows and columns"),
)
"""Registers of the linear engine by name."""

REGISTERS = tuple(BY_NAME.values())

DECODE = _map(
    _identification(DECODE_IDENTIFICATION),
    _VERSION,
    _bytes(
        "pattern",
        0x08,
        ("n", "channels kept of a block unless the job says otherwise"),
        ("m", "channels of a block"),
        ("tokens", "tokens at a time, less one"),
        ("outstanding", "bursts under way at a time, less one"),
    ),
    Register(
        "memory",
        0x0C,
        Access.READ_ONLY,
        (
            Field("bus_bytes", 0, 8, "bytes of the memory bus"),
            Field("tile_beats", 8, 10, "beats of a row of weights"),
            Field("weight_width", 20, 5, "bits of a weight in memory"),
            Field("results", 25, 7, "results in a beat of the stream"),
        ),
    ),
    _WIDTHS,
    _K_MAX,
    _CONTROL,
    _STATUS,
    _flags(
        "errors",
        0x48,
        Access.CLEAR,
        *_ACT_ERRORS,
        _SHAPE,
        _NOT_READY,
        _ABORTED,
        ("bus_error", "the memory answered with an error; the job went on without reading"),
        ("outside", "a row would not have been in the weight region; the job went on without reading"),
    ),
    *_SIZES,
    _flags("mode", 0x5C, Access.JOB, ("dense", "read the weights of all channels")),
    _whole("keep", 0x60, Access.JOB, "N of the job, 1 to M", 6),
    _whole("base_low", 0x64, Access.JOB, "address of the weights, a multiple of a row's bytes; bits 31 to 0"),
    _whole("base_high", 0x68, Access.JOB, "bits 63 to 32"),
    _whole("limit_low", 0x6C, Access.JOB, "first address after the weight region; bits 31 to 0"),
    _whole("limit_high", 0x70, Access.JOB, "bits 63 to 32"),
    _CYCLES,
    _whole("rows", 0x84, Access.READ_ONLY, "rows of weights read"),
    _whole("beats", 0x88, Access.READ_ONLY, "beats of weights multiplied"),
    _whole("wait_memory", 0x8C, Access.READ_ONLY, "cycles in which the multipliers waited for the memory"),
    _whole("wait_results", 0x90, Access.READ_ONLY, "cycles in which they waited for sums to settle or to leave"),
)
"""Registers of the decode engine by name."""

REGISTER_MAPS: Mapping[str, RegisterMap] = {"linear": BY_NAME, "decode": DECODE}
"""Register maps by the name of the unit."""
