"""Tests of how peers are paced and choose a variant, which need none of their packages: python3 -m unittest discover bench/peers 'test_*.py'"""

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

# Variants: a fast one that computes something else, one that fails, one that hangs, one that crashes, and two that work.
VARIANTS = """
import argparse, os, sys, time
sys.path.insert(0, sys.argv.pop(1))
import trial
NAMES = ("slow", "wrong", "fails", "hangs", "crashes", "late", "quick")
parser = argparse.ArgumentParser()
trial.arguments(parser, NAMES)
parser.add_argument("--only")
args = parser.parse_args()
def call():
    time.sleep({"slow": 0.5, "quick": 0.01}.get(args.variant, 0))
    return 2.0 if args.variant == "wrong" else 1.0
def make():
    if args.variant == "fails": raise RuntimeError("no compiler\\nat all")
    if args.variant == "hangs": time.sleep(60)
    if args.variant == "crashes": os._exit(3)
    return call, 4
if args.trial:
    trial.measure(make, seconds=0.1)
else:
    pointless = lambda name, report: f"behind {report[-1]['variant']}" if name == "late" else None
    print(trial.json.dumps(trial.fastest(args.only.split(",") if args.only else NAMES, 0.1, pointless, limit=5)))
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


class Trial(unittest.TestCase):
    def run_trial(self, *more):
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "variants.py")
            with open(program, "w") as file:
                file.write(VARIANTS.replace("sys.argv.pop(1)", repr(FOLDER)))
            return subprocess.run([sys.executable, program, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_the_fastest_that_works(self):
        done = self.run_trial()
        chosen, report = json.loads(done.stdout)
        self.assertEqual(chosen, "quick")
        self.assertEqual([entry["variant"] for entry in report], ["slow", "wrong", "fails", "hangs", "crashes", "late", "quick"])
        self.assertEqual([entry.get("failed") for entry in report],
                         [None, "computes 2, and slow 1", "RuntimeError: no compiler", "not ready within 5 seconds",
                          "ended with status 3", "not tried: behind crashes", None])
        slow, quick = report[0], report[-1]
        self.assertTrue(0 < slow["samples_per_s"] <= 4 / 0.5 and 0 < quick["samples_per_s"] <= 4 / 0.01, report)
        self.assertGreaterEqual(slow["ready_s"], 0.5)  # the first call, which is not timed

    def test_none_works(self):
        done = self.run_trial("--only", "fails,crashes")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no variant works: fails: RuntimeError: no compiler; crashes: ended with status 3", done.stderr)


class LlamaCpp(unittest.TestCase):
    def run_bench(self, *more, prefix=3):
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "bench")
            with open(program, "w") as file:
                file.write(BENCH)
            os.chmod(program, 0o755)
            with open(os.path.join(folder, "workload.json"), "w") as file:
                json.dump({"prefix": [7] * prefix, "samples": [{"tokens": [-1, -2, 7, 8, 5], "targets": [-1, -1, -1, 5, 5]}] * 8}, file)
            return lines([os.path.join(FOLDER, "generate_llama_cpp.py"), program, "model.gguf", folder, "--slots", "4",
                          "--tokens", "10", "--threads", "1", *more])

    def test_whole_answers(self):
        ready, line = self.run_bench()
        self.assertEqual(ready["check"], {"samples": 4, "question": 4, "generated": 9, "positions": 52})
        self.assertEqual(line, {"samples_per_s": 8 / 16, "tokens_per_s": 80 / 16, "seconds": 16})

    def test_generation_alone(self):
        ready, line = self.run_bench("--alone")
        self.assertEqual(ready["check"], {"samples": 4, "question": 5, "generated": 10, "positions": 60})
        self.assertEqual(line, {"samples_per_s": 8 / 4, "tokens_per_s": 80 / 4, "seconds": 4})

    def test_room_for_a_long_prefix(self):
        ready, _ = self.run_bench("--alone", prefix=1024)
        self.assertEqual(ready["check"]["positions"], 4 * 1036)


class Gpu(unittest.TestCase):
    """The peer for GPUs computes what the tuned one does, also where its shapes are rounded up. It needs PyTorch."""

    def setUp(self):
        try:
            import torch
            import safetensors
        except ImportError:
            self.skipTest("PyTorch and safetensors are not installed")
        with mock.patch.dict(sys.modules, {"gguf": mock.MagicMock()} if not has("gguf") else {}):
            import align_gpu
            import align_tuned
            import generate_tuned
            import workload
            from llama import Llama
        del safetensors
        self.torch, self.gpu, self.tuned, self.workload = torch, align_gpu, align_tuned, workload
        self.generate = generate_tuned
        torch.manual_seed(1)
        draw = lambda *shape: torch.randn(*shape) * 0.2
        width, heads, kv, wide, ff, vocab = 16, 4, 2, 4, 24, 40

        def make(_path, dtype):
            llama = Llama.__new__(Llama)
            llama.heads, llama.kv_heads, llama.epsilon, llama.rope_base, llama.dtype = heads, kv, 1e-5, 1e4, torch.float32
            llama.width, llama.head_width = width, wide
            llama.embedding = llama.head = self.embedding
            llama.norm, llama.layers = torch.ones(width), self.layers
            return llama

        self.embedding = draw(vocab, width)
        self.layers = [{"attn_norm": torch.ones(width), "qkv": draw((heads + 2 * kv) * wide, width), "out": draw(width, heads * wide),
                        "ffn_norm": torch.ones(width), "gate_up": draw(2 * ff, width), "down": draw(width, ff)} for _ in range(2)]
        self.make = make
        k, states = 2, 3
        samples = []
        for i in range(5):
            answer = [7 + i] * (1 + i)
            question = [3, *(-1 - j for j in range(k)), 4, 5]
            samples.append((question + answer[:-1], [-1] * (len(question) - 1) + answer))
        adapter = {"weight": draw(k * width, states), "bias": draw(k * width)}
        self.work = lambda: workload.Workload(k, 5, [1, 2], samples, torch.arange(15).view(5, 1, 3) / 7, workload.learning(
            {name: value.clone() for name, value in adapter.items()}))

    def test_the_loss_and_the_gradient_of_the_tuned_peer(self):
        args = mock.Mock(model="", micro=2, device="cpu", variant="float32", lr=1e-3)
        theirs = self.work()
        with mock.patch.object(self.tuned, "Llama", self.make):
            loss, _ = self.tuned.make_step(args)(theirs, list(range(5)))
        for micro, packed in (2, False), (5, True):
            ours = self.work()
            with mock.patch.object(self.gpu, "Llama", self.make):
                trainer = self.gpu.Trainer(args, ours)
            passes = self.gpu.passes(ours, list(range(5)), micro, trainer.llama)
            self.assertEqual(["aside" in one.tensors for one in passes], [packed] * len(passes))
            for one in passes:
                trainer.run(one, False)
            self.assertAlmostEqual(trainer.loss.item(), loss, places=5)
            for name, value in ours.adapter.items():
                self.torch.testing.assert_close(value.grad, theirs.adapter[name].grad, rtol=1e-4, atol=1e-6)

    def test_an_update_moves_the_adapter_and_clears_its_gradient(self):
        work = self.work()
        with mock.patch.object(self.gpu, "Llama", self.make):
            trainer = self.gpu.Trainer(mock.Mock(model="", device="cpu", variant="graphs", lr=1e-3), work)
        before = work.adapter["weight"].detach().clone()
        for one in self.gpu.passes(work, [0, 1, 2], 4, trainer.llama):
            trainer.run(one, True)
        self.assertFalse(self.torch.equal(before, work.adapter["weight"]))
        self.assertFalse(work.adapter["weight"].grad.any())

    def test_generation_after_soft_tokens(self):
        work, llama = self.work(), self.make("", None)
        with self.torch.no_grad():
            generation = self.generate.Generation(llama, work, 7, 4)  # two more sequences than samples
            tokens, logprobs = generation.run()
            self.torch.testing.assert_close(generation.run()[0], tokens)  # a repetition begins anew
            rows = [slot % 5 for slot in range(7)]
            soft = work.soft_tokens(work.states[rows]).flatten(1, 2)
            x = self.torch.cat([llama.embed(self.torch.tensor([work.prefix] * 7)), soft], 1)
            token = generation.first
            for i in range(4):
                x = self.torch.cat([x, llama.embed(token)[:, None]], 1)
                all_logprobs = (llama.hidden(x)[:, -1] @ llama.head.T).log_softmax(-1)
                best, token = all_logprobs.max(-1)
                self.assertEqual(tokens[:, i].tolist(), token.tolist())
                self.torch.testing.assert_close(logprobs[:, i], best, rtol=1e-4, atol=1e-5)

    def test_sizes_as_recint_rounds_them(self):
        got = [self.workload.rounded_up(n) for n in (1, 2, 3, 5, 8, 9, 100, 129, 1000, 1025)]
        self.assertEqual(got, [1, 2, 4, 8, 8, 16, 104, 144, 1024, 1152])
        self.assertEqual([self.workload.rounded_up(n, 4) for n in (65, 1500)], [80, 1536])


def has(module):
    import importlib.util

    return importlib.util.find_spec(module) is not None


if __name__ == "__main__":
    unittest.main()
