"""The memories' own RTLIL against what Amaranth makes of the same component."""

from __future__ import annotations

import re

import pytest
from amaranth.back import rtlil
from flexnm_gen import netlist
from flexnm_rtl.banks import Bank, BankedMemory, bank_rtlil


def verilog(text: str) -> str:
    """What Yosys writes of RTLIL text with the top module ``bank``."""
    return netlist._in_fresh_process(netlist._without_init(text), "bank")


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("width, depth", [(1, 1), (1, 2), (8, 4), (7, 5), (80, 33)])
def test_a_bank_is_what_amaranth_makes_of_it(width: int, depth: int, apart: bool) -> None:
    """The same Verilog, but for the reset that Amaranth's top module has and nothing uses."""
    ours = verilog(bank_rtlil("bank", width, depth, apart=apart))
    theirs = verilog(rtlil.convert(Bank(width, depth, apart=apart), name="bank", emit_src=False))
    theirs = re.sub(
        r"(, )?\brst\b(?=[,)])|^  (input|wire) rst;\n|^  wire unused = .*\n", "", theirs, flags=re.MULTILINE
    )
    assert ours == theirs
    mark = r"\(\* no_rw_check \*\) " if apart else ""
    assert re.search(rf"^  {mark}reg (\[{width - 1}:0\] )?store *\[{max(2, depth) - 1}:0\];", ours, re.MULTILINE)


def test_large_memories_take_no_time() -> None:
    """A gigabit of memory is a handful of lines."""
    text = netlist.to_verilog(BankedMemory(2, 1024, 1 << 19), "big")
    assert len(text) < 20_000
    assert "[524287:0]" in text
