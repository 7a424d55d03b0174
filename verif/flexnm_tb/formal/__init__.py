"""Formal proofs on the generated RTL: what is claimed, how SymbiYosys is asked, what came out."""
