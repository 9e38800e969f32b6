"""``python -m benchmarks.gate``: silent and 0 if all is well, else one line per finding and 1."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.gate import asv
from benchmarks.gate.declared import declared
from benchmarks.gate.findings import SLOWER, THRESHOLD, Finding, Results, compare, incomplete, label, suspects
from benchmarks.gate.results import Benchmark, NoResultsError, load_benchmarks, load_results

_CONFIRMATIONS = 2  # a machine that was busy during one commit's rounds looks like a slow commit, but not every time
_ACCEPTED = asv.FOLDER / "accepted"  # the commit that the next nightly run is compared with


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if nothing is wrong, 1 if something is, 2 if nothing could be judged."""
    options = _parser().parse_args(arguments)
    try:
        lines = options.run(options)
    except NoResultsError as error:
        sys.stderr.write(f"gate: {error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(bool(lines))


def _smoke(_options: argparse.Namespace) -> list[str]:
    asv.smoke()
    benchmarks = load_benchmarks(asv.SMOKE_RESULTS)
    results = load_results(asv.SMOKE_RESULTS, asv.machine_name(), asv.commit_of("HEAD"), benchmarks)
    lines = incomplete(benchmarks, {name for name, _, _ in declared()}, results)
    ran = sum(not (measured.failed or measured.skipped) for measured in results.values())
    sys.stderr.write(f"{ran} of {sum(len(b.parameters) for b in benchmarks.values())} benchmarks ran\n")
    return lines


def _commits(options: argparse.Namespace) -> list[str]:
    base, head = asv.commit_of(options.base), asv.commit_of(options.head)
    if base == head:
        raise NoResultsError(f"{options.base} and {options.head} are the same commit")
    for stale in (asv.RESULTS / asv.machine_name()).glob(f"{head[:8]}-*.json"):
        stale.unlink()
    asv.run_commits([base, head], options.bench)
    benchmarks, before, after = _loaded(base, head, options)
    found = [f for f in compare(benchmarks, before, after, threshold=options.threshold) if f.kind != SLOWER]
    return [str(finding) for finding in (*found, *_confirmed(base, head, options))]


def _confirmed(base: str, head: str, options: argparse.Namespace) -> list[Finding]:
    """Measure what may be slower again, and alone, so that the turns of the two commits are seconds apart, not minutes.

    Only this is the judgement on timings: over the minutes that the whole suite takes, a shared machine drifts by more
    than what is looked for, either way.
    """
    benchmarks, before, after = _loaded(base, head, options)
    keys = suspects(benchmarks, before, after, threshold=options.threshold)
    slower: list[Finding] = []
    for _ in range(_CONFIRMATIONS):
        if keys:
            asv.run_commits([base, head], [f"^{re.escape(label(key))}$" for key in keys])
            slower = [f for f in _judge(base, head, options) if f.key in keys]  # or failed this time
            keys = [finding.key for finding in slower]
    return slower


def _results(options: argparse.Namespace) -> list[str]:
    return [str(finding) for finding in _judge(asv.commit_of(options.base), asv.commit_of(options.head), options)]


def _nightly(options: argparse.Namespace) -> list[str]:
    head = asv.commit_of(options.head)
    accepted = _ACCEPTED.read_text().strip() if _ACCEPTED.exists() else f"{head}~1"
    asked_for, options.base = options.base, options.base or accepted
    if asv.commit_of(options.base) == head:
        sys.stderr.write(f"{head[:8]} is {'accepted' if asked_for else 'the last one accepted: nothing new'}\n")
        lines = []
    else:
        lines = _commits(options)
        asv.publish()
    if not lines and not options.bench:  # a part of the suite says nothing of the rest
        asv.FOLDER.mkdir(exist_ok=True)
        _ACCEPTED.write_text(f"{head}\n")
    return lines


def _judge(base: str, head: str, options: argparse.Namespace) -> list[Finding]:
    return compare(*_loaded(base, head, options), threshold=options.threshold)


def _loaded(base: str, head: str, options: argparse.Namespace) -> tuple[dict[str, Benchmark], Results, Results]:
    """Return the benchmarks that were asked for, and the results of both commits."""
    benchmarks = load_benchmarks(asv.RESULTS)
    before, after = (load_results(asv.RESULTS, asv.machine_name(), commit, benchmarks) for commit in (base, head))
    if options.bench:  # as asv does it: a pattern, searched for in the name with its parameters
        pattern = re.compile("|".join(f"(?:{p})" for p in options.bench))
        benchmarks = {
            name: replace(b, parameters=tuple(p for p in b.parameters if pattern.search(label((name, p)))))
            for name, b in benchmarks.items()
        }
        before = {key: value for key, value in before.items() if pattern.search(label(key))}
    return benchmarks, before, after


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    commands = parser.add_subparsers(required=True)
    smoke = commands.add_parser("smoke", help="run every benchmark once; name those that did not run")
    smoke.set_defaults(run=_smoke)
    for name, run, about in (
        ("commits", _commits, "measure two commits by turns, and name what got worse"),
        ("nightly", _nightly, "the same with the last accepted commit, and the history as HTML"),
        ("results", _results, "name what got worse, from results that are there"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("--base", default=None, required=name != "nightly", help="the older commit")
        command.add_argument("--head", default="HEAD", help="the newer one (HEAD)")
        command.add_argument("--bench", action="append", default=[], help="only benchmarks that match; again for more")
        command.add_argument("--threshold", type=float, default=THRESHOLD, help=f"ratio ({THRESHOLD})")
        command.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
