"""The one configuration that drives RTL, software model, testbenches and documents.

Standard library only. Everything that follows from the configuration (widths, index ranges, metadata sizes) is a
property here; what follows from a component's structure (latencies) is an attribute of that component.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

MAX_GROUP = 32
MIN_WIDTH, MAX_WIDTH = 4, 16
MAX_ARRAY_SIDE = 256
MAX_K = 1 << 20
MAX_T = 1 << 16
MAX_OUTSTANDING = 256
BUS_WIDTHS = (64, 128, 256, 512)

# Parameters of one output, packed from the lowest bit up; with the sum of its weights the word is twice as long. The
# rules they belong to stand in ``flexnm_model.requantize`` and ``flexnm_model.token_methods``.
BIAS_WIDTH, MULTIPLIER_WIDTH, SHIFT_WIDTH = 32, 16, 6
PARAMETER_BITS = 64
ROW_SUM_WIDTH = 32

# Fixed point of the methods that change values or sums; the rule stands in ``flexnm_model.token_methods``, the accuracy
# against the number of bits in docs/methods.md.
CHANNEL_SHIFT_WIDTH = 16
EXPONENT_WIDTH = 4
GAIN_WIDTH, GAIN_FRACTION = 16, 12
MAX_FACTOR_WIDTH = {"multiply": 16, "shift": 4}
MAX_FRACTION_BITS = 4

_E = TypeVar("_E", bound=enum.StrEnum)


class ConfigError(ValueError):
    """A configuration that cannot be built. The message is one line: what is wrong and what would be right."""


class Metadata(enum.StrEnum):
    """How a compressed block says which channels were kept (bit layouts: ``flexnm_model.metadata``)."""

    BITMASK = "bitmask"
    INDEX = "index"


class Selector(enum.StrEnum):
    """Hardware algorithm of the selection. All of them compute the same mask."""

    AUTO = "auto"
    RANK = "rank"
    RADIX = "radix"


class ScoreFactor(enum.StrEnum):
    """What a per-channel factor does to the magnitude in the score."""

    NONE = "none"
    MULTIPLY = "multiply"
    SHIFT = "shift"


def bits_for(values: int) -> int:
    """Bits that hold the unsigned integers ``0 .. values - 1`` (at least one)."""
    return max(1, (values - 1).bit_length())


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below ``a / b``."""
    return -(-a // b)


def _divisors(value: int) -> list[int]:
    return [d for d in range(1, value + 1) if value % d == 0]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_int(name: str, value: object, low: int, high: int) -> None:
    _require(
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"{name}={value} is out of range: it must be a whole number from {low} to {high}",
    )


def _require_choice(name: str, value: object, choices: Sequence[int]) -> None:
    _require(
        isinstance(value, int) and not isinstance(value, bool) and value in choices,
        f"{name}={value} is not possible: choose one of {', '.join(map(str, choices))}",
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """An N:M activation-sparsity design.

    n_keep, m_group: N and M of the pattern: of every ``m_group`` consecutive channels exactly ``n_keep`` are kept.
    act_width: bits of a signed (two's complement) activation.
    weight_width: bits of a signed (two's complement) weight.
    rows, cols: processing elements for tokens and for outputs.
    lanes: multipliers in one processing element; divides ``n_keep``. A block takes ``n_keep / lanes`` cycles.
    k_max: largest number of input channels K; the accumulator is wide enough for it, whatever the data.
    metadata: format of the position information in a compressed block.
    selector: selection algorithm; ``auto`` lets the generator choose by ``m_group``.
    t_max: largest number of tokens in a job of the linear engine; sizes its activation buffer. 0 chooses 64, or more
    where ``rows`` needs it (``tokens_max``).
    acts_per_beat, weights_per_beat, results_per_beat: blocks of activations (tokens), outputs' blocks of weights, and
    results in a beat of the linear engine's streams; divide ``rows``, ``cols`` and ``cols``. 0 chooses: the smallest
    number that keeps the array busy (``act_ports``, ``weight_ports``), and a quarter of ``cols`` (``result_ports``).
    score_factor: ``multiply``: a channel's score is its magnitude times an unsigned factor of ``factor_width`` bits;
    ``shift``: its magnitude shifted left by ``factor_width`` bits' worth; ``none``: no such hardware.
    static_shift, token_shift, variance: hardware of the linear engine for the mitigations S-PTS and L-PTS, D-PTS, VAR.
    fraction_bits: bits below the activations' unit that shifted values keep.
    bus_width: bits of the decode engine's memory bus. tile_beats: beats of a row of weights in memory, a power of two,
    4096 bytes at most. outstanding: bursts the decode engine has under way at a time. address_width: bits of its
    addresses.

    Raises ConfigError when a value is out of range or two of them contradict each other.
    """

    n_keep: int = 8
    m_group: int = 16
    act_width: int = 8
    weight_width: int = 8
    rows: int = 4
    cols: int = 8
    lanes: int = 8
    k_max: int = 16384
    metadata: Metadata = Metadata.BITMASK
    selector: Selector = Selector.AUTO
    t_max: int = 0
    acts_per_beat: int = 0
    weights_per_beat: int = 0
    results_per_beat: int = 0
    score_factor: ScoreFactor = ScoreFactor.NONE
    factor_width: int = 0
    static_shift: bool = False
    token_shift: bool = False
    variance: bool = False
    fraction_bits: int = 0
    bus_width: int = 128
    tile_beats: int = 16
    outstanding: int = 16
    address_width: int = 32

    def __post_init__(self) -> None:
        _require_int("M", self.m_group, 2, MAX_GROUP)
        _require_int("N", self.n_keep, 1, MAX_GROUP)
        _require(self.n_keep <= self.m_group, f"N={self.n_keep} exceeds M={self.m_group}: choose 1 <= N <= M")
        _require_int("WIDTH", self.act_width, MIN_WIDTH, MAX_WIDTH)
        _require_int("WEIGHT_WIDTH", self.weight_width, MIN_WIDTH, MAX_WIDTH)
        _require_int("ROWS", self.rows, 1, MAX_ARRAY_SIDE)
        _require_int("COLS", self.cols, 1, MAX_ARRAY_SIDE)
        _require_int("LANES", self.lanes, 1, MAX_GROUP)
        choices = ", ".join(map(str, _divisors(self.n_keep)))
        _require(
            self.n_keep % self.lanes == 0,
            f"LANES={self.lanes} does not divide N={self.n_keep}: choose one of {choices}",
        )
        _require_int("K_MAX", self.k_max, self.m_group, MAX_K)
        if self.t_max:
            _require_int("T_MAX", self.t_max, self.rows * self.dense_beats, MAX_T)
        for name, value, side in (
            ("ACTS_PER_BEAT", self.acts_per_beat, self.rows),
            ("WEIGHTS_PER_BEAT", self.weights_per_beat, self.cols),
            ("RESULTS_PER_BEAT", self.results_per_beat, self.cols),
        ):
            _require_int(name, value, 0, side)
            choices = ", ".join(map(str, _divisors(side)))
            _require(not value or side % value == 0, f"{name}={value} does not divide {side}: choose one of {choices}")
        _require_choice("BUS_WIDTH", self.bus_width, BUS_WIDTHS)
        most = min(256, 4096 * 8 // self.bus_width)
        _require_choice("TILE_BEATS", self.tile_beats, [1 << k for k in range(most.bit_length())])
        _require_int("OUTSTANDING", self.outstanding, 2, MAX_OUTSTANDING)
        _require_int("ADDRESS_WIDTH", self.address_width, 16, 64)
        object.__setattr__(self, "metadata", _member(Metadata, "METADATA", self.metadata))
        object.__setattr__(self, "score_factor", _member(ScoreFactor, "SCORE_FACTOR", self.score_factor))
        self._check_methods()
        object.__setattr__(self, "selector", _member(Selector, "SELECTOR", self.selector))

    def _check_methods(self) -> None:
        kind = self.score_factor
        if kind is ScoreFactor.NONE:
            _require(not self.factor_width, f"FACTOR_WIDTH={self.factor_width} needs SCORE_FACTOR=multiply or shift")
        else:
            if not self.factor_width:
                object.__setattr__(self, "factor_width", 8 if kind is ScoreFactor.MULTIPLY else 3)
            _require_int("FACTOR_WIDTH", self.factor_width, 1, MAX_FACTOR_WIDTH[kind])
        for name in ("static_shift", "token_shift", "variance"):
            _require_choice(name.upper(), int(getattr(self, name)), (0, 1))
            object.__setattr__(self, name, bool(getattr(self, name)))
        _require_int("FRACTION_BITS", self.fraction_bits, 0, MAX_FRACTION_BITS)
        _require(
            not self.fraction_bits or self.shifts,
            f"FRACTION_BITS={self.fraction_bits} needs a shift: set STATIC_SHIFT=1 or TOKEN_SHIFT=1",
        )
        _require(
            not self.static_shift or self.act_ports & (self.act_ports - 1) == 0,
            f"STATIC_SHIFT=1 needs a power of two of activation blocks in a beat: {self.act_ports} is none",
        )
        _require(
            self.value_width <= MAX_WIDTH,
            f"WIDTH={self.act_width} and FRACTION_BITS={self.fraction_bits} exceed {MAX_WIDTH} bits: lower one",
        )

    @property
    def shifts(self) -> bool:
        """Whether values are shifted before the selection."""
        return self.static_shift or self.token_shift

    @property
    def methods(self) -> bool:
        """Whether there is hardware for any of the methods beyond selection by magnitude."""
        return self.shifts or self.variance or self.score_factor is not ScoreFactor.NONE

    @property
    def value_width(self) -> int:
        """Bits of a signed value as it is selected and multiplied: an activation and ``fraction_bits`` below it."""
        return self.act_width + self.fraction_bits

    @property
    def shift_width(self) -> int:
        """Bits of a token's signed shift, in the unit of a value: a mean of activations cannot exceed them."""
        return self.value_width + 1

    @property
    def pattern(self) -> str:
        """The pattern as people write it, for example ``8:16``."""
        return f"{self.n_keep}:{self.m_group}"

    @property
    def score_width(self) -> int:
        """Bits of an unsigned score: ``|v|`` of a signed number of ``value_width`` bits (the most negative one
        included), times or shifted by a factor.
        """
        growth = {
            ScoreFactor.NONE: 0,
            ScoreFactor.MULTIPLY: self.factor_width,
            ScoreFactor.SHIFT: (1 << self.factor_width) - 1,
        }
        return self.value_width + growth[self.score_factor]

    @property
    def index_width(self) -> int:
        """Bits of a channel index inside a block."""
        return bits_for(self.m_group)

    @property
    def metadata_width(self) -> int:
        """Bits of metadata in one compressed block."""
        return self.m_group if self.metadata is Metadata.BITMASK else self.n_keep * self.index_width

    @property
    def window(self) -> int:
        """Channels a kept position can come from: the n-th kept value lies in channel ``n .. n + M - N``."""
        return self.m_group - self.n_keep + 1

    @property
    def offset_width(self) -> int:
        """Bits of ``channel - position`` of a kept value, ``0 .. M - N``."""
        return bits_for(self.window)

    @property
    def block_bits(self) -> int:
        """Bits of a dense block."""
        return self.m_group * self.act_width

    @property
    def compressed_bits(self) -> int:
        """Bits of a compressed block: kept values and metadata."""
        return self.n_keep * self.value_width + self.metadata_width

    @property
    def compression_ratio(self) -> float:
        """Dense bits over compressed bits."""
        return self.block_bits / self.compressed_bits

    @property
    def steps(self) -> int:
        """Cycles the array spends on a compressed block."""
        return self.n_keep // self.lanes

    @property
    def dense_beats(self) -> int:
        """Compressed blocks that carry one dense block in the array's dense mode."""
        return ceil_div(self.m_group, self.n_keep)

    @property
    def product_width(self) -> int:
        """Bits of the signed product of a value and a weight."""
        return self.value_width + self.weight_width

    @property
    def acc_width(self) -> int:
        """Bits of the signed accumulator: holds ``k_max`` products of the most negative numbers."""
        return (self.k_max << (self.product_width - 2)).bit_length() + 1

    @property
    def total_width(self) -> int:
        """Bits of the signed sum after the corrections of a token: a gain below 16, a shift times a sum of weights."""
        return self.acc_width + (5 if self.variance else 2 if self.shifts else 0)

    @property
    def parameter_bits(self) -> int:
        """Bits of one output's parameters: bias, multiplier, shift; with ``token_shift`` the sum of its weights too."""
        return 2 * PARAMETER_BITS if self.token_shift else PARAMETER_BITS

    @property
    def row_sum_width(self) -> int:
        """Bits of the signed sum of an output's weights over ``k_max`` channels."""
        return (self.k_max << (self.weight_width - 1)).bit_length() + 1

    @property
    def act_ports(self) -> int:
        """Blocks of activations in a beat of the engine: a group of ``rows`` arrives in ``steps`` beats or less."""
        return self.acts_per_beat or next(d for d in _divisors(self.rows) if d * self.steps >= self.rows)

    @property
    def weight_ports(self) -> int:
        """Blocks of weights in a beat of the engine: a block of all ``cols`` arrives in ``steps`` beats or less."""
        return self.weights_per_beat or next(d for d in _divisors(self.cols) if d * self.steps >= self.cols)

    @property
    def result_ports(self) -> int:
        """Results in a beat of the engine."""
        return self.results_per_beat or next(d for d in _divisors(self.cols) if 4 * d >= self.cols)

    @property
    def tokens_max(self) -> int:
        """Largest number of tokens in a job of the engine."""
        return self.t_max or self.rows * max(self.dense_beats, ceil_div(64, self.rows))

    @property
    def tokens_max_dense(self) -> int:
        """Largest number of tokens in a dense job of the engine: a dense block takes ``dense_beats`` entries."""
        return ceil_div(self.tokens_max, self.rows) // self.dense_beats * self.rows

    @property
    def result_width(self) -> int:
        """Bits of an exact result of the engine, 32, or 64 where ``acc_width`` needs it."""
        return 32 if self.acc_width <= 32 else 64

    @property
    def requantized_width(self) -> int:
        """Bits of the container of a requantised result of the engine, which has ``act_width`` bits: 8 or 16."""
        return 8 if self.act_width <= 8 else 16

    @property
    def act_slot_bytes(self) -> int:
        """Bytes of a block of activations in the engine's stream, dense or compressed, whichever is larger."""
        return ceil_div(max(self.block_bits, self.compressed_bits), 8)

    @property
    def weight_slot_bytes(self) -> int:
        """Bytes of a block of one output's weights in the engine's stream."""
        return ceil_div(self.m_group * self.weight_width, 8)

    @property
    def parameter_slice(self) -> int:
        """Bits of an output's parameters in one weight slot: all of them, or as many as the slot's weights have."""
        return min(self.parameter_bits, self.m_group * self.weight_width)

    @property
    def parameter_words(self) -> int:
        """Weight slots that hold the parameters of one output, lowest bits first."""
        return ceil_div(self.parameter_bits, self.parameter_slice)

    @property
    def weights_per_bus(self) -> int:
        """Weights in a beat of the decode engine's memory bus; a weight of 5 to 7 bits takes 8, of 9 to 15 bits 16."""
        return self.bus_width // self.memory_weight_width

    @property
    def memory_weight_width(self) -> int:
        """Bits of a weight in the decode engine's memory: 4, 8 or 16."""
        return next(width for width in (4, 8, 16) if width >= self.weight_width)

    @property
    def decode_result_ports(self) -> int:
        """Results in a beat of the decode engine's stream."""
        return max(1, self.weights_per_bus // 4)

    @property
    def tile_outputs(self) -> int:
        """Outputs of a tile of the decode engine: the weights of a row in memory."""
        return self.tile_beats * self.weights_per_bus

    @property
    def row_bytes(self) -> int:
        """Bytes from one row of the decode engine's weights to the next."""
        return self.tile_beats * self.bus_width // 8

    @property
    def dense_slot_bytes(self) -> int:
        """Bytes of a dense block of one token in the decode engine's stream."""
        return ceil_div(self.block_bits, 8)

    def blocks(self, k: int) -> int:
        """Blocks of a token with ``k`` channels; the last one is padded with zeros."""
        return ceil_div(k, self.m_group)

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, int | str | bool]:
        """The fields as JSON-ready values; ``from_dict`` reads them back."""
        return {k: v.value if isinstance(v, enum.Enum) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Config:
        """Build from a mapping of field names. Raises ConfigError on an unknown name."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        _require(not unknown, f"unknown key {', '.join(unknown)}: known keys are {', '.join(sorted(known))}")
        return cls(**fields)


def _member(kind: type[_E], name: str, value: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        choices = ", ".join(m.value for m in kind)
        raise ConfigError(f"{name}={value} is unknown: choose one of {choices}") from None
