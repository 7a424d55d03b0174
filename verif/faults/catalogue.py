"""Deliberate bugs in the RTL, each a replacement of one piece of source text, and the bench that has to go red."""

from __future__ import annotations

from decode_faults import DECODE_FAULTS
from engine_faults import ENGINE_FAULTS
from fault import Fault
from flexible_faults import FLEXIBLE_FAULTS
from method_faults import METHOD_FAULTS

UNIT_FAULTS = [
    Fault(
        "rank: the higher channel wins a tie",
        "select_rank.py",
        "self.scores[low] >= self.scores[high]",
        "self.scores[low] > self.scores[high]",
        "compressor-n2m4",
    ),
    Fault(
        "rank: one channel too many",
        "select_rank.py",
        "lost, i) < self._keep()",
        "lost, i) <= self._keep()",
        "compressor-n2m4",
    ),
    Fault(
        "column sum: carries out of half adders are lost",
        "arith.py",
        "any_of([a & b for a, b in combinations(bits, 2)])",
        "any_of([a & b for a, b in combinations(bits, 2)][len(bits) == 2 :] or [Const(0)])",
        "compressor-n16m32",
    ),
    Fault(
        "radix: what is missing never changes",
        "select_radix.py",
        "zip(equal, [*sums, state.missing], strict=True)",
        "zip(equal, [state.missing] * len(equal), strict=True)",
        "compressor-n16m32",
    ),
    Fault(
        "radix: the last tied channel is left out",
        "select_radix.py",
        'tied[:i], missing), f"place_{i}")',
        'tied[: i + 1], missing), f"place_{i}")',
        "compressor-n16m32",
    ),
    Fault(
        "radix: a group of ties fits always",
        "select_radix.py",
        "gate(room[g + 1], members)",
        "gate(room[g], members)",
        "compressor-n16m32",
    ),
    Fault("magnitude: one's complement", "arith.py", "-bits, bits", "~bits, bits", "compressor-n2m4"),
    Fault(
        "magnitude: -128 counts as 0",
        "arith.py",
        "-bits, bits)[: len(bits)]",
        "-bits, bits)[: len(bits) - 1]",
        "compressor-n2m4",
    ),
    Fault(
        "compressor: padding competes",
        "block_selection.py",
        "gate(self.i.p.keep[i], magnitude(value))",
        "magnitude(value)",
        "compressor-n3m5",
    ),
    Fault(
        "compressor: last a stage early",
        "block_selection.py",
        "delay(m, control.enable, self.i.p.last",
        "delay(m, control.enable[1:], self.i.p.last",
        "compressor-n2m4",
    ),
    Fault(
        "compressor: last lost",
        "compressor.py",
        'self.o.p.last.eq(delay(m, control.enable, marked.p.last, "last"))',
        "self.o.p.last.eq(0)",
        "compressor-n2m4",
    ),
    Fault(
        "pipeline: a stalled stage is overwritten",
        "pipeline.py",
        "self.enable[k].eq(ready[k] & incoming[k])",
        "self.enable[k].eq(incoming[k])",
        "compressor-n2m4",
    ),
    Fault(
        "pipeline: valid falls under back-pressure",
        "pipeline.py",
        "with m.If(ready[k]):",
        "with m.If(ready[k] | ~self.i_valid):",
        "decompressor-n2m4",
    ),
    Fault(
        "pipeline: valid survives a reset",
        "pipeline.py",
        "valid = Signal(self.depth)",
        "valid = Signal(self.depth, reset_less=True)",
        "compressor-n2m4",
    ),
    Fault(
        "pipeline: valid unknown after power-up",
        "pipeline.py",
        "valid = Signal(self.depth)",
        "valid = Signal(self.depth, reset_less=True)",
        "decompressor-n2m4",
        "test_icarus_lets_no_unknown_out",
    ),
    Fault(
        "index list: fields off by one",
        "positions.py",
        "Const(n + d, cfg.index_width)",
        "Const(n + d + 1, cfg.index_width)",
        "compressor-n4m8-index",
    ),
    Fault(
        "positions: offset off by one",
        "positions.py",
        "gate(hit, Const(d, cfg.offset_width))",
        "gate(hit, Const(max(d - 1, 0), cfg.offset_width))",
        "mac_array-n2m4",
    ),
    Fault(
        "positions: the window ends too early",
        "positions.py",
        "range(min(cfg.window, cfg.m_group - n))",
        "range(max(1, min(cfg.window, cfg.m_group - n) - 1))",
        "compressor-n2m4",
    ),
    Fault(
        "decompressor: position off by one",
        "decompressor.py",
        "position[i] == n",
        "position[i + 1] == n",
        "decompressor-n2m4",
    ),
    Fault(
        "dense splitter: repeated channels sent twice",
        "dense_split.py",
        "return Cat(*zeros, *channels[repeated:])",
        "return Cat(*channels)",
        "dense_splitter-n3m5",
    ),
    Fault(
        "array: activations taken as unsigned",
        "processing_element.py",
        "product.eq(value * weight)",
        "product.eq(value.as_unsigned() * weight)",
        "mac_array-n2m4",
    ),
    Fault(
        "array: accumulator a bit too narrow",
        "processing_element.py",
        "total = Signal(signed(cfg.acc_width), reset_less=True)",
        "total = Signal(signed(cfg.acc_width - 1), reset_less=True)",
        "mac_array-n2m4",
    ),
    Fault(
        "array: sums not cleared between groups",
        "processing_element.py",
        "Mux(self.clear, 0, total)",
        "total",
        "mac_array-n2m4",
    ),
    Fault(
        "array: results overwritten under back-pressure",
        "sequencer.py",
        "busy & ~(ends_group & undrained)",
        "busy",
        "mac_array-n2m4",
    ),
    Fault(
        "array: hold takes the weights",
        "sequencer.py",
        "free & self.acts_valid & ~self.hold",
        "free & self.acts_valid",
        "mac_array-n2m4",
    ),
    Fault(
        "array: a reset leaves the group open",
        "sequencer.py",
        "group_start = Signal(init=1)",
        "group_start = Signal(init=1, reset_less=True)",
        "mac_array-n2m4",
    ),
    Fault(
        "array: step counter survives a reset",
        "sequencer.py",
        "step = Signal(range(self.most_steps))",
        "step = Signal(range(self.most_steps), reset_less=True)",
        "mac_array-n2m4",
    ),
    Fault(
        "array: last on the wrong row",
        "drain.py",
        "self.o.p.last.eq(left == 1)",
        "self.o.p.last.eq(left == 2)",
        "mac_array-n2m4",
    ),
    Fault(
        "array: lanes see the wrong step",
        "operands.py",
        "held >> (self.step * self.width)",
        "held >> self.width",
        "mac_array-n4m8-index",
    ),
    Fault(
        "array: a bubble after every beat",
        "sequencer.py",
        "~next_busy | (next_final & ~(next_last & (undrained | group_done)))",
        "~next_busy",
        "mac_array-n2m4",
    ),
]

FAULTS = [*UNIT_FAULTS, *ENGINE_FAULTS, *METHOD_FAULTS, *FLEXIBLE_FAULTS, *DECODE_FAULTS]
