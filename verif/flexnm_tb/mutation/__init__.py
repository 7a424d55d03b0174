"""Mutation of the generated Verilog: how many small faults the benches notice, and which ones they do not."""
