"""Tokens of a decode job: pruned, and kept with the union of their masks."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from flexnm_rtl.arith import any_of, gate
from flexnm_rtl.block_selection import BlockSelection
from flexnm_rtl.config import Config, bits_for
from flexnm_rtl.loops import Loop, LoopNest
from flexnm_rtl.packet_guard import PacketGuard
from flexnm_rtl.pipeline import delay
from flexnm_rtl.sharing import add_shared


def token_beat(cfg: Config) -> data.ArrayLayout:
    """A beat of the activation stream: the same M channels of ``rows`` tokens, whole bytes each, token 0 lowest."""
    values = data.ArrayLayout(signed(cfg.act_width), cfg.m_group)
    slot = data.FlexibleLayout(8 * cfg.dense_slot_bytes, {"dense": data.Field(values, 0)})
    return data.ArrayLayout(slot, cfg.rows)


def token_entry(cfg: Config) -> data.StructLayout:
    """A block of all tokens: ``mask``, channels that any token keeps; ``values``, 0 where a token does not keep."""
    token = data.ArrayLayout(signed(cfg.act_width), cfg.m_group)
    return data.StructLayout({"mask": unsigned(cfg.m_group), "values": data.ArrayLayout(token, cfg.rows)})


class TokenLoader(wiring.Component):
    """Takes the activation packet of a decode job and writes an entry for every block of channels.

    ``i``: stream of ``token_beat`` and ``last``, one beat a block. ``tokens``: real tokens, 1 .. rows; the others
    count as zeros and mark nothing. ``channels``: K; channels beyond it are padding, never marked. ``keep``: N.
    ``dense``: mark all channels. ``write``, ``addr``, ``entry``: to the token memory; ``filled``: entries there are.
    A beat a cycle. ``short``, ``long``, ``abort``: see ``PacketGuard``.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.depth = cfg.blocks(cfg.k_max)
        self.guard = PacketGuard(token_beat(cfg))
        super().__init__(
            {
                "i": In(self.guard.i.signature.flip()),
                "start": In(1),
                "abort": In(1),
                "tokens": In(range(cfg.rows + 1)),
                "channels": In(range(cfg.k_max + 1)),
                "keep": In(range(cfg.m_group + 1)),
                "dense": In(1),
                "write": Out(1),
                "addr": Out(bits_for(self.depth)),
                "entry": Out(token_entry(cfg)),
                "filled": Out(range(self.depth + 1)),
                "short": Out(1),
                "long": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        m.submodules.guard = guard = self.guard
        m.submodules.walk = walk = LoopNest(Loop("k", cfg.k_max, cfg.m_group))
        wiring.connect(m, wiring.flipped(self.i), guard.i)
        real = Signal(cfg.m_group)
        m.d.comb += [
            guard.start.eq(self.start),
            guard.abort.eq(self.abort),
            guard.final.eq(walk.final),
            self.short.eq(guard.short),
            self.long.eq(guard.long),
            walk.start.eq(self.start),
            walk.advance.eq(guard.o.valid & guard.o.ready),
            walk.k_limit.eq(self.channels),
            real.eq(Cat(walk.k_left > i for i in range(cfg.m_group))),
        ]
        built: list[BlockSelection] = []

        def build() -> BlockSelection:
            built.append(BlockSelection(cfg, runtime_n=True))
            return built[-1]

        selections = [add_shared(m, platform, "selection", f"selection_{row}", build) for row in range(cfg.rows)]
        # Beside the block that leaves the selections, which never stall.
        latency = built[0].latency
        shown = delay(m, Const((1 << latency) - 1, latency), real, "real")
        masks = []
        for row, selection in enumerate(selections):
            mask = self._token(m, guard.o, selection, real, shown, row)
            masks.append(gate(self.tokens > row, mask))
        filled = Signal.like(self.filled)
        m.d.comb += [self.entry.mask.eq(any_of(masks)), self.addr.eq(filled), self.filled.eq(filled)]
        with m.If(self.start):
            m.d.sync += filled.eq(0)
        with m.Elif(self.write):
            m.d.sync += filled.eq(filled + 1)
        return m

    def _token(self, m: Module, o: stream.Interface, selection: Any, real: Signal, shown: Signal, row: int) -> Value:
        """The pruned values of one token into the entry; returns the channels it keeps.

        real, shown: which channels of the block are no padding, where it enters the selection and where it leaves it.
        """
        cfg = self.cfg
        m.d.comb += [
            Value.cast(selection.i.p["values"]).eq(Value.cast(o.p[row].dense)),
            selection.i.p.keep.eq(real),
            selection.i.p.last.eq(0),
            selection.i.valid.eq(o.valid),
            selection.o.ready.eq(1),
            selection.n.eq(self.keep),
        ]
        if row == 0:
            m.d.comb += [o.ready.eq(selection.i.ready), self.write.eq(selection.o.valid)]
        # The last block's padding can be marked where a token has fewer than N real channels.
        kept = Signal(cfg.m_group, name=f"kept_{row}")
        m.d.comb += kept.eq(Mux(self.dense, shown, selection.o.p.mask & shown))
        values = selection.o.p["values"]
        for i in range(cfg.m_group):
            m.d.comb += Value.cast(self.entry["values"][row][i]).eq(gate(kept[i] & (self.tokens > row), values[i]))
        return kept
