package align

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

func TestRate_byHand(t *testing.T) {
	c := Config{LearningRate: 1, WarmupSteps: 4}
	for step, want := range []float64{0.25, 0.5, 0.75, 1, 1, 5. / 6, 4. / 6, 0.5, 2. / 6, 1. / 6} {
		if got := c.rate(step, 10); math.Abs(got-want) > 1e-12 {
			t.Errorf("step %d of 10: rate %g, want %g", step, got, want)
		}
		if step < 4 && c.rate(step, 0) != want {
			t.Errorf("step %d before the plan: rate %g, want %g", step, c.rate(step, 0), want)
		}
	}
	for schedule, want := range map[Schedule]float64{CosineDecay: (1 - math.Cos(math.Pi/3)) / 2, Constant: 1} {
		if c.Schedule = schedule; math.Abs(c.rate(8, 10)-want) > 1e-12 {
			t.Errorf("%s, step 8 of 10: rate %g, want %g", schedule, c.rate(8, 10), want)
		}
	}
	// A run no longer than its warm-up has none.
	if got := c.rate(0, 2); got != 1 {
		t.Errorf("step 0 of 2: rate %g, want 1", got)
	}
}

func TestOrder(t *testing.T) {
	const n = 10
	o, again := order{seed: 4, n: n}, order{seed: 4, n: n}
	epochs := make([][]int, 3)
	for place := range 3 * n {
		epochs[place/n] = append(epochs[place/n], o.at(place))
	}
	for e, epoch := range epochs {
		if sorted := slices.Sorted(slices.Values(epoch)); !slices.Equal(sorted, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("epoch %d is not a permutation: %v", e, epoch)
		}
	}
	if slices.Equal(epochs[0], epochs[1]) {
		t.Error("two epochs in the same order")
	}
	// Taking it up in the middle gives what going through gave.
	for place := 17; place < 3*n; place++ {
		if got := again.at(place); got != epochs[place/n][place%n] {
			t.Errorf("place %d: %d, want %d", place, got, epochs[place/n][place%n])
		}
	}
}

