"""The command `qcompile`: one line on success, one line and a hint on failure."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from qcompile import __version__
from qcompile.cli.interrupts import remembered_interrupts
from qcompile.errors import CompileError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

DONE, AT_FAULT, INTERRUPTED = 0, 1, 130
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""What the system says where there is no room to write."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and a hint, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit 2."""
        self.refuse(message, near_command(self, message))

    def refuse(self, message: str, hint: str) -> NoReturn:
        """Print the message with a hint and exit 2; an empty hint names the help."""
        hint = hint or f"see `{self.prog} --help`"
        self.exit(2, f"qcompile: error: {message}\n  hint: {hint}\n")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Print; argparse's own says nothing where stdout takes nothing."""
        if file is not None and file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 when done, 1 where the model, data, config or target is at fault.

    argparse exits 2 on wrong usage; 130 is an interrupt from the keyboard. Anything else
    that happens is a bug and shows its traceback.
    """
    if sys.stdout is None:
        complain("error: stdout is closed\n  hint: send it somewhere, e.g. >/dev/null")
        return AT_FAULT
    with remembered_interrupts() as interrupts:
        try:
            status, message = run_command(argv)
        except KeyboardInterrupt:
            status, message = INTERRUPTED, ""
        except Exception:  # what an interrupted import raises
            if not interrupts:
                raise
        if interrupts:
            status, message = INTERRUPTED, ""
    if status == INTERRUPTED or message:
        complain(message or "interrupted")
    return status


def run_command(argv: Sequence[str] | None) -> tuple[int, str]:
    """Run, and return the status and what there is to say on stderr."""
    try:
        try:
            return parse_and_run(sys.argv[1:] if argv is None else argv), ""
        finally:
            sys.stdout.flush()
    except CompileError as error:
        return AT_FAULT, f"error: {error}"
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone: nothing is wrong, nothing can be said.
        silence_stdout()
        return DONE, ""
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        silence_stdout()
        hint = "make room, or send the output elsewhere"
        return AT_FAULT, f"error: cannot write: {error.strerror}\n  hint: {hint}"


def parse_and_run(argv: Sequence[str]) -> int:
    """Run the command that the arguments name; an error without a hint names its help."""
    parser = make_parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        parser = parser_of(parser, args)
        hint = near_option(parser, unknown[0], argv)
        parser.refuse(f"unrecognized arguments: {' '.join(unknown)}", hint)
    try:
        return int(args.command(args))
    except CompileError as error:
        hint = error.hint or f"see `qcompile {args.name_of_command} --help`"
        raise CompileError(error.problem, where=error.where, hint=hint) from error


def complain(message: str) -> None:
    """Print to stderr, if there is any."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"qcompile: {message}", file=sys.stderr)


def silence_stdout() -> None:
    """Let what is still to be written go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser() -> Parser:
    """Return the parser of all commands; what a command does is imported when it runs."""
    from qcompile.cli import compile, device, doctor, export, passes, run, show, tune

    parser = Parser(prog="qcompile", description="Compile ONNX models to exact int8 kernels.")
    parser.add_argument("--version", action="version", version=f"qcompile {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="name_of_command", required=True
    )
    for module in (compile, tune, run, export, show, doctor, passes, device):
        module.add_commands(commands)
    return parser


def parser_of(parser: Parser, args: argparse.Namespace) -> Parser:
    """Return the parser of the command that was given."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return parser_of(action.choices[getattr(args, action.dest)], args)
    return parser


def near_command(parser: Parser, message: str) -> str:
    """Return "did you mean ...?" where the message is about an unknown command."""
    import difflib

    if "invalid choice" not in message:
        return ""
    known = [
        name
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name in action.choices
    ]
    unknown = message.rpartition("invalid choice: ")[2].split()[0].strip("'")
    near = difflib.get_close_matches(unknown, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def near_option(parser: Parser, unknown: str, argv: Sequence[str]) -> str:
    """Return "did you mean ...?" with an option of this command that was not given yet."""
    import difflib

    given = {word.partition("=")[0] for word in argv}
    known = {
        option.lstrip("-"): option
        for action in parser._actions
        if given.isdisjoint(action.option_strings)
        for option in action.option_strings
        if option.startswith("--")
    }
    if not unknown.startswith("-"):
        return ""
    near = difflib.get_close_matches(unknown.partition("=")[0].lstrip("-"), known, n=1)
    return f"did you mean {known[near[0]]!r}?" if near else ""
