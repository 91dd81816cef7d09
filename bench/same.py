#!/usr/bin/env python3
"""Fails unless two programs gave the same figures for the same work. Usage: same.py OURS.json PEER.json"""

import json
import sys

# Both compute in bfloat16, with 8 significant bits in every product, and sum in other orders.
TOLERANCE = {"loss": 0.01, "gradient_norm": 0.05}


def main():
    ours, peer = (json.load(open(path)) for path in sys.argv[1:3])
    for name, tolerance in TOLERANCE.items():
        difference = abs(ours[name] / peer[name] - 1)
        print(f"{name}: ours {ours[name]:.6g}, peer {peer[name]:.6g}, relative difference {difference:.2e}", file=sys.stderr)
        if not difference <= tolerance:
            raise SystemExit(f"{name} differs by more than {tolerance}: the two do not do the same work, nothing is timed")


if __name__ == "__main__":
    main()
