"""Selection bit by bit from the most significant end."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value

from flexnm_rtl.arith import popcount
from flexnm_rtl.config import bits_for, ceil_div
from flexnm_rtl.pipeline import delay
from flexnm_rtl.selection import SelectorBase

BITS_A_STAGE = 2


class RadixSelector(SelectorBase):
    """Walks the score bits from the top, keeping a set of chosen channels and a set still tied.

    At each bit, with ``room`` places left: if at most ``room`` of the tied channels have the bit set, these are
    chosen and leave the tied set; else the others drop out. After the last bit the tied channels are equal, and the
    lowest ``room`` of them are chosen. Cost grows linearly with M.
    Latency: ``ceil(score_width / 2) + 1`` cycles (two bits a stage; ties).
    """

    def __init__(self, n_keep: int, m_group: int, score_width: int, *, runtime_n: bool = False) -> None:
        stages = ceil_div(score_width, BITS_A_STAGE)
        super().__init__(n_keep, m_group, score_width, latency=stages + 1, runtime_n=runtime_n)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chosen: Value = Signal(self.m_group, name="chosen_init")
        tied: Value = Signal(self.m_group, name="tied_init", init=-1)
        room: Value = self._keep()
        planes = [Signal(self.m_group, name=f"plane_{b}") for b in range(self.score_width)]
        for b, plane in enumerate(planes):
            for i in range(self.m_group):
                m.d.comb += plane[i].eq(self.scores[i][b])

        bits = list(reversed(range(self.score_width)))
        for stage in range(self.latency - 1):
            for b in bits[stage * BITS_A_STAGE : (stage + 1) * BITS_A_STAGE]:
                plane = delay(m, self.enable[:stage], planes[b], f"plane_{b}")
                chosen, tied, room = self._step(m, b, plane, chosen, tied, room)
            chosen, tied, room = (
                delay(m, self.enable[stage : stage + 1], value, f"{name}_{stage}")
                for name, value in (("chosen", chosen), ("tied", tied), ("room", room))
            )

        kept = Signal(self.m_group, reset_less=True)
        with m.If(self.enable[-1]):
            for i in range(self.m_group):
                m.d.sync += kept[i].eq(chosen[i] | (tied[i] & (popcount(tied[:i]) < room)))
        m.d.comb += self.mask.eq(kept)
        return m

    def _step(
        self, m: Module, b: int, plane: Value, chosen: Value, tied: Value, room: Value
    ) -> tuple[Value, Value, Value]:
        ones = Signal(self.m_group, name=f"ones_{b}")
        count = Signal(bits_for(self.m_group + 1), name=f"count_{b}")
        fits = Signal(name=f"fits_{b}")
        next_room = Signal.like(room, name=f"room_{b}")
        next_chosen = Signal.like(chosen, name=f"chosen_{b}")
        next_tied = Signal.like(tied, name=f"tied_{b}")
        m.d.comb += [
            ones.eq(tied & plane),
            count.eq(popcount(ones)),
            fits.eq(count <= room),
            next_room.eq(Mux(fits, room - count, room)),
            next_chosen.eq(chosen | Mux(fits, ones, 0)),
            next_tied.eq(Mux(fits, tied & ~plane, ones)),
        ]
        return next_chosen, next_tied, next_room
