"""Deliberate bugs in what a flexible unit has besides a fixed one."""

from __future__ import annotations

from fault import Fault


def _unit(name: str, file: str, old: str, new: str) -> Fault:
    return Fault(f"flexible: {name}", file, old, new, "compressor-flexible-n16m32", "test_patterns_at_run_time")


def _engine(name: str, file: str, old: str, new: str) -> Fault:
    return Fault(f"flexible: {name}", file, old, new, "flexible", bench="test_sim_linear.py")


FLEXIBLE_FAULTS = [
    _unit("a leaf takes its own verdict", "select_flexible.py", "Mux(is_level[k], own, current[j // 2])", "own"),
    _unit(
        "ties of the left half are forgotten",
        "select_flexible.py",
        "used[j // 2] + ties[k][j - 1] if j % 2 else used[j // 2]",
        "used[j // 2]",
    ),
    _unit("settled channels are not counted", "select_radix.py", "chosen.replicate(len(digit)) | gate", "gate"),
    Fault(
        "flexible: the last position is never empty",
        "compaction.py",
        "len(sources) > 1 or (last and not self.exact)",
        "len(sources) > 1",
        "compressor-flexible-n16m16",
        "test_patterns_at_run_time",
    ),
    _unit(
        "one place too many", "select_flexible.py", "~negative & (many | (low > i))", "~negative & (many | (low >= i))"
    ),
    _unit("carry of a pair of leaves is lost", "select_flexible.py", "strict=True)), []]", "strict=True))]"),
    Fault(
        "flexible: always the most steps",
        "sequencer.py",
        "step + 2 == self.steps if self.runtime_steps else ",
        "",
        "mac_array-flexible-n16m32",
        "test_patterns_at_run_time",
    ),
    _engine("a step too few", "linear_registers.py", "kept > step * cfg.lanes", "kept > (step + 1) * cfg.lanes"),
    _engine("patterns without room start", "linear_registers.py", " & (self._kept(keep, sizes) <= cfg.n_keep)", ""),
    _engine("N of 0 starts", "linear_registers.py", "(keep != 0) & ", ""),
    _engine("any M starts", "linear_registers.py", " & Cat(sizes).any()", ""),
]
