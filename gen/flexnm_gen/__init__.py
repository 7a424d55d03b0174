"""The command ``flexnm``: from a configuration to Verilog, a JSON manifest and a port table."""
