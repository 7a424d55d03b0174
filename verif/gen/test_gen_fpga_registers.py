"""Registers that go into ECP5's blocks: counted, and equal to the RTL; where they cannot go, they stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flexnm_gen.fpga import fpga_behaviour, map_fpga
from flexnm_gen.fpga_registers import pack_registers
from flexnm_tb.side_by_side import side_by_side
from pyosys import libyosys as ys

RANDOM = """
module both(input clk);
  reg [127:0] bits = 128'h123456789abcdef0f1e2d3c4b5a69788;
  always @(posedge clk) bits <= {bits[126:0], bits[127] ^ bits[125] ^ bits[100] ^ bits[98]};
  wire [11:0] wa = bits[2:0], ra = bits[42:40];  // few addresses, so that what is written is read
  wire we = bits[50] & wa != ra;  // no_rw_check: the design does not read what it writes
  wire [39:0] y, z, yy, zz;
  unit gates(.clk(clk), .e(bits[60]), .r(bits[71]), .we(we), .ce(bits[82]), .wa(wa), .ra(ra), .a(bits), .b(bits[97:94]),
    .y(y), .z(z));
  plain rtl(.clk(clk), .e(bits[60]), .r(bits[71]), .we(we), .ce(bits[82]), .wa(wa), .ra(ra), .a(bits), .b(bits[97:94]),
    .y(yy), .z(zz));
  always @* assert (y == yy && z == zz);
