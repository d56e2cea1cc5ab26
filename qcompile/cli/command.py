"""The command `qcompile`: one line on success, one line and a hint on failure."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from qcompile import __version__
from qcompile.errors import CompileError

DONE, AT_FAULT, INTERRUPTED = 0, 1, 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and a hint, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit 2."""
        hint = near_option(self, message) or f"see `{self.prog} --help`"
        self.exit(2, f"qcompile: error: {message}\n  hint: {hint}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 when done, 1 where the model, data, config or target is at fault.

    argparse exits 2 on wrong usage; 130 is an interrupt from the keyboard. Anything else
    that happens is a bug and shows its traceback.
    """
    args = make_parser().parse_args(argv)
    try:
        status = args.command(args)
        sys.stdout.flush()
        return int(status)
    except CompileError as error:
        hint = "" if error.hint else f"\n  hint: see `qcompile {args.name_of_command} --help`"
        print(f"qcompile: error: {error}{hint}", file=sys.stderr)
        return AT_FAULT
    except KeyboardInterrupt:
        print("qcompile: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone: nothing is wrong, nothing can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; what a command does is imported when it runs."""
    from qcompile.cli import compile, device, run, show

    parser = Parser(prog="qcompile", description="Compile ONNX models to exact int8 kernels.")
    parser.add_argument("--version", action="version", version=f"qcompile {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="name_of_command", required=True
    )
    for module in (compile, run, show, device):
        module.add_commands(commands)
    return parser


def near_option(parser: argparse.ArgumentParser, message: str) -> str:
    """Return "did you mean ...?" where the message is about an unknown option or command."""
    import difflib

    known = [option for action in parser._actions for option in action.option_strings]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            known += list(action.choices)
            known += [
                option
                for each in action.choices.values()
                for option in each._option_string_actions
            ]
    if "unrecognized arguments" not in message and "invalid choice" not in message:
        return ""
    unknown = message.rpartition(": ")[2].split()[0].strip("'").partition("=")[0]
    near = difflib.get_close_matches(unknown, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""
