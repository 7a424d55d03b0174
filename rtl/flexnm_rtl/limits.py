"""What configurations are made of: limits, fixed widths, choices, and the checks that raise ConfigError.

Standard library only.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TypeVar

MAX_GROUP = 32
FLEXIBLE_GROUPS = (4, 8, 16, 32)
"""Block sizes M that a flexible unit switches between, up to its own."""
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
TOKEN_METHODS = ("static_shift", "token_shift", "variance")
"""Methods that the linear engine may have hardware for: fields of the configuration, and mode bits of the same name."""
MAX_FACTOR_WIDTH = {"multiply": 16, "shift": 4}
MAX_FRACTION_BITS = 4

_E = TypeVar("_E", bound=enum.StrEnum)


class ConfigError(ValueError):
    """A configuration that cannot be built. The message is one line: what is wrong and what would be right."""


class Metadata(enum.StrEnum):
    """How a compressed block says which channels were kept (bit layouts: ``flexnm_model.metadata``)."""

    BITMASK = "bitmask"
    INDEX = "index"
    ENUMERATIVE = "enumerative"


class Selector(enum.StrEnum):
    """Hardware algorithm of the selection. All of them compute the same mask (docs/selection.md compares them).

    ``rank``: comparator matrix, ranks in the same cycle. ``rank2``: likewise with a register after the comparators,
    for FPGAs and wide scores. ``radix``: threshold search, two bits of the score a cycle.
    """

    AUTO = "auto"
    RANK = "rank"
    RANK2 = "rank2"
    RADIX = "radix"


class ScoreFactor(enum.StrEnum):
    """What a per-channel factor does to the magnitude in the score."""

    NONE = "none"
    MULTIPLY = "multiply"
    SHIFT = "shift"


def bits_for(values: int) -> int:
    """Bits that hold the unsigned integers ``0 .. values - 1`` (at least one)."""
    return max(1, (values - 1).bit_length())


def sum_bits(terms: int, width: int) -> int:
    """Bits of the signed sum of ``terms`` signed numbers of ``width`` bits."""
    return (terms << (width - 1)).bit_length() + 1


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below ``a / b``."""
    return -(-a // b)


def divisors(value: int) -> list[int]:
    """Ascending."""
    return [d for d in range(1, value + 1) if value % d == 0]


def require(condition: bool, message: str) -> None:
    """Raise ConfigError unless ``condition`` holds."""
    if not condition:
        raise ConfigError(message)


def require_int(name: str, value: object, low: int, high: int) -> None:
    """Raise ConfigError unless ``value`` is an int from ``low`` to ``high``."""
    require(
        isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"{name}={value} is out of range: it must be a whole number from {low} to {high}",
    )


def require_choice(name: str, value: object, choices: Sequence[int]) -> None:
    """Raise ConfigError unless ``value`` is an int and one of ``choices``."""
    require(
        isinstance(value, int) and not isinstance(value, bool) and value in choices,
        f"{name}={value} is not possible: choose one of {', '.join(map(str, choices))}",
    )


def member(kind: type[_E], name: str, value: str) -> _E:
    """The member of ``kind`` with this value. Raises ConfigError when there is none."""
    try:
        return kind(value)
    except ValueError:
        choices = ", ".join(m.value for m in kind)
        raise ConfigError(f"{name}={value} is unknown: choose one of {choices}") from None
