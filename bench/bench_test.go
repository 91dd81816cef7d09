package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/dataset/datasettest"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// options are for a small data set and a random LLM, without peers.
func options(t *testing.T, benches ...string) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{Benches: benches, Dataset: filepath.Join(dir, "data"), LLM: filepath.Join(dir, "tiny.gguf"), Rounds: 2,
		Length: time.Millisecond, Engine: cgo.EngineParams{Backend: "cpu", Threads: 1}}
	if err := datasettest.Walks().Save(o.Dataset); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.LLM, gguftest.LLM(1), 0o644); err != nil {
		t.Fatal(err)
	}
	return o
}

// withRun adds a residual run of one update.
func withRun(t *testing.T, o Options) Options {
	t.Helper()
	engine, err := cgo.NewEngine(o.Engine)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	c, err := recommender.Default(models.SASRec, len(datasettest.Walks().Items))
	if err != nil {
		t.Fatal(err)
	}
	r, err := recommender.New(engine, c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := run.DefaultSpec()
	s.Dataset, s.LLM, s.Recommender = o.Dataset, o.LLM, filepath.Join(t.TempDir(), "sasrec.safetensors")
	s.Hidden, s.Tokens, s.Precision = 8, 1, run.F32
	s.Config = align.Config{Samples: 4, BatchSize: 4, PassPositions: 64, LearningRate: 1e-3, Schedule: align.Constant}
	if err := r.Save(s.Recommender); err != nil {
		t.Fatal(err)
	}
	o.Run = filepath.Join(t.TempDir(), "run")
	if _, err := run.Train(context.Background(), engine, o.Run, s, nil, nil); err != nil {
		t.Fatal(err)
	}
	return o
}

// Everything is measured, with as many rounds as were asked for, and can be written in every format
// and read again.
func TestRun(t *testing.T) {
	o := withRun(t, options(t, Names...))
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{Encoder: 3*len(models.Names()) + 2, Adapter: 4, Train: 2, Generate: 1, Evaluate: 2, Latency: 5, Bulk: 1}
	got := map[string]int{}
	for _, f := range r.Figures {
		got[f.Bench]++
		ours := f.Sides[0]
		if ours.Program != Program || len(ours.Rate.Values) != 2 || !(ours.Rate.Min > 0) || ours.Rate.Median > ours.Rate.Max {
			t.Errorf("%s, %s: %+v", f.Bench, f.Name, ours)
		}
		if f.FLOP > 0 && (f.Formula == "" || math.Abs(ours.FLOPS/(f.FLOP*ours.Rate.Median)-1) > 1e-9) {
			t.Errorf("%s, %s: FLOP %v by %q: %+v", f.Bench, f.Name, f.FLOP, f.Formula, ours)
		}
		if one := strings.Contains(f.Name, "one state") || strings.Contains(f.Name, "top 10"); one && (ours.P99 == nil || ours.P50.Median > ours.P99.Median) {
			t.Errorf("%s, %s has no percentiles that rise: %+v", f.Bench, f.Name, ours)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("figures %v, want %v", got, want)
	}
	if m := r.Machine; m.Threads != 1 || m.Backend != "cpu" || m.Kernels == "" || m.LlamaCommit == "" || m.Compiler == "" || m.Commit == "" ||
		r.Probes.BF16 == 0 || r.Probes.F32 == 0 || r.Probes.PeakF32 == 0 || r.Probes.Memory == 0 {
		t.Errorf("the machine is not described: %+v, %+v", m, r.Probes)
	}

	path := filepath.Join(t.TempDir(), "r.json")
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	again, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range Formats {
		var a, b bytes.Buffer
		if err := r.Write(&a, format); err != nil {
			t.Fatal(err)
		}
		if err := again.Write(&b, format); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) || strings.Count(a.String(), "\n") < len(r.Figures) {
			t.Errorf("as %s:\n%s\nread again:\n%s", format, a.String(), b.String())
		}
	}
	if err := r.Write(&bytes.Buffer{}, "yaml"); err == nil {
		t.Error("there is no format yaml, and yet it was written")
	}
	if err := r.Plot(filepath.Join(t.TempDir(), "r.svg")); err == nil {
		t.Error("no sweep, and yet it was plotted")
	}
}

// A sweep has a figure for each value, each with the value, and can be drawn.
func TestRun_sweeps(t *testing.T) {
	for name, want := range map[string]int{Encoder + " " + ByBatch: 10 * len(models.Names()), Encoder + " " + ByLength: 5, Adapter + " " + ByThreads: 4 * 2,
		Train + " " + ByBatch: 2 * 7, Generate + " " + ByBatch: 10, Generate + " " + ByLength: 5} {
		t.Run(name, func(t *testing.T) {
			bench, sweep, _ := strings.Cut(name, " ")
			o := options(t, bench)
			o.Sweep, o.Rounds, o.Engine.Threads = sweep, 1, 2
			if sweep == ByLength && bench == Encoder {
				o.Models = []string{models.BERT4Rec}
			}
			r, err := Run(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Figures) != want {
				t.Errorf("%d figures, want %d", len(r.Figures), want)
			}
			for _, f := range r.Figures {
				if f.swept() == 0 || (f.Batch > 0) != (sweep == ByBatch) || (f.Length > 0) != (sweep == ByLength) {
					t.Errorf("%s: %+v", f.Name, f)
				}
			}
			for _, format := range []string{"png", "svg"} {
				path := filepath.Join(t.TempDir(), "sweep."+format)
				if err := r.Plot(path); err != nil {
					t.Fatal(err)
				}
				if text, err := os.ReadFile(path); err != nil || len(text) < 2000 {
					t.Errorf("%s has %d bytes: %v", path, len(text), err)
				}
			}
			if err := r.Plot("sweep.pdf"); err == nil {
				t.Error("a format that is not offered")
			}
		})
	}
}

func TestRun_refusals(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"nothing is called":       func(o *Options) { o.Benches = []string{"coffee"} },
		"nothing is to be":        func(o *Options) { o.Benches = nil },
		"0 rounds":                func(o *Options) { o.Rounds = 0 },
		"is called \"gru\"":       func(o *Options) { o.Models = []string{"gru"} },
		"no recommenders":         func(o *Options) { o.Benches, o.Models = []string{Adapter}, []string{models.SASRec} },
		"cannot be swept":         func(o *Options) { o.Benches, o.Sweep = []string{Evaluate}, ByBatch },
		"name the folder of one":  func(o *Options) { o.Benches = []string{Latency} },
		"no peer is called":       func(o *Options) { o.Peers.Names = []string{"jax"} },
		"needs /none/python":      func(o *Options) { o.Peers = Peers{Names: []string{PyTorch}, Python: "/none/python"} },
		"make llama-tools builds": func(o *Options) { o.Peers = Peers{Names: []string{LlamaCpp}, Tools: "/none"} },
		"top folder":              func(o *Options) { o.Peers = Peers{Names: []string{PyTorch}, Python: "sh", Scripts: "/none"} },
	} {
		o := Options{Benches: []string{Encoder}, Rounds: 1}
		change(&o)
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A cancelled measurement ends with what is finished, and leaves no file.
func TestRun_cancelled(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	o := options(t, Encoder)
	o.Progress = func(what string, round, _ int) {
		if round == 1 && strings.Contains(what, "256 states") {
			cancel()
		}
	}
	r, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || r == nil || len(r.Figures) != 1 {
		t.Errorf("%v with %+v, want a cancellation with the first figure", err, r)
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "recint-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left: %v", left, err)
	}
}

// peers are shell scripts that speak as bench/peers/pace.py does.
func peers(t *testing.T, script string) Peers {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"pace.py": "", "time_adapter.py": script} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Peers{Names: []string{PyTorch}, Python: "sh", Scripts: dir}
}

