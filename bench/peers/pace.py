"""How a peer is timed: at the pace of the program that started it, so that several can take turns in being measured.

A peer loads, computes figures that show that it does the same work as another program, warms up, and prints
    {"ready": true, "peer": "PyTorch 2.15.0, 2 threads", "check": {...}}
with a "trial" beside these if it has tried variants (trial.py). Then it makes a repetition, and prints a line
    {"samples_per_s": ..., "seconds": ...}
and beside these, where they mean something, "tokens_per_s", and "p50_us", "p95_us", "p99_us": microseconds of one call. With --paced
it makes one for each line of standard input, whatever the line says, and ends with its input. Meanwhile it waits in a read, and its
threads sleep.
"""

import itertools
import json
import os
import sys
import time


def arguments(parser):
    parser.add_argument("--paced", action="store_true", help="a repetition for each line of standard input, in place of one")
    parser.add_argument("--threads", type=int, default=os.cpu_count())


def run(args, peer, check, repeat, warm_up=None, trial=None):
    """`check()` and `repeat()` give the figures of their lines. `warm_up()` comes before what is timed; without it the check is
    enough for that. `trial` is the report of the trial that chose this variant."""
    figures = check()
    if warm_up:
        warm_up()
    tried = {"trial": trial} if trial else {}
    say(ready=True, peer=f"{peer}, {args.threads} thread{'s' * (args.threads > 1)}", check=figures, **tried)
    for _ in sys.stdin if args.paced else [""]:
        say(**repeat())


def say(**line):
    print(json.dumps(line), flush=True)


def calls(call, inputs, seconds):
    """Figures of calls with one of `inputs` after the other, until `seconds` are over. The samples of a call are the length of
    its first argument."""
    taken, samples, end = [], 0, time.perf_counter() + seconds
    for one in itertools.cycle(inputs):
        start = time.perf_counter()
        if taken and start >= end:
            break
        call(*one)
        taken.append(time.perf_counter() - start)
        samples += len(one[0])
    total, ordered = sum(taken), sorted(taken)
    at = lambda share: 1e6 * ordered[int(share * (len(ordered) - 1))]
    return {"samples_per_s": samples / total, "seconds": total, "p50_us": at(0.5), "p95_us": at(0.95), "p99_us": at(0.99)}
