#!/usr/bin/env python3
"""Fails unless two programs gave the same figures for the same work. Usage: same.py [--answers] OURS.json PEER.json

With --answers it holds tokens of answers against each other: a rounding here and there may turn one, and all that follow."""

import json
import sys

# Both compute in bfloat16, with 8 significant bits in every product, and sum in other orders.
TOLERANCE = {"loss": 0.01, "gradient_norm": 0.05}


# Of the answers so many must be the same from their first to their last token.
SAME_ANSWERS = 0.7


def compare_answers(ours, peer):
    # Ours may end before the number of tokens that the peer keeps to.
    same = sum(mine == theirs[: len(mine)] for mine, theirs in zip(ours, peer)) / len(peer)
    print(f"{100 * same:.0f} % of {len(peer)} answers are the same", file=sys.stderr)
    if len(ours) != len(peer) or same < SAME_ANSWERS:
        raise SystemExit("the two do not say the same, nothing is timed")


def main():
    answers = sys.argv[1] == "--answers"
    ours, peer = (json.load(open(path)) for path in sys.argv[-2:])
    if answers:
        return compare_answers(ours["tokens"], peer["tokens"])
    for name, tolerance in TOLERANCE.items():
        difference = abs(ours[name] / peer[name] - 1)
        print(f"{name}: ours {ours[name]:.6g}, peer {peer[name]:.6g}, relative difference {difference:.2e}", file=sys.stderr)
        if not difference <= tolerance:
            raise SystemExit(f"{name} differs by more than {tolerance}: the two do not do the same work, nothing is timed")


if __name__ == "__main__":
    main()
