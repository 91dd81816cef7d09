#!/usr/bin/env python3
"""Runs two commands in turn and compares their samples_per_s; the order is swapped in every round.

Each command prints JSON lines, of which the last one that has samples_per_s counts.
Usage: align.py [-n ROUNDS] [--out FILE] 'OURS ...' 'PEER ...'
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time


def rate(command, key="samples_per_s"):
    """Runs the command, words or one line, once and returns its samples per second, or another figure."""
    try:
        words = command if isinstance(command, list) else shlex.split(command)
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    except (OSError, ValueError) as problem:
        raise SystemExit(f"cannot run {command!r}: {problem}")
    if done.returncode:
        raise SystemExit(f"{command!r} ended with status {done.returncode}; its own message is above")
    for line in reversed(done.stdout.splitlines()):
        try:
            return float(json.loads(line)[key])
        except (ValueError, KeyError, TypeError):
            continue
    raise SystemExit(f"{command!r} printed no JSON line with {key}")


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=5, help="rounds")
    parser.add_argument("--out", help="write the report to this file as well, with the machine named")
    parser.add_argument("ours", help="command of ours")
    parser.add_argument("peer", help="command of the peer")
    args = parser.parse_args()
    if args.n < 1:
        parser.error("-n has to be at least 1")
    rates = {args.ours: [], args.peer: []}
    if len(rates) == 1:
        parser.error("the two commands are the same")
    for n in range(args.n):
        for command in sorted(rates, key=lambda c: (c == args.ours) == bool(n % 2)):
            rates[command].append(rate(command))
            print(f"round {n + 1}: {rates[command][-1]:.2f} samples/s  {command}", file=sys.stderr)
    ratios = [a / b for a, b in zip(rates[args.ours], rates[args.peer])]
    report = {"unit": "samples_per_s", "ours": spread(rates[args.ours]), "peer": spread(rates[args.peer]),
              "ratio": spread(ratios)}
    print(json.dumps(report, indent=2))
    if args.out:
        with open(args.out, "w") as file:
            commands = {"ours": without_folders(args.ours), "peer": without_folders(args.peer)}
            json.dump(report | {"commands": commands, "machine": machine()}, file, indent=2)
            file.write("\n")


def without_folders(command):
    """A command that says nothing of where things lie on this machine."""
    return " ".join(os.path.basename(word) if os.path.isabs(word) else word for word in shlex.split(command))


def machine():
    """What was measured on: processor, cores in use, system, commit."""
    model = platform.processor()
    try:
        with open("/proc/cpuinfo") as file:
            info = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in info.items()}
        model = "{model name}, family {cpu family}, model {model}".format(**fields)
    except (OSError, KeyError):
        pass
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True, check=False)
    return {"cpu": model, "cpus": os.cpu_count(), "system": platform.platform(), "commit": commit.stdout.strip(),
            "date": time.strftime("%Y-%m-%d")}


if __name__ == "__main__":
    main()
