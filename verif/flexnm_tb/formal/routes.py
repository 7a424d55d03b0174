"""The way from metadata to weights: what a processing element chooses is what was kept."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Cat, Const, Fragment, Module, Value
from flexnm_rtl.arith import any_of, gate
from flexnm_rtl.compaction import network_of
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.positions import RouteDecoder

from flexnm_tb.formal.blocks import PATTERNS
from flexnm_tb.formal.proof import FORWARD, Circuit, Proof, check
from flexnm_tb.formal.rules import named, population


def _route(n: int, channels: int, metadata: Metadata) -> Circuit:
    """A decoder, and the network of an element with weights of one bit: the others go the same way."""

    def describe(m: Module, c: Circuit) -> None:
        cfg = Config(n_keep=n, m_group=channels, lanes=n, metadata=metadata)
        decoder = RouteDecoder(cfg)
        m.submodules.decoder = Fragment.get(decoder, None)
        weights, mask = c.free(channels, "weights"), c.free(channels, "mask")
        legal = named(m, population(mask) == n, "legal")
        below = [named(m, population(mask[:i]) if i else Const(0, 1), f"below_{i}") for i in range(channels)]
        at = [[named(m, mask[i] & (below[i] == k), f"at_{k}_{i}") for i in range(channels)] for k in range(n)]
        word: Value = mask
        if metadata is Metadata.INDEX:
            word = Cat(any_of([gate(hit, Const(i, cfg.index_width)) for i, hit in enumerate(hits)]) for hits in at)
        m.d.comb += decoder.word.eq(word)
        found = network_of(cfg).apply(m, list(weights), Value.cast(decoder.route), "weights")
        for k, hits in enumerate(at):
            expected = any_of([gate(hit, weights[i]) for i, hit in enumerate(hits)])
            check(m, f"lane_{k}", ~legal | (found[k] == expected))

    return Circuit(describe)


def proofs() -> list[Proof]:
    """For every pattern, from bitmasks and from index lists."""
    return [
        Proof(
            name=f"route/{n}:{m}/{metadata.value}",
            claim="From the metadata of a block to its weights: the n-th lane gets the weight of the n-th kept "
            "channel, for every mask with N bits (all weights, canonical forms).",
            build=partial(_route, n, m, metadata),
            engine=FORWARD,
            depth=1,
        )
        for n, m in PATTERNS
        for metadata in (Metadata.BITMASK, Metadata.INDEX)
    ]
