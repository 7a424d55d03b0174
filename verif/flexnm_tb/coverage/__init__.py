"""Coverage of the generated RTL by the benches: Verilator's points, merged, waived in one file, on one page."""
