"""The one configuration that drives RTL, software model, testbenches and documents.

Standard library only. Everything that follows from the configuration (widths, index ranges, metadata sizes) is a
property here; what follows from a component's structure (latencies) is an attribute of that component.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

MAX_GROUP = 32
MIN_WIDTH, MAX_WIDTH = 4, 16
MAX_ARRAY_SIDE = 256
MAX_K = 1 << 20

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


def bits_for(values: int) -> int:
    """Bits that hold the unsigned integers ``0 .. values - 1`` (at least one)."""
    return max(1, (values - 1).bit_length())


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below ``a / b``."""
    return -(-a // b)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_int(name: str, value: object, low: int, high: int) -> None:
    _require(
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"{name}={value} is out of range: it must be a whole number from {low} to {high}",
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

    def __post_init__(self) -> None:
        _require_int("M", self.m_group, 2, MAX_GROUP)
        _require_int("N", self.n_keep, 1, MAX_GROUP)
        _require(self.n_keep <= self.m_group, f"N={self.n_keep} exceeds M={self.m_group}: choose 1 <= N <= M")
        _require_int("WIDTH", self.act_width, MIN_WIDTH, MAX_WIDTH)
        _require_int("WEIGHT_WIDTH", self.weight_width, MIN_WIDTH, MAX_WIDTH)
        _require_int("ROWS", self.rows, 1, MAX_ARRAY_SIDE)
        _require_int("COLS", self.cols, 1, MAX_ARRAY_SIDE)
        _require_int("LANES", self.lanes, 1, MAX_GROUP)
        divisors = [d for d in range(1, self.n_keep + 1) if self.n_keep % d == 0]
        _require(
            self.lanes in divisors,
            f"LANES={self.lanes} does not divide N={self.n_keep}: choose one of {', '.join(map(str, divisors))}",
        )
        _require_int("K_MAX", self.k_max, self.m_group, MAX_K)
        object.__setattr__(self, "metadata", _member(Metadata, "METADATA", self.metadata))
        object.__setattr__(self, "selector", _member(Selector, "SELECTOR", self.selector))

    @property
    def pattern(self) -> str:
        """The pattern as people write it, for example ``8:16``."""
        return f"{self.n_keep}:{self.m_group}"

    @property
    def score_width(self) -> int:
        """Bits of an unsigned score: ``|x|`` of a signed ``act_width``-bit number, ``2**(act_width-1)`` included."""
        return self.act_width

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
        return self.n_keep * self.act_width + self.metadata_width

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
        """Bits of the signed product of an activation and a weight."""
        return self.act_width + self.weight_width

    @property
    def acc_width(self) -> int:
        """Bits of the signed accumulator: holds ``k_max`` products of the most negative numbers."""
        return (self.k_max << (self.product_width - 2)).bit_length() + 1

    def blocks(self, k: int) -> int:
        """Blocks of a token with ``k`` channels; the last one is padded with zeros."""
        return ceil_div(k, self.m_group)

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, int | str]:
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
