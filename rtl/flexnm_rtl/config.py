"""The one configuration that drives RTL, software model, testbench and documents.

Standard library only. What follows from it is a property of ``sizes.Sizes``; limits and choices stand in ``limits``.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flexnm_rtl.limits import (
    BIAS_WIDTH,
    BUS_WIDTHS,
    CHANNEL_SHIFT_WIDTH,
    EXPONENT_WIDTH,
    FLEXIBLE_GROUPS,
    GAIN_FRACTION,
    GAIN_WIDTH,
    MAX_ARRAY_SIDE,
    MAX_FACTOR_WIDTH,
    MAX_FRACTION_BITS,
    MAX_GROUP,
    MAX_K,
    MAX_OUTSTANDING,
    MAX_T,
    MAX_WIDTH,
    MIN_WIDTH,
    MULTIPLIER_WIDTH,
    PARAMETER_BITS,
    ROW_SUM_WIDTH,
    SHIFT_WIDTH,
    TOKEN_METHODS,
    ConfigError,
    Metadata,
    ScoreFactor,
    Selector,
    bits_for,
    ceil_div,
    divisors,
    member,
    require,
    require_choice,
    require_int,
    sum_bits,
)
from flexnm_rtl.sizes import Sizes

__all__ = [
    "BIAS_WIDTH",
    "BUS_WIDTHS",
    "CHANNEL_SHIFT_WIDTH",
    "EXPONENT_WIDTH",
    "FLEXIBLE_GROUPS",
    "GAIN_FRACTION",
    "GAIN_WIDTH",
    "MAX_ARRAY_SIDE",
    "MAX_FACTOR_WIDTH",
    "MAX_FRACTION_BITS",
    "MAX_GROUP",
    "MAX_K",
    "MAX_OUTSTANDING",
    "MAX_T",
    "MAX_WIDTH",
    "MIN_WIDTH",
    "MULTIPLIER_WIDTH",
    "PARAMETER_BITS",
    "ROW_SUM_WIDTH",
    "SHIFT_WIDTH",
    "TOKEN_METHODS",
    "Config",
    "ConfigError",
    "Metadata",
    "ScoreFactor",
    "Selector",
    "bits_for",
    "ceil_div",
    "sum_bits",
]


@dataclass(frozen=True, kw_only=True)
class Config(Sizes):
    """An N:M activation-sparsity design.

    n_keep, m_group: N and M of the pattern: of every ``m_group`` consecutive channels exactly ``n_keep`` are kept.
    flexible: the pattern is chosen at run time: any N of M = 4, 8, .. ``m_group`` channels, as long as the blocks of
    ``m_group`` channels keep no more than ``n_keep`` in all; a unit takes ``m_group`` channels at a time.
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
    flexible: bool = False
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
        require_int("M", self.m_group, 2, MAX_GROUP)
        require_int("N", self.n_keep, 1, MAX_GROUP)
        require(self.n_keep <= self.m_group, f"N={self.n_keep} exceeds M={self.m_group}: choose 1 <= N <= M")
        require_int("WIDTH", self.act_width, MIN_WIDTH, MAX_WIDTH)
        require_int("WEIGHT_WIDTH", self.weight_width, MIN_WIDTH, MAX_WIDTH)
        require_int("ROWS", self.rows, 1, MAX_ARRAY_SIDE)
        require_int("COLS", self.cols, 1, MAX_ARRAY_SIDE)
        require_int("LANES", self.lanes, 1, MAX_GROUP)
        choices = ", ".join(map(str, divisors(self.n_keep)))
        require(
            self.n_keep % self.lanes == 0,
            f"LANES={self.lanes} does not divide N={self.n_keep}: choose one of {choices}",
        )
        require_int("K_MAX", self.k_max, self.m_group, MAX_K)
        if self.t_max:
            require_int("T_MAX", self.t_max, self.rows * self.dense_beats, MAX_T)
        for name, value, side in (
            ("ACTS_PER_BEAT", self.acts_per_beat, self.rows),
            ("WEIGHTS_PER_BEAT", self.weights_per_beat, self.cols),
            ("RESULTS_PER_BEAT", self.results_per_beat, self.cols),
        ):
            require_int(name, value, 0, side)
            choices = ", ".join(map(str, divisors(side)))
            require(not value or side % value == 0, f"{name}={value} does not divide {side}: choose one of {choices}")
        require_choice("BUS_WIDTH", self.bus_width, BUS_WIDTHS)
        most = min(256, 4096 * 8 // self.bus_width)
        require_choice("TILE_BEATS", self.tile_beats, [1 << k for k in range(most.bit_length())])
        require_int("OUTSTANDING", self.outstanding, 2, MAX_OUTSTANDING)
        require_int("ADDRESS_WIDTH", self.address_width, 16, 64)
        object.__setattr__(self, "metadata", member(Metadata, "METADATA", self.metadata))
        object.__setattr__(self, "selector", member(Selector, "SELECTOR", self.selector))
        object.__setattr__(self, "score_factor", member(ScoreFactor, "SCORE_FACTOR", self.score_factor))
        self._check_methods()
        self._check_flexible()

    def _check_flexible(self) -> None:
        require_choice("FLEXIBLE", int(self.flexible), (0, 1))
        object.__setattr__(self, "flexible", bool(self.flexible))
        if self.flexible:
            require_choice("FLEXIBLE=1 with M", self.m_group, [m for m in FLEXIBLE_GROUPS if m > FLEXIBLE_GROUPS[0]])
            require(
                self.metadata is Metadata.BITMASK,
                f"FLEXIBLE=1 with METADATA={self.metadata} is not possible: choose bitmask",
            )
            require(
                self.selector in (Selector.AUTO, Selector.RADIX),
                f"FLEXIBLE=1 with SELECTOR={self.selector} is not possible: choose auto or radix",
            )

    def _check_methods(self) -> None:
        kind = self.score_factor
        if kind is ScoreFactor.NONE:
            require(not self.factor_width, f"FACTOR_WIDTH={self.factor_width} needs SCORE_FACTOR=multiply or shift")
        else:
            if not self.factor_width:
                object.__setattr__(self, "factor_width", 8 if kind is ScoreFactor.MULTIPLY else 3)
            require_int("FACTOR_WIDTH", self.factor_width, 1, MAX_FACTOR_WIDTH[kind])
        for name in TOKEN_METHODS:
            require_choice(name.upper(), int(getattr(self, name)), (0, 1))
            object.__setattr__(self, name, bool(getattr(self, name)))
        require_int("FRACTION_BITS", self.fraction_bits, 0, MAX_FRACTION_BITS)
        require(
            not self.fraction_bits or self.shifts,
            f"FRACTION_BITS={self.fraction_bits} needs a shift: set STATIC_SHIFT=1 or TOKEN_SHIFT=1",
        )
        require(
            not self.static_shift or self.act_ports & (self.act_ports - 1) == 0,
            f"STATIC_SHIFT=1 needs a power of two of activation blocks in a beat: {self.act_ports} is none",
        )
        require(
            self.value_width <= MAX_WIDTH,
            f"WIDTH={self.act_width} and FRACTION_BITS={self.fraction_bits} exceed {MAX_WIDTH} bits: lower one",
        )

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
        require(not unknown, f"unknown key {', '.join(unknown)}: known keys are {', '.join(sorted(known))}")
        return cls(**fields)