func TestPasses(t *testing.T) {
	p, err := prompt.FromSegments([][]int32{{1}, {}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	var batch []prompt.Sample
	for i, n := range []int{5, 1, 3, 1, 4} {
		batch = append(batch, prompt.Sample{Answer: make([]int32, n), States: prompt.States{Counts: []int{1 + i/4}}})
	}
	var lengths []int
	// Samples take 2 soft tokens, of the last one 4, and their answers without the last token: 6,
	// 2, 4, 2 and 7 positions.
	for _, micro := range passes([][]*prompt.Prompt{{p}}, batch, 13) {
		for _, s := range micro {
			lengths = append(lengths, len(s.Answer))
		}
		lengths = append(lengths, 0)
	}
	// Three passes would do, but four are shared more evenly.
	if want := []int{1, 1, 0, 3, 0, 5, 0, 4, 0}; !slices.Equal(lengths, want) {
		t.Errorf("lengths %v, want %v", lengths, want)
	}
	if len(batch[0].Answer) != 5 {
		t.Error("the batch itself was sorted")
	}
}

func TestWording(t *testing.T) {
	drawn := make([]int, 3)
	for pass := range 300 {
		drawn[wording(5, pass, 3)]++
		if got := wording(5, pass, 1); got != 0 {
			t.Fatalf("pass %d: wording %d of one", pass, got)
		}
	}
	if slices.Min(drawn) < 70 {
		t.Errorf("of 300 passes the wordings got %v", drawn)
	}
}

func TestFinished(t *testing.T) {
	r := &run{job: Job{Config: Config{Patience: 2}}, Cursor: Cursor{Plan: 100, Step: 30}}
	for i, c := range []struct {
		loss float64
		want bool
	}{{5, false}, {4, false}, {4.5, false}, {3, false}, {3, false}, {3.5, true}} {
		r.Validations = append(r.Validations, Validation{Step: 5 * i, Loss: c.loss})
		if got := r.finished(); got != c.want {
			t.Errorf("after validation %d: finished %v, want %v", i, got, c.want)
		}
	}
	r.job.Config.Patience = 0
	if r.finished() {
		t.Error("ended early without a limit of patience")
	}
	if r.Step = 100; !r.finished() {
		t.Error("not finished at the end of the plan")
	}
}

// A warm start of 2,000 updates in a run of 10 minutes: by the clock it ends after 2 of them.
func TestWarmPace_byHand(t *testing.T) {
	c := Config{Minutes: 10, WarmSteps: 2000}
	for _, m := range []struct {
		what        string
		perStep     time.Duration
		steps, plan int // taken, and planned after the first 100
	}{
		{"a fast machine takes all updates", 50 * time.Millisecond, 2000, 2000},
		{"a slow one those that fit", 400 * time.Millisecond, 300, 300},
		{"one that is slower than the run is long takes one", time.Hour, 1, 100},
	} {
		step := 0
		pace := c.pace(func() time.Duration { return time.Duration(step) * m.perStep })
		for before := -1.0; pace.done(step) < 1; step++ {
			if done := pace.done(step); !(done > before) {
				t.Fatalf("%s: after %d updates %g is over, before them %g", m.what, step, done, before)
			} else {
				before = done
			}
		}
		taken := step
		step = 100
		if plan := pace.plan(100); taken != m.steps || plan != m.plan {
			t.Errorf("%s: it takes %d and plans %d, want %d and %d", m.what, taken, plan, m.steps, m.plan)
		}
	}
	// Where the length is given in samples no clock is looked at.
	c = Config{Samples: 64, WarmSteps: 4}
	pace := c.pace(func() time.Duration { t.Error("the clock was asked"); return time.Hour })
	for step, want := range []float64{0, 0.25, 0.5, 0.75, 1} {
		if got := pace.done(step); got != want {
			t.Errorf("step %d: %g is over, want %g", step, got, want)
		}
	}
}

func TestPlanFor_byHand(t *testing.T) {
	// 20 batches in 60 s of which one compiled a graph; median 2 s. Ten minutes leave 540 s; a
	// validation of 10 s every 20 batches costs half a second each, and the last one 10 s more:
	// 530/2.5 = 212.
	at := Cursor{Step: 20, Seconds: 60, Pace: append(slices.Repeat([]float64{2}, 19), 22),
		Validations: []Validation{{Seconds: 10}}}
	if got := at.planFor(Config{Minutes: 10, ValidateEvery: 20}, median(at.Pace)); got != 232 {
		t.Errorf("plan %d, want 232", got)
	}
	// A budget that is spent already still gets one more batch.
	if got := at.planFor(Config{Minutes: 1}, median(at.Pace)); got != 21 {
		t.Errorf("plan %d, want 21", got)
	}
}

// Where the rate would rise for longer than there is time, the plan is made after four batches.
func TestTook_byHand(t *testing.T) {
	for each, want := range map[time.Duration][2]int{time.Second: {20, 600}, time.Minute: {4, 10}, 31 * time.Second: {4, 19}} {
		r := &run{job: Job{Config: Config{Minutes: 10, WarmupSteps: 20}}}
		for !r.took(each) {
		}
		if r.Step != want[0] || r.Plan != want[1] {
			t.Errorf("batches of %v: a plan of %d after %d, want %d after %d", each, r.Plan, r.Step, want[1], want[0])
		}
	}
	// Slow first batches are no reason to plan early.
	r := &run{job: Job{Config: Config{Minutes: 1, WarmupSteps: 20}}}
	for _, seconds := range []int{6, 6, 2, 2, 2} {
		if r.took(time.Duration(seconds) * time.Second) {
			t.Errorf("a plan of %d after %d", r.Plan, r.Step)
		}
	}
}

func TestConfig_refusals(t *testing.T) {
	good := DefaultConfig()
	good.Samples = 100
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"samples":            func(c *Config) { c.Samples = -1 },
		"either in samples":  func(c *Config) { c.Samples = 0 },
		"or in minutes":      func(c *Config) { c.Minutes = 1 },
		"minutes":            func(c *Config) { c.Minutes = math.NaN() },
		"batch_size":         func(c *Config) { c.BatchSize = 0 },
		"pass_positions":     func(c *Config) { c.PassPositions = 0 },
		"learning_rate":      func(c *Config) { c.LearningRate = math.NaN() },
		"warmup_steps":       func(c *Config) { c.Samples, c.Minutes, c.WarmupSteps = 0, 1, 1 },
		"weight_decay":       func(c *Config) { c.WeightDecay = -1 },
		"max_norm":           func(c *Config) { c.MaxNorm = -1 },
		"warm_batch":         func(c *Config) { c.WarmBatch = 0 },
		"warm_rate":          func(c *Config) { c.WarmRate = 0 },
		"validate_every":     func(c *Config) { c.ValidateEvery = -1 },
		"validation_samples": func(c *Config) { c.ValidationSamples = -1 },
		"checkpoint_every":   func(c *Config) { c.CheckpointEvery = -1 },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// The noise of each sample has a standard deviation of its own, up to the one that is asked for,
// and leaves the samples that are trained on again as they are.
func TestDisturbed(t *testing.T) {
	zeros := make([]float32, 1000)
	samples := slices.Repeat([]prompt.Sample{{States: prompt.States{Values: zeros}}}, 1000)
	var deviations []float64
	for _, s := range disturbed(samples, 0.5, rand.New(rand.NewPCG(1, 0))) {
		square := 0.0
		for _, x := range s.Values {
			square += float64(x) * float64(x)
		}
		deviations = append(deviations, math.Sqrt(square/float64(len(s.Values))))
	}
	if slices.ContainsFunc(zeros, func(x float32) bool { return x != 0 }) {
		t.Fatal("the sample itself is changed")
	}
	slices.Sort(deviations)
	for place, want := range map[int]float64{10: 0.005, 250: 0.125, 500: 0.25, 990: 0.495} {
		if got := deviations[place]; math.Abs(got-want) > 0.03 {
			t.Errorf("of 1,000 samples number %d has a standard deviation of %.3f, want about %.3f", place, got, want)
		}
	}
}

// Passes are shared evenly by ranks: their number is a multiple of a power of two that is at least
// a quarter of it, and none is much longer than another.
func TestPasses_even(t *testing.T) {
	p, err := prompt.FromSegments([][]int32{{1}, {}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(4, 4))
	for _, most := range []int{100, 300, 700, 1500, 6000} {
		var batch []prompt.Sample
		total := 0
		for range 256 {
			s := prompt.Sample{Answer: make([]int32, 3+random.IntN(20)), States: prompt.States{Counts: []int{1}}}
			batch, total = append(batch, s), total+positions([][]*prompt.Prompt{{p}}, s)
		}
		all := passes([][]*prompt.Prompt{{p}}, batch, most)
		loads, samples := make([]int, 2), 0
		for _, pass := range all {
			cost := len(pass) * positions([][]*prompt.Prompt{{p}}, pass[len(pass)-1])
			if cost > most {
				t.Errorf("at most %d: a pass of %d positions", most, cost)
			}
			samples += len(pass)
			loads[slices.Index(loads, slices.Min(loads))] += cost
		}
		if samples != len(batch) || len(all) > 2*(total/most+1)+1 {
			t.Errorf("at most %d: %d samples in %d passes of %d positions", most, samples, len(all), total)
		}
		if uneven := float64(slices.Max(loads)) / float64(slices.Min(loads)); len(all) > 1 && uneven > 1.1 {
			t.Errorf("at most %d: %d passes are shared as %v", most, len(all), loads)
		}
	}
	for n, want := range map[int]int{1: 1, 2: 2, 3: 4, 5: 6, 7: 8, 9: 12, 16: 16, 138: 192} {
		if got := shareable(n); got != want {
			t.Errorf("%d passes become %d, want %d", n, got, want)
		}
	}
}
