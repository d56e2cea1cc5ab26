"""Run the backend tests of the onnx package through the float path; write what passes.

Every case has a model, inputs and the outputs that ONNX expects. It passes, or is refused with
a reason, or is wrong; wrong are also a crash, a hang, and any error that is no refusal. The
cases run one by one in a process of their own, which is started again after a crash.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import backend_cases
import tables

RESULTS = Path(__file__).parent / "results"
LIMIT_S = 60.0
"""For one case; the slowest takes 10 s on one busy core."""

REASON = 90
"""Letters of a reason that the table shows."""

PASSED, REFUSED, WRONG = OUTCOMES = ("passed", "refused", "wrong")


def main() -> int:
    """Run the cases and write the table; 1 if one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="WORD", help="only cases with it in the name"
    )
    parser.add_argument("--log", type=Path, help="one JSON line a case")
    parser.add_argument("--report", type=Path, help="run nothing: make the table of a log")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work()
    names = [
        name
        for name in backend_cases.names()
        if not args.names or any(word in name for word in args.names)
    ]
    results: list[dict[str, object]] = []
    if args.report:
        names, results = (
            [],
            [json.loads(line) for line in args.report.read_text().splitlines()],
        )
    for result in outcomes(names):
        results.append(result)
        print(json.dumps(result), file=args.log.open("a") if args.log else sys.stderr)
    text = report(results)
    print(text)
    if not args.names:
        (RESULTS / "backend_tests.md").write_text(text + "\n")
    return int(any(result["outcome"] == WRONG for result in results))


def work() -> int:
    """Answer case names on stdin with outcomes on stdout, as JSON lines."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    cases = backend_cases.load()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        outcome, reason = backend_cases.run(cases[line.strip()])
        print(json.dumps([outcome, reason]), file=answers, flush=True)
    return 0


def outcomes(names: Iterable[str]) -> Iterator[dict[str, object]]:
    """Yield what became of every case; a worker that dies is started again."""
    worker: subprocess.Popen[str] | None = None
    for name in names:
        if worker is None or worker.poll() is not None:
            worker = start()
        assert worker.stdin is not None
        assert worker.stdout is not None
        begin = time.monotonic()
        worker.stdin.write(name + "\n")
        worker.stdin.flush()
        line = read_line(worker.stdout, LIMIT_S)
        if line:
            outcome, reason = json.loads(line)
        else:
            worker.kill()
            late = time.monotonic() - begin >= LIMIT_S
            reason = f"over {LIMIT_S:g} s" if late else f"crash, exit code {worker.wait()}"
            outcome = WRONG
        seconds = round(time.monotonic() - begin, 2)
        yield {
            "case": name,
            "operator": backend_cases.operator(name),
            "outcome": outcome,
            "reason": reason,
            "seconds": seconds,
        }
    if worker is not None:
        worker.kill()


def start() -> subprocess.Popen[str]:
    """Return a worker that has loaded the cases."""
    worker = subprocess.Popen(
        [sys.executable, __file__, "--worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"QCOMPILE_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert worker.stdout is not None
    if not read_line(worker.stdout, 10 * LIMIT_S):
        raise RuntimeError("the worker does not start: run it with --worker")
    return worker


def read_line(stream: IO[str], seconds: float) -> str:
    """Return the next line, or nothing where none comes in time."""
    ready, _, _ = select.select([stream], [], [], seconds)
    return stream.readline() if ready else ""


def report(results: list[dict[str, object]]) -> str:
    """Return totals and a row an operator, in Markdown."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        operator, outcome = str(result["operator"]), str(result["outcome"])
        counts[operator][outcome] += 1
        if outcome != PASSED:
            reasons[operator][str(result["reason"])] += 1
    listed = backend_cases.supported()

    def of(wanted: Callable[[str, str], bool]) -> Counter[str]:
        return Counter(
            str(each["outcome"])
            for each in results
            if wanted(str(each["operator"]), str(each["case"]))
        )

    totals = [
        totals_row("float operators of the supported list", of(lambda op, _: op in listed)),
        totals_row(
            "of these, with element types that are read",
            of(lambda op, case: op in listed and backend_cases.is_read(case)),
        ),
        totals_row("all other cases", of(lambda op, _: op not in listed)),
        totals_row("all", of(lambda op, _: True)),
    ]
    rows = [
        {
            "operator": operator,
            "listed": "yes" if operator in listed else "",
            **{outcome: counts[operator][outcome] for outcome in OUTCOMES},
            "most frequent reason": next(
                (reason for reason, _ in reasons[operator].most_common(1)), ""
            ).replace("|", "/")[:REASON],
        }
        for operator in sorted(counts)
    ]
    return "\n\n".join(
        [backend_cases.PREAMBLE, tables.markdown(totals), tables.markdown(rows)]
    )


def totals_row(name: str, total: Counter[str]) -> dict[str, object]:
    """Return counts as a row."""
    share = total[PASSED] / max(total.total(), 1)
    sums = {outcome: total[outcome] for outcome in OUTCOMES}
    return {"cases": name, **sums, "passed of all": f"{share:.1%}"}


if __name__ == "__main__":
    sys.exit(main())