endmodule
"""


def module(width: int, declared: str, clocked: str) -> str:
    """A unit with operands, ports of a memory and enables, used or not; ``a`` has ``width`` bits."""
    return (
        "module unit(input clk, e, r, we, ce, input [11:0] wa, ra,"
        f" input signed [{width - 1}:0] a, input signed [3:0] b, output [39:0] y, z);"
        f" {declared} always @(posedge clk) begin {clocked} end endmodule"
    )


def multiplier(clocked: str, shown: str = "ry", start: int = 0, beside: str = "0") -> str:
    """The product p of 5 and 4 bits, registers for operands and product, and what is seen of them."""
    declared = f"reg signed [4:0] ra_ = 0; reg signed [3:0] rb_ = 0; reg signed [8:0] ry = {start};"
    return module(5, f"{declared} wire signed [8:0] p = a * b; assign y = {shown}; assign z = {beside};", clocked)


def memory(width: int, depth: int, clocked: str, shown: str = "ry") -> str:
    """A memory with a synchronous read and what follows it."""
    declared = (
        f"(* no_rw_check *) reg [{width - 1}:0] store [0:{depth - 1}]; reg [{width - 1}:0] q = 0, ry = 0; integer k;"
        f" initial for (k = 0; k < {depth}; k = k + 1) store[k] = 0;"
        f" assign y = {shown}; assign z = 0; always @(posedge clk) if (we) store[wa] <= a;"
    )
    return module(width, declared, f"if (ce) q <= store[ra]; {clocked}")


BOTH = "ra_ <= a; rb_ <= b;"
PACKED = {
    "a product": multiplier("ry <= p;"),
    "a product with an enable": multiplier("if (e) ry <= p;"),
    "operands": multiplier(BOTH, "ra_ * rb_"),
    "operands and product": multiplier(f"{BOTH} ry <= ra_ * rb_;"),
    "an enable each": multiplier("if (e) ra_ <= a; if (r) rb_ <= b; if (e & r) ry <= ra_ * rb_;"),
    "a square": multiplier("rb_ <= b; ry <= rb_ * rb_;"),
    "a memory of 36 bits": memory(36, 512, "ry <= q;"),
    "36 bits with an enable": memory(36, 512, "if (e) ry <= q;"),
    "18 bits": memory(18, 1024, "ry <= q;"),
    "9 bits with an enable": memory(9, 2048, "if (e) ry <= q;"),
    "4 bits": memory(4, 4096, "ry <= q;"),
    "40 bits, two blocks": memory(40, 512, "if (e) ry <= q;"),
}
"""Sources none of whose flip-flops stay."""
LEFT = {
    "a product with a reset": (multiplier("if (r) ry <= 0; else ry <= p;"), 9),
    "a product that starts from 1": (multiplier("ry <= p;", start=1), 1 + 8),
    "a product read in front of its register": (multiplier("ry <= p;", beside="p"), 9),
    "a product with two enables": (multiplier("if (e) ry[8:4] <= p[8:4]; if (r) ry[3:0] <= p[3:0];"), 9),
    "one operand": (multiplier("ra_ <= a;", "ra_ * b"), 5),
    "an operand read elsewhere": (multiplier(BOTH, "ra_ * rb_", beside="ra_"), 9),
    "a memory read in front of its register": (memory(18, 1024, "ry <= q;", "ry ^ q"), 18),
    "a memory's register with two enables": (
        memory(18, 1024, "if (e) ry[17:9] <= q[17:9]; if (r) ry[8:0] <= q[8:0];"),
        18,
    ),
    "a memory's register with a reset": (memory(18, 1024, "if (r) ry <= 0; else ry <= q;"), 18),
}
"""Sources and the number of flip-flops that stay."""


@pytest.mark.parametrize("name", PACKED)
def test_registers_go_into_blocks_that_do_what_the_rtl_does(name: str, tmp_path: Path) -> None:
    """No flip-flop is left, and the netlist shows what the RTL shows in every cycle."""
    assert _flip_flops(PACKED[name]) == 0
    assert _difference(fpga_behaviour(PACKED[name], "unit", "ecp5"), PACKED[name], tmp_path) == ""


@pytest.mark.parametrize("name", LEFT)
def test_registers_that_cannot_go_stay(name: str) -> None:
    """A bank has no reset, starts from 0, has one enable or none, and shows nothing of what is in front of it."""
    source, flip_flops = LEFT[name]
    assert _flip_flops(source) == flip_flops


def test_a_wrong_enable_is_noticed(tmp_path: Path) -> None:
    """The comparison can fail."""
    source = PACKED["36 bits with an enable"]
    wrong = fpga_behaviour(source.replace("if (e) ry", "ry"), "unit", "ecp5")
    assert "failed" in _difference(wrong, source, tmp_path)


def _flip_flops(source: str) -> int:
    return map_fpga(source, "unit", "ecp5", route=False).flip_flops


def _difference(gates: str, source: str, folder: Path) -> str:
    """Run gates and RTL side by side for 400 cycles of random inputs; Yosys's complaint, empty if they are equal."""
    commands = ["read_verilog -formal gates.v rtl.v both.v", "hierarchy -top both", "proc", "flatten"]
    commands += ["chformal -lower", "sim -assert -clock clk -n 400"]
    done = side_by_side(gates, source, commands, folder, more={"both.v": RANDOM})
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[-500:]


class _Watched:
    """A cell that may not be asked anything after its removal, when Yosys has freed it."""

    def __init__(self, cell: Any) -> None:
        self.cell, self.removed = cell, False

    def __getattr__(self, name: str) -> Any:
        assert not self.removed, f"{name} of a cell that is gone"
        return getattr(self.cell, name)


class _WatchedModule:
    """A module whose cells are watched."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.cells_ = {name: _Watched(cell) for name, cell in module.cells_.items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def remove(self, cell: _Watched) -> None:
        assert not cell.removed
        self.module.remove(cell.cell)
        cell.removed = True


@pytest.mark.parametrize("name", ["an enable each", "operands and product", "36 bits with an enable"])
def test_a_cell_that_is_gone_is_left_alone(name: str, tmp_path: Path) -> None:
    """Neither type nor name nor ports of a flip-flop are read after it went into a block."""
    source = tmp_path / "unit.v"
    source.write_text(PACKED[name], encoding="utf-8")
    design = ys.Design()
    for command in (f"read_verilog {source}", "synth_ecp5 -top unit"):
        ys.Pass.call(design, command)
    module = _WatchedModule(design.module(ys.IdString("\\unit")))
    pack_registers(module)
    assert any(cell.removed for cell in module.cells_.values())
