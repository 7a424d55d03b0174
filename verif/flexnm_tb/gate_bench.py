"""The Verilog bench of ``flexnm_tb.gate_sim``: RTL and netlist with the same inputs, compared in every cycle."""

from __future__ import annotations

from collections.abc import Mapping

RESET = 4
"""Cycles of reset at the start."""
QUIET = 4096
"""Cycles without any transfer after which a run ends."""


def bench_text(top: str, streams: Mapping[str, str], widths: Mapping[str, int], counts: Mapping[str, int]) -> str:
    """Module ``bench``: instances ``rtl`` (of ``<top>_rtl``) and ``gates`` (of ``top``).

    streams: ``in`` or ``out`` by name. widths: bits by port. counts: words in ``<stream>.hex`` by input stream.
    Payloads are compared while they are valid: before its first word, a register that is not reset may hold anything.
    """
    sources = [_source(name, widths[f"{name}__payload"], counts[name]) for name, way in streams.items() if way == "in"]
    sinks = [_sink(name, widths[f"{name}__payload"]) for name, way in streams.items() if way == "out"]
    differ = " || ".join(f"{name}_differs" for name in streams)
    moves = " || ".join(f"{name}_moves" for name in streams)
    done = " && ".join(f"{name}_at == {counts[name]}" for name, way in streams.items() if way == "in")
    shown = "\n".join(f'    $display("{name} = %0d", {name}_at);' for name, way in streams.items() if way == "out")
    return f"""module bench(input clk, output reg measuring);
  reg [31:0] cycle = 0, idle = 0, cycles = 0, mismatches = 0;
  wire rst = cycle < {RESET};
  initial measuring = 0;
{"".join(sources)}{"".join(sinks)}
  {top}_rtl rtl ({_ports(streams, "rtl")});
  {top} gates ({_ports(streams, "gates")});
  wire finished = {done};
  wire differs = {differ};
  always @(posedge clk) begin
    cycle <= cycle + 1;
    measuring <= !rst && !finished;
    cycles <= cycles + measuring;
    idle <= rst || {moves} ? 0 : idle + 1;
    if (!rst && differs) begin
      if (mismatches == 0) $display("mismatch in cycle %0d", cycle);
      mismatches <= mismatches + 1;
    end
    if (idle == (finished ? {QUIET // 16} : {QUIET})) begin
{shown}
      $display("cycles = %0d", cycles);
      $display("mismatches = %0d", mismatches);
      $finish;
    end
  end
endmodule
"""


def _source(name: str, width: int, count: int) -> str:
    """Words from a file, one offered in every cycle until it is taken; the last one stays on the wires."""
    return f"""  reg [{width - 1}:0] {name}_words [0:{count - 1}];
  initial $readmemh("{name}.hex", {name}_words);
  reg [31:0] {name}_at = 0;
  wire {name}_valid = !rst && {name}_at < {count};
  wire [{width - 1}:0] {name}_payload = {name}_words[{name}_at < {count} ? {name}_at : {count - 1}];
  wire {name}_ready, {name}_ready_gates;
  wire {name}_moves = {name}_valid && {name}_ready;
  wire {name}_differs = {name}_ready != {name}_ready_gates;
  always @(posedge clk) if ({name}_moves) {name}_at <= {name}_at + 1;
"""


def _sink(name: str, width: int) -> str:
    """Takes whatever comes."""
    return f"""  wire {name}_valid, {name}_valid_gates;
  wire [{width - 1}:0] {name}_payload, {name}_payload_gates;
  wire {name}_moves = !rst && {name}_valid;
  wire {name}_differs = {name}_valid != {name}_valid_gates || {name}_valid && {name}_payload != {name}_payload_gates;
  reg [31:0] {name}_at = 0;
  always @(posedge clk) if ({name}_moves) {name}_at <= {name}_at + 1;
"""


def _ports(streams: Mapping[str, str], side: str) -> str:
    gates = "_gates" if side == "gates" else ""
    ports = [".clk(clk)", ".rst(rst)"]
    for name, way in streams.items():
        if way == "in":
            ports += [f".{name}__payload({name}_payload)", f".{name}__valid({name}_valid)"]
            ports.append(f".{name}__ready({name}_ready{gates})")
        else:
            ports += [f".{name}__{part}({name}_{part}{gates})" for part in ("payload", "valid")]
            ports.append(f".{name}__ready(1'b1)")
    return ", ".join(ports)
