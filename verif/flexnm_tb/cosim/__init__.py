"""The Verilated engine as a shared library: whole layers in simulation without Python in the clock loop."""
