"""cocotb test modules, one for each unit, and the one that runs captured LLM layers."""
