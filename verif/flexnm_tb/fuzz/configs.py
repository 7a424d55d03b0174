"""The engines under fuzz: small, so that every corner comes up often."""

from __future__ import annotations

from flexnm_rtl.config import Config, Metadata, ScoreFactor, Selector

LINEAR = {
    "n2m4": Config(n_keep=2, m_group=4, rows=2, cols=4, lanes=2, k_max=64, t_max=8),
    "n2m4-serial": Config(n_keep=2, m_group=4, rows=4, cols=4, lanes=1, k_max=48, t_max=16, acts_per_beat=2),
    "n8m16-rank2": Config(
        n_keep=8, m_group=16, rows=2, cols=4, lanes=4, k_max=96, t_max=8, selector=Selector.RANK2, weights_per_beat=1
    ),
    "n3m5-narrow": Config(
        n_keep=3, m_group=5, rows=3, cols=6, lanes=3, k_max=60, act_width=6, weight_width=5, t_max=9,
        metadata=Metadata.INDEX, results_per_beat=2,
    ),
    "n4m8-enumerative": Config(
        n_keep=4, m_group=8, rows=2, cols=4, lanes=2, k_max=64, t_max=8, metadata=Metadata.ENUMERATIVE
    ),
    "flexible": Config(n_keep=12, m_group=16, flexible=True, rows=2, cols=4, lanes=2, k_max=64, t_max=8),
    "methods": Config(
        n_keep=4, m_group=8, rows=2, cols=4, lanes=2, k_max=64, t_max=8, score_factor=ScoreFactor.MULTIPLY,
        static_shift=True, token_shift=True, variance=True, fraction_bits=2,
    ),
}  # fmt: skip
DECODE = {
    "decode-n2m4": Config(n_keep=2, m_group=4, rows=2, lanes=2, k_max=64, bus_width=64, tile_beats=2, outstanding=4),
    "decode-n3m5": Config(
        n_keep=3, m_group=5, rows=3, lanes=3, k_max=60, weight_width=5, act_width=6, bus_width=128, tile_beats=4
    ),
    "decode-n8m16": Config(rows=1, k_max=96, address_width=40, bus_width=64, tile_beats=4, outstanding=2),
}
CONFIGS = LINEAR | DECODE
