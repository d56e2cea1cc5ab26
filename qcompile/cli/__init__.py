"""The command line: one file for each group of commands."""

from qcompile.cli.command import main, make_parser

__all__ = ["main", "make_parser"]
