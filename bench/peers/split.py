"""Writes the sequences of a data set folder as one JSON file, which the recommender peers read.

Output: {"items": n, "train": [[history, next], ...], "validation": [...], "test": [...]} with dense item ids (the place in
items.tsv), histories oldest first and of at most 10.

A folder with events.tsv is cut as RecInt cuts it: a user's events by time, ties by dense item; a sequence for each event
with at least 3 earlier ones; all sequences by the time of the target, ties by user (by number where every id is an integer,
else as text), then position; cut at 8n/10 and 9n/10. A folder with train.tsv, validation.tsv and test.tsv (columns `history`,
ids separated by blanks, and `next`) is cut already and keeps its order.
"""

import argparse
import json
import os
import re
import sys

MAX_HISTORY, MIN_HISTORY = 10, 3
PARTS = ("train", "validation", "test")


def rows(folder, name, columns):
    """The named columns of a tab-separated file whose first line names its columns, in any order, beside others."""
    with open(os.path.join(folder, name), encoding="utf-8", newline="\n") as file:
        header = file.readline().rstrip("\r\n").split("\t")
        places = [header.index(column) for column in columns]
        for line in file:
            fields = line.rstrip("\r\n").split("\t")
            if fields != [""]:
                yield [fields[place] for place in places]


def sequences(folder, items):
    """All sequences of events.tsv in order of time."""
    events = {}
    for user, item, time in rows(folder, "events.tsv", ("user_id", "item_id", "time")):
        events.setdefault(user, []).append((int(time), items[item]))
    numeric = all(re.fullmatch(r"[+-]?[0-9]+", user) and -(2**63) <= int(user) < 2**63 for user in events)
    found = []
    for user in sorted(events, key=(lambda u: (int(u), u)) if numeric else None):
        own = sorted(events[user])
        taken = [item for _, item in own]
        for at in range(MIN_HISTORY, len(own)):
            found.append((own[at][0], [taken[max(0, at - MAX_HISTORY) : at], taken[at]]))
    found.sort(key=lambda pair: pair[0])  # stable: ties keep the order of users and positions
    return [sequence for _, sequence in found]


def split(folder):
    items = {item: place for place, (item,) in enumerate(rows(folder, "items.tsv", ("item_id",)))}
    if os.path.exists(os.path.join(folder, "events.tsv")):
        found = sequences(folder, items)
        first, second = len(found) * 8 // 10, len(found) * 9 // 10
        parts = found[:first], found[first:second], found[second:]
    else:
        parts = []
        for part in PARTS:
            read = rows(folder, part + ".tsv", ("history", "next"))
            parts.append([[[items[item] for item in history.split()][-MAX_HISTORY:], items[following]] for history, following in read])
    return {"items": len(items), **dict(zip(PARTS, parts))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="data set folder; the JSON goes to standard output")
    json.dump(split(parser.parse_args().folder), sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
