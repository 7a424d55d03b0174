"""Shared testbench code: stream agents, protocol checks, build-and-run, benches, and the command ``flexnm sim``."""
