"""Everything that follows from a configuration: widths, index ranges, metadata sizes, ports of the engines.

Standard library only. What follows from a component's structure (latencies) is an attribute of that component.
"""

from __future__ import annotations

import math

from flexnm_rtl.limits import (
    FLEXIBLE_GROUPS,
    PARAMETER_BITS,
    ROW_SUM_WIDTH,
    Metadata,
    ScoreFactor,
    Selector,
    bits_for,
    ceil_div,
    divisors,
    sum_bits,
)

NARROW_SCORE = 8
"""Bits of a score for which ``auto`` chooses no ``rank2`` (``selection.RANK_MAX_WIDTH``)."""


class Sizes:
    """The derived properties of a ``Config``, whose fields these are."""

    n_keep: int
    m_group: int
    flexible: bool
    act_width: int
    weight_width: int
    rows: int
    cols: int
    lanes: int
    k_max: int
    metadata: Metadata
    selector: Selector
    t_max: int
    acts_per_beat: int
    weights_per_beat: int
    results_per_beat: int
    score_factor: ScoreFactor
    factor_width: int
    static_shift: bool
    token_shift: bool
    variance: bool
    fraction_bits: int
    bus_width: int
    tile_beats: int
    outstanding: int
    address_width: int

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
    def score_max(self) -> int:
        """Largest score: that of the most negative value, with the largest factor."""
        largest = 1 << (self.value_width - 1)
        if self.score_factor is ScoreFactor.MULTIPLY:
            return largest * ((1 << self.factor_width) - 1)
        return largest << (self.score_width - self.value_width)

    @property
    def index_width(self) -> int:
        """Bits of a channel index inside a block."""
        return bits_for(self.m_group)

    @property
    def metadata_width(self) -> int:
        """Bits of metadata in one compressed block."""
        if self.metadata is Metadata.ENUMERATIVE:
            return bits_for(math.comb(self.m_group, self.n_keep))
        return self.m_group if self.metadata is Metadata.BITMASK else self.n_keep * self.index_width

    @property
    def window(self) -> int:
        """Channels a kept position can come from: the n-th kept value lies in channel ``n .. n + M - N``.

        In a flexible unit, which may keep fewer, in channel n or any higher one.
        """
        return self.m_group if self.flexible else self.m_group - self.n_keep + 1

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
    def short_stages(self) -> bool:
        """Whether long stages are cut in two, for FPGAs: more registers, a higher clock rate.

        So it is with ``SELECTOR=rank2`` where ``auto`` never takes it: for scores of ``NARROW_SCORE`` bits or less.
        """
        return self.selector is Selector.RANK2 and self.score_width <= NARROW_SCORE

    @property
    def groups(self) -> tuple[int, ...]:
        """Block sizes that a flexible unit switches between, ascending; otherwise M alone."""
        return tuple(m for m in FLEXIBLE_GROUPS if m <= self.m_group) if self.flexible else (self.m_group,)

    def most_kept(self, m: int) -> int:
        """Largest N that a flexible unit has room for in blocks of ``m`` of its ``m_group`` channels; 0: none."""
        return self.n_keep * m // self.m_group

    def kept(self, n: int, m: int) -> int:
        """Values that a flexible unit keeps of its ``m_group`` channels in n:m."""
        return self.m_group // m * n

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
        """Bits of the signed sum of an output's weights over ``k_max`` channels, as far as the parameters hold it."""
        return min(ROW_SUM_WIDTH, sum_bits(self.k_max, self.weight_width))

    @property
    def act_ports(self) -> int:
        """Blocks of activations in a beat of the engine: a group of ``rows`` arrives in ``steps`` beats or less."""
        return self.acts_per_beat or next(d for d in divisors(self.rows) if d * self.steps >= self.rows)

    @property
    def weight_ports(self) -> int:
        """Blocks of weights in a beat of the engine: a block of all ``cols`` arrives in ``steps`` beats or less."""
        return self.weights_per_beat or next(d for d in divisors(self.cols) if d * self.steps >= self.cols)

    @property
    def result_ports(self) -> int:
        """Results in a beat of the engine."""
        return self.results_per_beat or next(d for d in divisors(self.cols) if 4 * d >= self.cols)

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
