"""Chooses the fastest variant of a peer on this machine. Each variant runs a small part of the work in a process of its own,
so that a variant that fails or hangs does no harm, and what it has loaded does not count as the peer's memory.

A program that has variants takes `--variant NAME`; without it, it asks `fastest` for one. `fastest` starts the program again
with `--variant NAME --trial`, and then the program calls `measure`.
"""

import argparse
import json
import subprocess
import sys
import time

LIMIT = 150  # seconds for a variant, with loading and compiling


def arguments(parser, variants):
    parser.add_argument("--variant", choices=variants, help="default: the fastest in a short trial")
    parser.add_argument("--trial", action="store_true", help=argparse.SUPPRESS)


def fastest(variants, tolerance, pointless=lambda variant, report: None, limit=LIMIT):
    """The name of the fastest variant, and a report with an entry for each: its speed and the seconds until it was ready, or why
    it failed. All have to compute the value of the first one that works, within `tolerance` as a share of it. `pointless` may
    give a reason not to try a variant, from the report on those before it."""
    report, first, expected = [], None, None
    for variant in variants:
        reason = pointless(variant, report)
        result = {"failed": f"not tried: {reason}"} if reason else attempt(variant, limit)
        value = result.pop("value", None)
        if value is not None:
            if first is None:
                first, expected = variant, value
            if not abs(value - expected) <= tolerance * abs(expected):
                result = {"failed": f"computes {value:.6g}, and {first} {expected:.6g}"}
        report.append({"variant": variant, **result})
    working = [entry for entry in report if "failed" not in entry]
    if not working:
        raise SystemExit("no variant works: " + "; ".join(f"{entry['variant']}: {entry['failed']}" for entry in report))
    return max(working, key=lambda entry: entry["samples_per_s"])["variant"], report


def attempt(variant, limit):
    """What a variant's process says."""
    command = [sys.executable, *sys.argv, "--variant", variant, "--trial"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"not ready within {limit} seconds"}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            return json.loads(line)
    said = done.stderr.strip().splitlines()
    return {"failed": said[-1] if said else f"ended with status {done.returncode}"}


def measure(make, seconds=2):
    """Measures a variant. `make()` prepares it, and returns a function and the number of samples in a call of it. The function
    returns the value that all variants have to agree in. The first call, which may compile, is not timed."""
    try:
        start = time.perf_counter()
        call, samples = make()
        value = call()
        ready = time.perf_counter()
        best, end = float("inf"), ready + seconds
        while best == float("inf") or time.perf_counter() < end:
            begin = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - begin)
        line = {"samples_per_s": samples / best, "ready_s": ready - start, "value": value}
    except Exception as error:  # of whatever kind: the report names it
        line = {"failed": f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"}
    print(json.dumps(line), flush=True)
