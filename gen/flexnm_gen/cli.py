"""The command line: ``flexnm COMMAND``, and one rule for errors.

Whatever is wrong with the input comes out as one line on standard error and exit status 2.
"""

from __future__ import annotations

import errno
import importlib
import sys
from typing import Any, NoReturn

import click
from flexnm_rtl.config import ConfigError

COMMANDS = {
    "verilog": ("flexnm_gen.cli_verilog", "Write Verilog, manifest and port table of a unit."),
    "presets": ("flexnm_gen.cli_verilog", "List the named configurations."),
    "capture": ("flexnm_model.commands", "Capture activations and weights of an LLM's linear layers."),
    "ppl": ("flexnm_model.commands", "Perplexity of an LLM with pruned activations."),
    "accuracy": ("flexnm_model.accuracy_commands", "Perplexity and zero-shot accuracy of an LLM under methods."),
    "calibrate": (
        "flexnm_model.method_commands",
        "Calibrate an LLM for scores and mitigations, train what is learned.",
    ),
    "plan": ("flexnm_model.plan_commands", "Choose N for each layer of an LLM under a budget."),
    "sim": ("flexnm_tb.commands", "Check the RTL on captured LLM layers in simulation."),
    "llm": ("flexnm_tb.llm_commands", "Run a whole LLM on the simulated engine, checked layer by layer."),
    "synth": ("flexnm_tb.synth_commands", "Map a unit to an FPGA or to standard cells, and say what it costs."),
    "sweep": ("flexnm_tb.sweep_commands", "Measure a grid of designs: table, and plots of area, throughput, accuracy."),
    "decode": ("flexnm_tb.decode_commands", "Let an LLM write on the simulated decode engine, checked layer by layer."),
    "fuzz": ("flexnm_tb.fuzz.commands", "Bad traffic at random on the simulated engines; good jobs must stay exact."),
    "soak": ("flexnm_tb.fuzz.commands", "Random tiles of a real LLM on the simulated engines, for hours if asked."),
    "formal": ("flexnm_tb.formal.commands", "Prove properties of the generated RTL with SymbiYosys."),
    "gates": ("flexnm_tb.gates_commands", "Run the benches of the units on their netlists."),
    "mutate": ("flexnm_tb.mutation.commands", "Change one bit of the RTL at a time: the benches must notice."),
    "release": ("flexnm_tb.release", "Build wheel and Verilog twice, and keep them if the bytes are equal."),
    "coverage": ("flexnm_tb.coverage.commands", "Coverage of the generated RTL by the benches: table and page."),
}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
EXTRAS = {"flexnm_model": "model", "flexnm_tb": "sim"}


class LazyGroup(click.Group):
    """Imports a command's module only when the command is used, so that Verilog needs no PyTorch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called ``cmd_name``; fails with one line when its extra is not installed."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        try:
            command: click.Command = getattr(importlib.import_module(module), cmd_name)
        except ModuleNotFoundError as error:
            _name_extra(cmd_name, error)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a package it imports on the way may be missing as well."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if ctx.invoked_subcommand is None:
                raise
            _name_extra(ctx.invoked_subcommand, error)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="flexnm")
def cli() -> None:
    """N:M activation sparsity in hardware: generate the RTL, run its model, check one against the other."""


def main() -> None:
    """Entry point of the command ``flexnm``."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run a command line and return its exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""
    try:
        status = cli.main(args=args, prog_name="flexnm", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        return _fail(error.format_message())
    except ConfigError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(_reason(error))
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted")
        return 130
    return status if isinstance(status, int) else 0


def _reason(error: OSError) -> str:
    """What the system says, and what helps when there is no room."""
    text = error.strerror or str(error)
    text = f"{error.filename}: {text}" if error.filename else text
    return f"{text}: make room and run it again" if error.errno in _NO_ROOM else text


def _name_extra(command: str, error: ModuleNotFoundError) -> NoReturn:
    """Raise a UsageError that names the extra to install, or ``error`` itself when no extra would help."""
    extra = EXTRAS.get(COMMANDS[command][0].partition(".")[0])
    if extra is None or (error.name or "").startswith("flexnm"):
        raise error
    raise click.UsageError(f"{command} needs the Python package {error.name}: install flexnm[{extra}]") from error


def _fail(message: str) -> int:
    click.echo(f"flexnm: error: {' '.join(message.split())}", err=True)
    return 2
