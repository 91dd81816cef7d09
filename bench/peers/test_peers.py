"""Tests of how peers are paced, which need none of their packages: python3 -m unittest discover bench/peers 'test_*.py'"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest
from unittest import mock

import pace

FOLDER = os.path.dirname(os.path.abspath(__file__))

PEER = """
import argparse, sys
sys.path.insert(0, sys.argv.pop(1))
import pace
done = []
def step(name):
    done.append(name)
    return {"done": list(done)}
parser = argparse.ArgumentParser()
pace.arguments(parser)
pace.run(parser.parse_args(), "Peer 1", lambda: step("check"), lambda: step("repeat"), lambda: step("warm-up"))
"""

# Speaks as llama-batched-bench does: a round for each -npl that the cache has room for, the first much slower.
BENCH = """#!/usr/bin/env python3
import json, sys
def of(flag): return sys.argv[sys.argv.index(flag) + 1]
print("build: something")
for n, slots in enumerate(map(int, of("-npl").split(","))):
    pp, tg = int(of("-npp")), int(of("-ntg"))
    slow = 1 if n else 100
    if slots * (pp + tg) > int(of("-c")):
        continue
    print(json.dumps({"pl": slots, "pp": pp, "tg": tg, "n_kv": slots * (pp + tg), "t_tg": 2.0 * slow, "t": 8.0 * slow}))
"""


def lines(words, said=""):
    done = subprocess.run([sys.executable, *words], input=said, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Pace(unittest.TestCase):
    def test_a_repetition_for_each_line(self):
        ready, *repetitions = lines(["-c", PEER, FOLDER, "--paced", "--threads", "3"], "go\n\n")
        self.assertEqual(ready, {"ready": True, "peer": "Peer 1, 3 threads", "check": {"done": ["check"]}})
        self.assertEqual([line["done"] for line in repetitions],
                         [["check", "warm-up", "repeat"], ["check", "warm-up", "repeat", "repeat"]])

    def test_answers_before_the_input_ends(self):
        with subprocess.Popen([sys.executable, "-c", PEER, FOLDER, "--paced"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True) as peer:
            silent = threading.Timer(20, peer.kill)  # whose output then ends
            silent.start()
            peer.stdout.readline()
            for n in (1, 2):
                peer.stdin.write("\n")
                peer.stdin.flush()
                self.assertEqual(json.loads(peer.stdout.readline())["done"].count("repeat"), n)
            peer.stdin.close()
            self.assertEqual((peer.stdout.read(), peer.wait()), ("", 0))
            silent.cancel()

    def test_one_repetition_alone(self):
        self.assertEqual(len(lines(["-c", PEER, FOLDER, "--threads", "1"], "go\ngo\n")), 2)

    def test_calls(self):
        clock, seen = [0.0], []

        def call(samples, cost):
            seen.append(cost)
            clock[0] += cost

        inputs = [([0] * 4, 0.25), ([0] * 4, 0.5)]
        with mock.patch("time.perf_counter", lambda: clock[0]):
            got = pace.calls(call, inputs, 2)
        self.assertEqual(seen, [0.25, 0.5, 0.25, 0.5, 0.25, 0.5])
        self.assertEqual(got, {"samples_per_s": 24 / 2.25, "seconds": 2.25, "p50_us": 0.25e6, "p95_us": 0.5e6, "p99_us": 0.5e6})

    def test_one_call_at_least(self):
        self.assertGreater(pace.calls(lambda samples: None, [([1],)], 0)["samples_per_s"], 0)


class LlamaCpp(unittest.TestCase):
    def run_bench(self, *more, prefix=3):
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "bench")
            with open(program, "w") as file:
                file.write(BENCH)
            os.chmod(program, 0o755)
            with open(os.path.join(folder, "workload.json"), "w") as file:
                json.dump({"prefix": [7] * prefix, "samples": [{"targets": [-1, -1, -1, 5, 5]}] * 8}, file)
            return lines([os.path.join(FOLDER, "generate_llama_cpp.py"), program, "model.gguf", folder, "--slots", "4",
                          "--tokens", "10", "--threads", "1", *more])

    def test_whole_answers(self):
        ready, line = self.run_bench()
        self.assertEqual(ready["check"], {"samples": 4, "question": 4, "generated": 9, "positions": 52})
        self.assertEqual(line, {"samples_per_s": 8 / 16, "tokens_per_s": 80 / 16, "seconds": 16})

    def test_generation_alone(self):
        ready, line = self.run_bench("--alone")
        self.assertEqual(ready["check"], {"samples": 4, "question": 3, "generated": 10, "positions": 52})
        self.assertEqual(line, {"samples_per_s": 8 / 4, "tokens_per_s": 80 / 4, "seconds": 4})

    def test_room_for_a_long_prefix(self):
        ready, _ = self.run_bench("--alone", prefix=1024)
        self.assertEqual(ready["check"]["positions"], 4 * 1034)


if __name__ == "__main__":
    unittest.main()