// The peer is asked once for every round, and what it says stands beside ours.
func TestRun_peer(t *testing.T) {
	first, err := Run(context.Background(), options(t, Adapter)) // for what is to be agreed with
	if err != nil || len(first.Figures[0].Sides) != 1 {
		t.Fatal(first, err)
	}
	rounds := filepath.Join(t.TempDir(), "rounds")
	speak := `echo '{"ready": true, "peer": "Fake 1.0", "check": {"soft_tokens_sum": SUM, "soft_tokens_absolute": 1e9},
"trial": [{"variant": "plain", "samples_per_s": 2, "ready_s": 3}, {"variant": "compiled", "failed": "no compiler"}]}' | tr '\n' ' '; echo
while read line; do echo "$4 $6" >> ` + rounds + `; echo '{"samples_per_s": 4, "seconds": 1, "p50_us": 50, "p95_us": 60, "p99_us": 70}'; done`
	o := options(t, Adapter)
	o.Peers = peers(t, strings.Replace(speak, "SUM", "0", 1))
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Figures {
		want := 2
		if strings.HasPrefix(f.Name, "warm start") { // without a peer
			want = 1
		}
		if len(f.Sides) != want {
			t.Fatalf("%s has %d sides", f.Name, len(f.Sides))
		}
		if want == 1 {
			continue
		}
		s := f.Sides[1]
		if s.Program != "Fake 1.0" || s.Rate.Median != 4 || len(s.Ratio.Values) != 2 {
			t.Errorf("%s: %+v", f.Name, s)
		}
		if want := []Trial{{Variant: "plain", Threads: 1, Rate: 2, Ready: 3}, {Variant: "compiled", Threads: 1, Failed: "no compiler"}}; !slices.Equal(s.Trial, want) {
			t.Errorf("%s: trial %+v, want %+v", f.Name, s.Trial, want)
		}
		ours := f.Sides[0]
		if want := ours.Rate.Values[1] / 4; f.Name != "soft tokens of one state" && math.Abs(s.Ratio.Values[1]/want-1) > 1e-9 {
			t.Errorf("%s: ratio %v, want %v", f.Name, s.Ratio.Values[1], want)
		}
		if f.Name == "soft tokens of one state" {
			if want := 50 / ours.P50.Values[0]; math.Abs(s.Ratio.Values[0]/want-1) > 1e-9 {
				t.Errorf("%s: ratio %v, want that of the latencies, %v", f.Name, s.Ratio.Values[0], want)
			}
		}
	}

	var table bytes.Buffer
	if err := r.Write(&table, "table"); err != nil {
		t.Fatal(err)
	}
	if want := "variants of Fake 1.0: plain with 1 thread 2.00 a second, ready after 3.00 s; compiled with 1 thread: no compiler."; !strings.Contains(table.String(), want) {
		t.Errorf("no %q in\n%s", want, table.String())
	}

	for want, script := range map[string]string{
		"do not do the same work":   strings.Replace(strings.Replace(speak, "SUM", "1e9", 1), "1e9}", "2}", 1),
		"no soft_tokens_sum":        `echo '{"ready": true, "check": {}}'; while read line; do :; done`,
		"no module named torch":     `echo 'no module named torch' >&2; exit 1`,
		"has measured nothing":      strings.Replace(strings.Replace(speak, "SUM", "0", 1), `"samples_per_s": 4`, `"samples_per_s": 0`, 1),
		"has said nothing more":     `echo '{"ready": true, "check": {"soft_tokens_sum": 0, "soft_tokens_absolute": 1e9}}'; read line; exit 0`,
		"invalid character":         `echo '{"ready": tru'; while read line; do :; done`,
		"killed in the third round": strings.Replace(speak, "SUM", "0", 1) + "\necho killed in the third round >&2; exit 3",
	} {
		o.Peers = peers(t, script)
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestAnswersAgree(t *testing.T) {
	theirs := check{"tokens": []any{[]any{1., 2., 3.}, []any{4., 5., 6.}, []any{7., 8., 9.}}}
	if err := answersAgree(check{"tokens": [][]int32{{1, 2, 3}, {4, 5}, {7, 8, 9}}}, theirs); err != nil {
		t.Errorf("answers that are the same, one of them shorter: %v", err)
	}
	for _, ours := range [][][]int32{{{1, 2, 3}, {4, 6}, {7, 9, 9}}, {{1, 2, 3}}, nil} {
		if err := answersAgree(check{"tokens": ours}, theirs); err == nil {
			t.Errorf("%v agrees with %v", ours, theirs)
		}
	}
}

// What peers/split.py makes of a data set is, byte for byte, what we write for peers.
func TestWriteSplit(t *testing.T) {
	o := options(t, Encoder)
	d, err := dataset.Load(o.Dataset)
	if err != nil {
		t.Fatal(err)
	}
	split, err := d.Split(dataset.DefaultProtocol())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "split.json")
	if err := writeSplit(path, d, split); err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := exec.Command("python3", filepath.Join("peers", "split.py"), o.Dataset).Output()
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(ours, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(theirs, &b); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(a) != fmt.Sprint(b) || len(ours) < 1000 {
		t.Errorf("ours:\n%.300s\nsplit.py's:\n%.300s", ours, theirs)
	}
}

// result has one figure with these rounds.
func result(rates ...float64) *Result {
	return &Result{Figures: []Figure{{Bench: Train, Name: "x", Unit: "samples", Sides: []Side{{Program: Program, Rate: spreadOf(rates)}}}}}
}

// P-values of the U-test, two-sided: 2/70 where four and four do not overlap, 2/20 where three and
// three do not.
func TestCompare(t *testing.T) {
	for _, c := range []struct {
		before, after *Result
		word          string
		p             float64
	}{
		{result(1, 2, 3, 4), result(5, 6, 7, 8), Faster, 2. / 70},
		{result(5, 6, 7, 8), result(1, 2, 3, 4), Slower, 2. / 70},
		{result(1, 2, 3), result(5, 6, 7), TooFew, 0.1},
		{result(1, 3, 5, 7), result(2, 4, 6, 8), Same, 0.685714},
	} {
		comparison, err := Compare(c.before, c.after)
		if err != nil {
			t.Fatal(err)
		}
		got := comparison.Changes[0]
		if got.Word != c.word || math.Abs(got.P-c.p) > 1e-4 {
			t.Errorf("%v to %v: %s, p %.4f; want %s, %.4f", got.Before.Values, got.After.Values, got.Word, got.P, c.word, c.p)
		}
		var text bytes.Buffer
		if err := comparison.Write(&text); err != nil || !strings.Contains(text.String(), c.word) {
			t.Errorf("%v\n%s", err, text.String())
		}
	}
	// Of latencies the lower one is the faster.
	slow, fast := result(1, 1, 1, 1), result(1, 1, 1, 1)
	p50 := func(values ...float64) *Spread { s := spreadOf(values); return &s }
	slow.Figures[0].Sides[0].P50, fast.Figures[0].Sides[0].P50 = p50(9, 9.1, 9.2, 9.3), p50(3, 3.1, 3.2, 3.3)
	comparison, err := Compare(slow, fast)
	if err != nil || comparison.Changes[0].Word != Faster || comparison.Changes[0].Unit != "µs (p50)" {
		t.Errorf("%+v, %v", comparison, err)
	}
}

// Whatever else differs is said, no figure vanishes, and JSON can be written of all of it.
func TestCompare_conditions(t *testing.T) {
	for name, c := range map[string]struct {
		edit  func(r *Result)
		says  string // in the report
		found string // what differs; "": nothing
	}{
		"nothing":     {func(*Result) {}, "no difference shown", ""},
		"LLM":         {func(r *Result) { r.LLM = "other.gguf" }, "llm differs: a.gguf before, other.gguf after", "llm"},
		"data":        {func(r *Result) { r.Dataset = "ml-1m" }, "dataset differs", "dataset"},
		"CPU":         {func(r *Result) { r.Machine.CPU = "Y" }, "machine.cpu differs: X before, Y after", "machine.cpu"},
		"threads":     {func(r *Result) { r.Machine.Threads = 9 }, "machine.threads differs: 2 before, 9 after", "machine.threads"},
		"features":    {func(r *Result) { r.Machine.CPUFeatures = []string{"AVX2", "FMA"} }, "AVX2 FMA", "machine.cpu_features"},
		"unfinished":  {func(r *Result) { r.Unfinished = true }, "unfinished differs: not said before, true after", "unfinished"},
		"date":        {func(r *Result) { r.Machine.Date, r.Probes.BF16 = "2026-01-01", 5 }, "no difference shown", ""},
		"more work":   {func(r *Result) { r.Figures[0].FLOP = 7 }, "7 FLOP", "work of a sample, train, "},
		"other batch": {func(r *Result) { r.Figures[0].Batch = 2 }, "only after", ""},
		"zeros":       {func(r *Result) { r.Figures[0].Sides[0].Rate = spreadOf([]float64{0, 0, 0, 0}) }, Slower, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := result(1, 3, 5, 7), result(1, 3, 5, 7)
			for _, r := range []*Result{before, after} {
				r.LLM, r.Dataset, r.Machine.CPU, r.Machine.Threads = "a.gguf", "ml-100k", "X", 2
			}
			c.edit(after)
			for _, sides := range [][2]*Result{{before, after}, {after, before}} {
				comparison, err := Compare(sides[0], sides[1])
				if err != nil {
					t.Fatal(err)
				}
				if c.found == "" != (len(comparison.Differences) == 0) ||
					c.found != "" && !strings.HasPrefix(comparison.Differences[0].What, c.found) {
					t.Errorf("differences %+v, want %q", comparison.Differences, c.found)
				}
				if _, err := json.Marshal(comparison); err != nil {
					t.Error(err)
				}
				if n := len(comparison.Changes) + len(comparison.OnlyAfter); n != 1 || len(comparison.OnlyBefore) != len(comparison.OnlyAfter) {
					t.Errorf("%+v", comparison)
				}
				var text bytes.Buffer
				if err := comparison.Write(&text); err != nil || sides[1] == after && !strings.Contains(text.String(), c.says) {
					t.Errorf("%v, want %q in\n%s", err, c.says, text.String())
				}
			}
		})
	}
}

func TestSpread(t *testing.T) {
	if s := spreadOf([]float64{3, 1, 2}); s.Median != 2 || s.Min != 1 || s.Max != 3 || !slices.Equal(s.Values, []float64{3, 1, 2}) {
		t.Errorf("%+v", s)
	}
	if s := spreadOf([]float64{4, 1}); s.Median != 2.5 {
		t.Errorf("the median of 1 and 4 is %v", s.Median)
	}
	for x, want := range map[float64]string{0: "0.00", 0.01234: "0.0123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 12345: "12345"} {
		if got := figures(x); got != want {
			t.Errorf("%v is written %s, want %s", x, got, want)
		}
	}
}

// A share is of the peak of the data type in which the kernel set multiplies, for one number of
// threads, unless something was faster than its peak. Without such a peak it is of our products in
// BF16.
func TestShareOfPeak(t *testing.T) {
	products := Probes{BF16: 100e9, F32: 50e9}
	peaks := products
	peaks.PeakF32, peaks.PeakBF16 = 200e9, 400e9
	for name, c := range map[string]struct {
		probes  Probes
		kernels string
		bench   string
		flops   float64
		threads int
		want    []string
	}{
		"older, training":          {products, "", Train, 99e9, 0, []string{"66 %", "99 %"}},
		"older, generation":        {products, "", Generate, 99e9, 0, []string{"66 %", "99 %"}},
		"older, faster":            {products, "", Train, 101e9, 0, []string{"", ""}},
		"older, threads":           {products, "", Train, 99e9, 1, []string{"", ""}},
		"older, encoder":           {products, "", Encoder, 99e9, 0, []string{"", ""}},
		"BF16, training":           {peaks, avx512bf16, Train, 200e9, 0, []string{"16 %", "50 %"}},
		"BF16, encoder":            {peaks, avx512bf16, Encoder, 100e9, 0, []string{"33 %", "50 %"}},
		"F32, training":            {peaks, avx2, Train, 100e9, 0, []string{"33 %", "50 %"}},
		"F32, faster than its own": {peaks, avx2, Train, 201e9, 0, []string{"", ""}},
		"GPU, training":            {peaks, "cuda", Train, 200e9, 0, []string{"16 %", "50 %"}},
		"GPU, encoder":             {peaks, "cuda", Encoder, 100e9, 0, []string{"33 %", "50 %"}},
	} {
		machine := Machine{Kernels: c.kernels}
		if c.kernels == "cuda" {
			machine = Machine{Backend: c.kernels, Device: "NVIDIA H200"}
		}
		r := Result{Probes: c.probes, Machine: machine, Figures: []Figure{
			{Bench: c.bench, Threads: c.threads, Sides: []Side{{Program: Program, FLOPS: 66e9}}},
			{Bench: c.bench, Threads: c.threads, Sides: []Side{{Program: Program, FLOPS: c.flops}}},
		}}
		var got []string
		for _, row := range r.rows(c.bench) {
			got = append(got, row[slices.Index(headings, "of the peak")])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What was measured on a GPU names TF32, whose memory is which, and the share of what the maker
// states.
func TestConditions_onGPU(t *testing.T) {
	r := result(1)
	r.Machine = Machine{Backend: "cuda", Device: "NVIDIA H200", Commit: "0123456789ab+"}
	r.Probes = Probes{BF16: 3e14, F32: 2e14, PeakBF16: 7e14, PeakF32: 4e14, Memory: 2e11, Device: 4e12}
	r.Figures[0].Padding, r.Figures[0].Sides[0].FLOPS = 0.125, 98.94e12
	var table bytes.Buffer
	if err := r.Write(&table, "table"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"400000 GFLOP/s in TF32 and 700000 in BF16", "By its data sheet: 494700 GFLOP/s in TF32 and 989400 in BF16, memory 4800",
		"the host's memory 200 GB/s, the device's 4000 GB/s", "Not for comparison", "14 %", "10.0 %", "12 %"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, table.String())
		}
	}
	r.Machine.Device = "NVIDIA made up"
	if sheet := r.Machine.sheet(); sheet != (dataSheet{}) {
		t.Errorf("a data sheet of an unknown device: %+v", sheet)
	}
}

// Peers are kept to the instructions of a kernel set that was asked for although the CPU has a
// better one.
func TestLevel(t *testing.T) {
	all := []string{PyTorch, ONNXRuntime, LlamaCpp}
	for _, same := range [][2]string{{avx512bf16, avx512bf16}, {avx2, avx2}, {generic, generic}, {neon, neon}, {"", avx512bf16}} {
		if environment, notes := level(same[0], same[1], all); environment != nil || notes != nil {
			t.Errorf("kernels %q on a CPU of %q: %q, %q", same[0], same[1], environment, notes)
		}
	}
	environment, notes := level(avx2, avx512bf16, all)
	if !slices.Contains(environment, "ATEN_CPU_CAPABILITY=avx2") || !slices.Contains(environment, "ONEDNN_MAX_CPU_ISA=AVX2") || len(notes) != 3 {
		t.Errorf("%q, %q", environment, notes)
	}
	r := result(1)
	r.PeerNotes = notes
	var table bytes.Buffer
	if err := r.Write(&table, "table"); err != nil || !strings.Contains(table.String(), notes[1]) {
		t.Errorf("%v: no %q in\n%s", err, notes[1], table.String())
	}
}

// TestPage holds the page that is in docs together with the results that it names.
func TestPage(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("..", "docs", "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	var results []string
	for line := range strings.Lines(string(want)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "## "); ok {
			results = append(results, filepath.Join("results", name+".json"))
		}
	}
	if len(results) == 0 {
		t.Fatal("the page names no results")
	}
	page := filepath.Join(t.TempDir(), "benchmarks.md")
	if err := WritePage(page, results); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/benchmarks.md is not what the results make of it; run make bench-page")
	}
}
