"""Write the reference pages from the docstrings: `python docs/generate.py [--check]`."""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path

from qcompile import ops, passes
from qcompile.cli.show import target_facts
from qcompile.pass_docs import PassDocs, pass_docs
from qcompile.targets import TARGETS

FOLDER = Path(__file__).parent
PASSES = """\
# Passes

Every pass is an `onnx_ir` pass and works on any `onnx_ir.Model`.

```python
from qcompile import passes

result = passes.find("fold_batch_norm")()(model)
result.model, result.modified
```

`qcompile passes run MODEL.onnx --pass fold_batch_norm -o OUT.onnx` does the same.

The examples are graphs in ONNX's text syntax. They are tested, and shown without the nodes
that nothing reads any more: `onnx_ir.passes.common.RemoveUnusedNodesPass` removes those.
"""
NOTE = "<!-- Written by docs/generate.py from the docstrings. -->\n"


def main() -> int:
    """Write the pages; with --check only say which are out of date."""
    parser = argparse.ArgumentParser(description="Write the reference pages.")
    parser.add_argument("--check", action="store_true", help="exit 1 if a page is out of date")
    check = parser.parse_args().check
    stale = [name for name, text in pages().items() if text != _read(FOLDER / name)]
    for name in stale:
        if check:
            print(f"{name} is out of date: python docs/generate.py", file=sys.stderr)
        else:
            (FOLDER / name).write_text(pages()[name], encoding="utf-8")
            print(name)
    return int(check and bool(stale))


def pages() -> dict[str, str]:
    """Return every page by its file name."""
    return {
        "passes.md": passes_page(),
        "operators.md": operators_page(),
        "targets.md": targets_page(),
    }


def passes_page() -> str:
    """Return the page of the passes: what each does, its equation and its example."""
    docs = {name: pass_docs(passes.find(name)) for name in passes.names()}
    index = "".join(f"- [{name}](#{name}): {each.summary}\n" for name, each in docs.items())
    sections = "".join(pass_section(name, each) for name, each in docs.items())
    return f"{NOTE}\n{PASSES}\n{index}{sections}"


def pass_section(name: str, docs: PassDocs) -> str:
    """Return the section of one pass."""
    lines = [f"\n## {name}\n", f"{passes.find(name).__name__}: {docs.summary}\n"]
    if docs.needs:
        lines.append(f"Needs: {', '.join(f'`{each}`' for each in docs.needs)}.\n")
    if docs.text:
        lines.append(f"```text\n{docs.text}\n```\n")
    if docs.before:
        lines.append(
            f"Before:\n\n```\n{docs.before}\n```\n\nAfter:\n\n```\n{docs.after}\n```\n"
        )
    return "\n".join(lines)


def operators_page() -> str:
    """Return the page of the integer operators."""
    return f"{NOTE}\n# Operators of the integer graph\n\n```text\n{inspect.getdoc(ops)}\n```\n"


def targets_page() -> str:
    """Return the page of the targets: what each runs in integers."""
    lines = [NOTE, "# Targets\n"]
    for target in TARGETS.values():
        lines += [
            f"## {target.name}\n",
            f"{target.about}\n",
            "| operator | activation | weight |",
        ]
        lines.append("|---|---|---|")
        for row in target_facts(target)["ops"]:
            cells = (row["op_type"], ", ".join(row["activation"]), ", ".join(row["weight"]))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
