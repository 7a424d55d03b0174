"""Bit-exact software model of flexnm: selection, metadata, compression, sparse matrix product, real LLM layers.

``reference`` is the slow scalar statement of every rule, on plain Python numbers; the other modules compute the same
on PyTorch tensors and are tested against it. Nothing here imports amaranth.
"""
