"""What the docstring of a pass says: its summary, its text, and its example as two graphs."""

from __future__ import annotations

import dataclasses
import inspect

import onnx_ir as ir

EXAMPLE = "Example:"
SECTIONS = ("Attributes:", "Args:", "Raises:", "Returns:")


@dataclasses.dataclass(frozen=True)
class PassDocs:
    """The documentation of one pass.

    Attributes:
        summary: Its first sentence.
        text: The rest, without sections: equations, what is kept.
        before: A graph in ONNX's text syntax, empty where the docstring has no example.
        after: What the pass makes of it, without the nodes that nothing reads any more.
        needs: What must be handed to it: `target`, `config`, `observations`, ...
    """

    summary: str
    text: str
    before: str
    after: str
    needs: tuple[str, ...]


def pass_docs(found: type[ir.passes.PassBase]) -> PassDocs:
    """Read the docstring of a pass."""
    body, _, example = inspect.cleandoc(found.__doc__ or "").partition(f"\n{EXAMPLE}\n")
    summary, _, text = body.partition("\n\n")
    for section in SECTIONS:
        text = text.partition(f"\n{section}\n")[0]
        example = example.partition(f"\n{section}\n")[0]
    before, _, after = inspect.cleandoc(example).partition("\nafter:")
    return PassDocs(
        summary=" ".join(summary.split()),
        text=text.strip(),
        before=inspect.cleandoc(before.removeprefix("before:")),
        after=inspect.cleandoc(after),
        needs=needs(found),
    )


def needs(found: type[ir.passes.PassBase]) -> tuple[str, ...]:
    """Return the fields of a pass that have no default."""
    if not dataclasses.is_dataclass(found):
        return ()
    return tuple(
        field.name
        for field in dataclasses.fields(found)
        if field.init
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    )
