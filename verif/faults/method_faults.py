"""Deliberate bugs in what the linear engine does for its methods; verif/sim/test_sim_linear.py has to notice."""

from __future__ import annotations

from fault import Fault


def _fault(name: str, file: str, old: str, new: str, case: str = "n3m5-methods", test: str = "test_verilator") -> Fault:
    return Fault(name, file, old, new, case, test, "test_sim_linear.py")


METHOD_FAULTS = [
    _fault(
        "recenter: half of a channel's shift rounds up",
        "recenter.py",
        "round_even(*shift_down(m, self.channel_shifts[i], self.exponent))",
        "(shift_down(m, self.channel_shifts[i], self.exponent)[0] + 1)[1:].as_signed()",
    ),
    _fault(
        "recenter: values wrap",
        "recenter.py",
        "saturate(wide, cfg.value_width)",
        "wide[: cfg.value_width]",
        "n8m16-methods",
    ),
    _fault(
        "recenter: channels are shifted in every mode",
        "recenter.py",
        "Mux(self.static_shift, rounded, 0)",
        "rounded",
    ),
    _fault(
        "recenter: the last mean is a shift in every mode",
        "recenter.py",
        "Mux(self.token_shift, self.shift, 0).as_signed()",
        "self.shift",
        "n2m4-token-shift",
    ),
    _fault(
        "preparation: second block takes the next tokens' exponents",
        "preparation.py",
        "Mux(self.k_last, current + 1, group)",
        "current + 1",
    ),
    _fault(
        "preparation: a start keeps the last job's group",
        "preparation.py",
        "[group.eq(0), current.eq(0)]",
        "current.eq(0)",
    ),
    _fault(
        "preparation: a stalled beat loses its channels' entries",
        "preparation.py",
        "channels.read.eq(enable)",
        "channels.read.eq(1)",
        "n8m16-methods",
    ),
    _fault(
        "preparation: a stalled beat loses its tokens' exponents",
        "preparation.py",
        "tokens.read.eq(enable)",
        "tokens.read.eq(1)",
    ),
    _fault(
        "preparation: factors and shifts of the block before",
        "preparation.py",
        "channels.read_addr.eq(block)",
        "channels.read_addr.eq(Mux(block == 0, 0, block - 1))",
    ),
    _fault(
        "preparation: all rows get the first row's shift",
        "preparation.py",
        "self.means[c * cfg.act_ports + port]",
        "self.means[port]",
        "n8m16-methods",
    ),
    _fault(
        "preparation: factors count in every mode",
        "preparation.py",
        'Mux(self.factors & keep[i], looked_up[f"factor_{i}"], neutral)',
        'looked_up[f"factor_{i}"]',
        "n8m16-methods",
    ),
    _fault(
        "preparation: unknown factors of padding",
        "preparation.py",
        "Mux(self.factors & keep[i], ",
        "Mux(self.factors, ",
        "n2m4-token-shift",
        test="test_icarus_lets_no_unknown_out",
    ),
    _fault(
        "selection: factors of the block behind",
        "block_selection.py",
        'delay(m, enable[:1], self.i.p.factors[i], f"factor_{i}")',
        "self.i.p.factors[i]",
        "n8m16-methods",
    ),
    _fault(
        "selection: a shifted score loses its highest bit",
        "arith.py",
        "current = Mux(bit, Cat(Const(0, 1 << k), current)[:width], current)",
        "current = Mux(bit, Cat(Const(0, 1 << k), current)[: width - 1], current)",
    ),
    _fault(
        "group buffer: the next group comes in while one is sent",
        "group_buffer.py",
        "self.i.ready.eq(phase == _Phase.LOAD)",
        "self.i.ready.eq(phase != _Phase.MEANS)",
        "n2m4-token-shift",
    ),
    _fault(
        "means: padding counts",
        "group_means.py",
        "gate(walk.k_left > k, self.blocks[port][k])",
        "self.blocks[port][k]",
        "n2m4-token-shift",
    ),
    _fault(
        "means: rows in descending order",
        "group_means.py",
        "Cat(means[cfg.shift_width :], unit.mean)",
        "Cat(unit.mean, means[: -cfg.shift_width])",
        "n2m4-token-shift",
    ),
    _fault(
        "mean: halves away from zero",
        "token_mean.py",
        "((twice == self.channels) & divider.quotient[0])",
        "(twice == self.channels)",
        "n8m16-methods",
    ),
    _fault(
        "accumulator: sums of the group before are kept",
        "row_accumulator.py",
        "Const(0, Shape.cast(self.total_shape).width)",
        "totals[0]",
        "n2m4-token-shift",
    ),
    _fault("variance meter: no hold", "variance_meter.py", "with m.If(before.valid & before.final):", "with m.If(0):"),
    _fault("variance meter: padding counts", "act_loader.py", "gate(keep, v) for", "v for"),
    _fault(
        "variance: a gain of 0 when nothing varies",
        "token_variance.py",
        "Mux(variance_after == 0, 1 << GAIN_FRACTION, root.root)",
        "root.root",
    ),
    _fault(
        "variance: squares after the selection for both",
        "token_variance.py",
        "Mux(step[1], self.before_squares, self.after_squares)",
        "self.after_squares",
    ),
    _fault(
        "divider: quotients beyond the limit wrap",
        "divider.py",
        "remainder.eq(high)",
        "remainder.eq(Mux(high < self.denominator, high, 0)), over.eq(0)",
    ),
    _fault(
        "token table: a gain counts a cycle early",
        "token_table.py",
        "written.eq(self.write_gain), self.gains.eq(self.gains + written)",
        "self.gains.eq(self.gains + self.write_gain)",
    ),
    _fault(
        "token table: gains of the last job count",
        "token_table.py",
        "[written.eq(0), self.gains.eq(0)]",
        "written.eq(0)",
    ),
    _fault(
        "correction: a sum with its gain is rounded down",
        "token_correction.py",
        "round_even(product[GAIN_FRACTION - 1 :].as_signed(), low)",
        "product[GAIN_FRACTION:].as_signed()",
        "n8m16-methods",
    ),
    _fault(
        "correction: gain of the token behind",
        "token_correction.py",
        'gain = delay(m, self.enable[:1], self.gain, "gain")',
        "gain = self.gain",
        "n8m16-methods",
    ),
    _fault(
        "correction: shifts are given back in every mode",
        "token_correction.py",
        "Mux(self.token_shift, shift * row_sum, 0)",
        "shift * row_sum",
        "n2m4-token-shift",
    ),
    _fault(
        "correction: biases have an exponent in every mode",
        "token_correction.py",
        "Mux(self.static_shift, round_even(quotient, lost)[:BIAS_WIDTH], plain.as_unsigned())",
        "round_even(quotient, lost)[:BIAS_WIDTH]",
    ),
    _fault(
        "epilogue: does not wait for gains",
        "epilogue.py",
        "~self.variance | self.gain_there if cfg.variance else 1",
        "1",
    ),
    _fault(
        "epilogue: the next tile starts at the wrong token",
        "epilogue.py",
        "following = Mux(tile_ends, 0, self.token + 1)",
        "following = self.token + 1",
    ),
    _fault(
        "registers: the table index stands still",
        "register_file.py",
        'self.stored["table_index"].eq(self.stored["table_index"] + 1)',
        'self.stored["table_index"].eq(self.stored["table_index"])',
    ),
    _fault(
        "registers: tables written while busy",
        "register_file.py",
        "register.access in (Access.JOB, Access.TABLE)",
        "register.access is Access.JOB",
    ),
    _fault(
        "registers: modes without hardware start",
        "linear_registers.py",
        "~excluded & ~missing &",
        "~excluded &",
        "n2m4-token-shift",
    ),
    _fault(
        "registers: methods in compressed jobs start",
        "linear_registers.py",
        "(methods & (self.dense | self.compressed))",
        "(methods & self.dense)",
        "n2m4-token-shift",
    ),
    _fault(
        "registers: shifts without parameters start",
        "linear_registers.py",
        "~((self.requantize | shifted) & ~self.parameters)",
        "~(self.requantize & ~self.parameters)",
        "n2m4-token-shift",
    ),
]
