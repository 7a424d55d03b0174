"""Deliberate bugs in the decode engine; its bench in verif/sim/test_sim_decode.py has to notice."""

from __future__ import annotations

from fault import Fault


def _fault(name: str, file: str, old: str, new: str) -> Fault:
    return Fault(name, file, old, new, "n2m4", bench="test_sim_decode.py")


DECODE_FAULTS = [
    _fault("token loader: padding is marked", "token_loader.py", "selection.o.p.mask & shown", "selection.o.p.mask"),
    _fault(
        "token loader: tokens that are not there mark channels",
        "token_loader.py",
        "masks.append(gate(self.tokens > row, mask))",
        "masks.append(mask)",
    ),
    _fault("walker: highest channel first", "channel_walker.py", "lowest.eq(mask & -mask)", "lowest.eq(mask)"),
    _fault(
        "walker: base of the block one behind",
        "channel_walker.py",
        "base.eq(Mux(first, 0, upcoming))",
        "base.eq(upcoming)",
    ),
    _fault(
        "walker: last tile read as a whole one",
        "channel_walker.py",
        "Mux(walk.o_last, walk.o_left, cfg.tile_outputs)",
        "Mux(walk.o_last, cfg.tile_outputs, cfg.tile_outputs)",
    ),
    _fault(
        "reader: next tile at the address of the last one",
        "row_reader.py",
        "m.d.sync += tile.eq(tile + self.tile_bytes)",
        "m.d.sync += tile.eq(tile)",
    ),
    _fault(
        "reader: the region's end is not checked",
        "row_reader.py",
        "(address < self.limit) & (self.limit - address >= cfg.row_bytes)",
        "(address < self.limit + cfg.row_bytes)",
    ),
    _fault("reader: bad responses go unnoticed", "row_reader.py", "(bus.rresp != OKAY)", "(bus.rresp == 1)"),
    _fault(
        "reader: an address changes while it waits",
        "row_reader.py",
        "self.i.ready.eq(free & queue.w_rdy)",
        "self.i.ready.eq(queue.w_rdy)",
    ),
    _fault(
        "mac: short rows do not wait for their sums",
        "vector_mac.py",
        "self.SETTLE - 1 - beats, 0))",
        "0, 0))",
    ),
    _fault(
        "mac: a tile starts before its memory is free",
        "vector_mac.py",
        "~Mux(filling, owned[1], owned[0]) & (settling == 0)",
        "settling == 0",
    ),
    _fault(
        "mac: sums of the tile before are kept",
        "vector_mac.py",
        "Mux(word.request.first, 0, kept)",
        "kept",
    ),
    _fault("mac: values taken as unsigned", "vector_mac.py", "weight * value, 0)", "weight * value.as_unsigned(), 0)"),
    _fault(
        "selection: N of the build, not of the job",
        "selection.py",
        "return self.n if self.runtime_n else",
        "return",
    ),
]
