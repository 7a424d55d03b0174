"""Amaranth components of flexnm, and the configuration every other package reads.

Importing this package costs nothing: ``flexnm_rtl.config`` and ``flexnm_rtl.presets`` need only the standard
library, so the software model can read them without Amaranth.
"""
