"""Deliberate bugs in the linear engine; its bench in verif/sim/test_sim_linear.py has to notice."""

from __future__ import annotations

from fault import Fault


def _fault(name: str, file: str, old: str, new: str, test: str = "test_verilator") -> Fault:
    return Fault(name, file, old, new, "n2m4", test, "test_sim_linear.py")


def _short_fault(name: str, file: str, old: str, new: str) -> Fault:
    return Fault(f"{name} (short stages)", file, old, new, "n4m8-rank2", "test_verilator", "test_sim_linear.py")


ENGINE_FAULTS = [
    _fault(
        "linear: bias of the tile that is being loaded",
        "linear.py",
        "store.read_addr.eq(epilogue.parameter_slot)",
        "store.read_addr.eq(weights.parameter_slot)",
    ),
    _fault(
        "linear: parameters overwritten before their use",
        "linear.py",
        "held != PARAMETER_SLOTS",
        "1",
    ),
    _fault(
        "linear: block counter counts dense beats",
        "linear.py",
        "registers.count_blocks.eq(taken & ~feeder.hold)",
        "registers.count_blocks.eq(taken)",
    ),
    _fault(
        "feeder: next tile starts at the wrong token",
        "feeder.py",
        "act.eq(Mux(tile_end, 0, after))",
        "act.eq(after)",
    ),
    _fault(
        "feeder: activations read before they are there",
        "feeder.py",
        "act < self.act_filled",
        "act <= self.act_filled",
    ),
    _fault(
        "feeder: weights read before they are there",
        "feeder.py",
        "Mux(advance, following, ahead < used)",
        "Mux(advance, following, ahead <= used)",
    ),
    _fault(
        "feeder: ring entries given back a group too early",
        "feeder.py",
        "advance & walk.t_last",
        "advance & (walk.t_left <= 2 * self.cfg.rows)",
    ),
    _fault(
        "feeder: ring filled beyond its size",
        "feeder.py",
        "Mux(self.weight_entered, held < depth - 1, held != depth)",
        "1",
    ),
    _fault(
        "act loader: one padding channel competes",
        "padding.py",
        "low.matches(*range(i + 1, 1 << bits))",
        "low.matches(*range(i, 1 << bits))",
    ),
    _fault(
        "act loader: dense blocks overlap",
        "act_loader.py",
        "base.eq(base + beat + 1)",
        "base.eq(base + 1)",
    ),
    _fault(
        "act loader: an entry counts before its last token",
        "act_loader.py",
        "            with m.If(final_chunk):\n                m.d.sync += filled",
        "            with m.If(chunk == 0):\n                m.d.sync += filled",
    ),
    _fault(
        "weight loader: first weights taken for parameters",
        "weight_loader.py",
        "Mux(self.with_parameters, self.words, 0)",
        "self.words",
    ),
    _fault(
        "weight loader: ring wraps one entry late",
        "weight_loader.py",
        "addr == self.depth - 1",
        "addr == self.depth",
    ),
    _fault(
        "loops: a full last iteration is cut off",
        "loops.py",
        "_within(left, 2 * loop.step)",
        "_within(left, 2 * loop.step - 1)",
    ),
    _fault(
        "guard: a short packet is not filled up",
        "packet_guard.py",
        "with m.If(self.short):",
        "with m.If(self.abort):",
    ),
    _fault(
        "guard: what fills up is not zero",
        "packet_guard.py",
        "Mux(filling, 0, Value.cast(self.i.p.data))",
        "Value.cast(self.i.p.data)",
    ),
    _fault(
        "guard: the rest of a long packet stays",
        "packet_guard.py",
        "draining.eq(self.long | (filling & inside))",
        "draining.eq(filling & inside)",
    ),
    _fault(
        "guard: the rest of an aborted packet stays",
        "packet_guard.py",
        "draining.eq(self.long | (filling & inside))",
        "draining.eq(self.long)",
    ),
    _fault(
        "guard: a start does not end the draining",
        "packet_guard.py",
        "draining.eq(0), inside.eq(0)]",
        "inside.eq(0)]",
    ),
    _fault(
        "guard: long packets raise no flag",
        "packet_guard.py",
        "self.long.eq(moved & ~filling & ~self.i.p.last & self.final)",
        "self.long.eq(0)",
    ),
    _fault(
        "guard: a reset leaves the packet open",
        "packet_guard.py",
        "active = Signal()",
        "active = Signal(reset_less=True)",
    ),
    _fault(
        "guard: ready unknown after power-up",
        "packet_guard.py",
        "active = Signal()",
        "active = Signal(reset_less=True)",
        "test_icarus_lets_no_unknown_out",
    ),
    _fault(
        "epilogue: rows that fill up the last group are sent",
        "epilogue.py",
        "dropping.eq(~self.i.p.last)",
        "dropping.eq(0)",
    ),
    _fault(
        "epilogue: TLAST after every tile",
        "epilogue.py",
        'walk.final, "final"',
        'walk.column_last & walk.t_last, "final"',
    ),
    _fault(
        "epilogue: always the last columns",
        "column_choice.py",
        "(self.count - k) * self.cfg.result_ports, Const",
        "(self.count - k + 1) * self.cfg.result_ports, Const",
    ),
    Fault(
        "epilogue: a start forgets rows of the job before",
        "epilogue.py",
        "m.d.sync += self.parameter_slot.eq(0)",
        "m.d.sync += [dropping.eq(0), self.parameter_slot.eq(0)]",
        "auto",
        "test_jobs_after_each_other_on_a_tall_array",
        "test_sim_linear.py",
    ),
    _short_fault(
        "epilogue: a row leaves before its last choice",
        "epilogue.py",
        "done.eq(control.enable[1] & last)",
        "done.eq(ends)",
    ),
    _short_fault(
        "epilogue: the next row is taken for the one that leaves",
        "epilogue.py",
        "return done, ~chosen, tile_ends",
        "return done, Const(1, 1), tile_ends",
    ),
    _short_fault(
        "feeder: a stage that is not empty takes an operand",
        "pipeline.py",
        "Waiting.SPACED: ~valid[k],",
        "Waiting.SPACED: ~valid[k] | 1,",
    ),
    _fault(
        "requantize: half rounds up",
        "requantize.py",
        "floor + (half & (lost | floor[0]))",
        "floor + half",
    ),
    _fault(
        "requantize: no saturation",
        "requantize.py",
        "saturate(rounded, cfg.act_width)",
        "rounded[: cfg.act_width].as_signed()",
    ),
    _fault(
        "requantize: exact results wrap",
        "requantize.py",
        "saturate(rounded, cfg.result_width)",
        "rounded[: cfg.result_width].as_signed()",
    ),
    _fault(
        "packer: all bytes of a partial beat kept",
        "packer.py",
        "keeps[k].eq(0)",
        "keeps[k].eq(-1)",
    ),
    _fault(
        "packer: valid falls under back-pressure",
        "packer.py",
        "with m.If(self.o.tvalid & self.o.tready):",
        "with m.If(self.o.tvalid):",
    ),
    _fault(
        "packer: a waiting beat is overwritten",
        "packer.py",
        "self.ready.eq(~valid | self.o.tready)",
        "self.ready.eq(1)",
    ),
    _fault(
        "axi lite: write strobes ignored",
        "axi_lite.py",
        "self.write_mask.eq(Cat(bit.replicate(8) for bit in bus.wstrb))",
        "self.write_mask.eq(0xFFFFFFFF)",
    ),
    _fault(
        "axi lite: SLVERR missing on writes",
        "axi_lite.py",
        "Mux(self.write_ok, OKAY, SLVERR)",
        "OKAY",
    ),
    _fault(
        "axi lite: SLVERR missing on reads",
        "axi_lite.py",
        "Mux(self.read_ok, OKAY, SLVERR)",
        "OKAY",
    ),
    _fault(
        "axi lite: a response is not held",
        "axi_lite.py",
        "with m.Elif(bus.rready):",
        "with m.Else():",
    ),
    _fault(
        "registers: job registers written while busy",
        "register_file.py",
        "~self.busy if waits else 1",
        "1",
    ),
    _fault(
        "registers: dense jobs may have too many tokens",
        "linear_registers.py",
        "Mux(self.dense, cfg.tokens_max_dense, cfg.tokens_max)",
        "cfg.tokens_max",
    ),
    _fault(
        "registers: error flags stay",
        "register_file.py",
        "(flag & ~clear[name])",
        "flag",
    ),
]
