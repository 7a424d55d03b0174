"""A cocotb module that runs the tests of other modules on one mutant after the other, in one simulation.

Loading Python and PyTorch takes longer than most tests, so a simulation takes many mutants: before each test the input
``mutsel`` chooses one, and every test begins with a reset. A mutant is done with at the first test that fails. What
happens is appended to a file at once, one JSON object a line, so that the outer process knows the test at which a
simulation died or hung. At the end the original runs all tests again: it must pass whatever the mutants left behind.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from cocotb.regression import Test, TestGenerator
from cocotb.triggers import with_timeout
from cocotb.utils import get_sim_time

from flexnm_tb.mutation.mutant import TASK_VARIABLE

_TASK: dict[str, Any] = json.loads(Path(os.environ[TASK_VARIABLE]).read_text(encoding="utf-8"))
_REASON = 200
_PATIENCE = 5
"""A test may take so many times the simulated time that it takes on the original."""


def _tests(modules: list[str]) -> dict[str, Test]:
    """Every test of the modules by name, in their order."""
    found: dict[str, Test] = {}
    for module in modules:
        for item in list(vars(importlib.import_module(module)).values()):
            if isinstance(item, TestGenerator):
                found |= {test.name: test for test in item.generate_tests()}
    return found


def _note(**event: Any) -> None:
    with Path(_TASK["events"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


class Session:
    """Which tests each mutant has passed, and which test to try next.

    The test that kills most in the least time comes first; what that is, is learned on the way.
    """

    def __init__(self, tests: dict[str, Test], nanoseconds: dict[str, float], seconds: dict[str, float]) -> None:
        self.tests, self.nanoseconds, self.seconds = tests, nanoseconds, seconds
        self.left = defaultdict[int, list[str]](lambda: list(tests))
        self.kills = defaultdict[str, int](lambda: 1)

    def next_test(self, mutant: int) -> str | None:
        """The test to run; None when the mutant is done with."""
        left = self.left[mutant]
        if mutant == 0:
            return left[0] if left else None
        return max(left, key=lambda name: self.kills[name] / self.seconds.get(name, 1.0), default=None)

    async def step(self, dut: Any, mutant: int) -> None:
        """Run one test on a mutant and note how it went."""
        name = self.next_test(mutant)
        if name is None:
            return
        test, begun, clock = self.tests[name], get_sim_time("ns"), time.monotonic()
        _note(mutant=mutant, test=name, event="start")
        dut.mutsel.value = mutant
        running = test.func(dut, *test.args, **test.kwargs)
        limit = self.nanoseconds.get(name)
        try:
            # A task beside the test that fails cancels the test: that too ends here.
            await (running if limit is None else with_timeout(running, round(_PATIENCE * limit), "ns"))
        except BaseException as error:
            self.left[mutant] = []
            self.kills[name] += 1
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:_REASON]
            _note(mutant=mutant, test=name, event="end", passed=False, why=reason, seconds=time.monotonic() - clock)
            raise
        self.left[mutant].remove(name)
        took = get_sim_time("ns") - begun
        _note(mutant=mutant, test=name, event="end", passed=True, ns=took, seconds=time.monotonic() - clock)


def _register() -> None:
    tests = _tests(_TASK["benches"])
    session = Session(tests, _TASK["nanoseconds"], _TASK["seconds"])
    for turn, mutant in enumerate([*_TASK["mutants"], 0]):
        for slot in range(len(tests)):

            async def run(dut: Any, mutant: int = mutant) -> None:
                await session.step(dut, mutant)

            globals()[f"turn_{turn}_{slot}"] = Test(
                func=run, args=(), kwargs={}, name=f"mutant_{mutant}_{slot}", module=__name__, doc=None,
                timeout=None, expect_fail=False, expect_error=(), skip=False, stage=0,
            )  # fmt: skip


_register()
