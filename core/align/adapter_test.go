package align

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

var shapes = []Shape{
	{Kind: "linear", In: 6, Tokens: 2, Embd: 8},
	{Kind: "mlp", In: 6, Hidden: 10, Tokens: 2, Embd: 8},
	{Kind: "positions", In: 6, Hidden: 10, Tokens: 2, Embd: 8},
	{Kind: "mixture", In: 6, Mixed: 4, Tokens: 2, Embd: 8},
	{Kind: "memory", In: 6, Hidden: 10, Entries: 7, Tokens: 2, Embd: 8},
	{Kind: "retrieval", In: 6, Hidden: 10, Entries: 7, LookUps: 2, Tokens: 4, Embd: 8},
	{Kind: "bias", In: 6, Tokens: 2, Embd: 8},
	{Kind: "linear", In: 6, Questions: []prompt.Asked{"a", "b"}, Tokens: 2, Embd: 8},
	{Kind: "mlp", In: 6, Questions: []prompt.Asked{"a", "b", "c"}, Hidden: 10, Tokens: 2, Embd: 8},
}

// layer is weight·x + bias.
func layer(weight, bias []float32, x []float64) []float64 {
	y := make([]float64, len(weight)/len(x))
	for row := range y {
		if bias != nil {
			y[row] = float64(bias[row])
		}
		for col, v := range x {
			y[row] += float64(weight[row*len(x)+col]) * v
		}
	}
	return y
}

// forward is the adapter's formula, written out in float64.
func forward(a *Adapter, state []float32) []float64 {
	x := make([]float64, len(state))
	for i, v := range state {
		x[i] = float64(v)
	}
	if a.Kind == "mixture" {
		mixed := make([]float64, a.In)
		for i, v := range x {
			mixed[i%a.In] += float64(a.Values[0][i/a.In]) * v
		}
		x, a = mixed, &Adapter{Shape: a.Shape, Values: a.Values[1:]}
	}
	if len(a.Values) == 1 {
		return layer(make([]float32, len(a.Values[0])*a.In), a.Values[0], x)
	}
	x = layer(a.Values[0], a.Values[1], x)
	if len(a.Values) == 2 {
		return x
	}
	for i, z := range x {
		x[i] = z / 2 * (1 + math.Erf(z/math.Sqrt2))
	}
	x = layer(a.Values[2], a.Values[3], x)
	if a.Kind == "retrieval" {
		return retrieve(a, x)
	}
	if a.Kind != "memory" {
		return x
	}
	sum := 0.0
	for i, z := range x {
		x[i] = math.Exp(z)
		sum += x[i]
	}
	entry, y := layer(a.Values[4], nil, x), []float64(nil)
	for token := range slices.Chunk(entry, a.Embd) {
		y = append(y, layer(a.Values[5], nil, token)...)
	}
	for i := range y {
		y[i] = y[i]/sum + float64(a.Values[6][i])
	}
	return y
}

// retrieve shows the entries with the best scores.
func retrieve(a *Adapter, scores []float64) []float64 {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(scores[j], scores[i]) })
	width := a.TokensOfEntry() * a.Embd
	var y []float64
	for _, item := range order[:a.LookUps] {
		entry := make([]float64, width)
		for i, x := range a.Values[4][item*width : (item+1)*width] {
			entry[i] = float64(x) + float64(a.Values[5][i])*math.Exp(scores[item]-scores[order[0]])
		}
		for token := range slices.Chunk(entry, a.Embd) {
			y = append(y, layer(a.Values[6], nil, token)...)
		}
	}
	for i := range y {
		y[i] += float64(a.Values[7][i])
	}
	return y
}

func TestNewAdapter_outputScale(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, s := range []Shape{{Kind: "linear", In: 64, Tokens: 4, Embd: 96}, {Kind: "mlp", In: 64, Hidden: 256, Tokens: 4, Embd: 96},
		{Kind: "mixture", In: 64, Mixed: 10, Tokens: 4, Embd: 96}, {Kind: "mlp", In: 64, Questions: make([]prompt.Asked, 5), Hidden: 256, Tokens: 4, Embd: 96}} {
		a, err := NewAdapter(s, 0.13, 5)
		if err != nil {
			t.Fatal(err)
		}
		sum, n := 0.0, 0
		for range 50 {
			state := make([]float32, s.Width())
			for i := range state {
				state[i] = float32(random.NormFloat64())
			}
			for _, y := range forward(a, s.appendInputs(nil, state, 0)) {
				sum += y * y
				n++
			}
		}
		if rms := math.Sqrt(sum / float64(n)); math.Abs(rms/0.13-1) > 0.05 {
			t.Errorf("%s: soft tokens have the root mean square %.4f, want 0.13 within 5 %%", s.Kind, rms)
		}
		again, _ := NewAdapter(s, 0.13, 5)
		other, _ := NewAdapter(s, 0.13, 6)
		if !reflect.DeepEqual(a, again) || reflect.DeepEqual(a, other) {
			t.Errorf("%s: not a function of the seed", s.Kind)
		}
	}
}

func TestFold(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	states := make([]float32, 40*6)
	for i := range states {
		states[i] = float32(float64(i%6)*3 + random.NormFloat64()*float64(1+i%6))
		if i%6 == 4 {
			states[i] = 2.5 // a coordinate that never changes
		}
	}
	standard, err := FitStandard([][]float32{states[:60], states[60:]}, 6)
	if err != nil {
		t.Fatal(err)
	}
	standardised := make([]float32, len(states))
	standard.Apply(standardised, states)
	for col := range 6 {
		mean, square := 0.0, 0.0
		for row := range 40 {
			x := float64(standardised[row*6+col])
			mean += x / 40
			square += x * x / 40
		}
		want := 1.0
		if col == 4 {
			want = 0
		}
		if math.Abs(mean) > 1e-6 || math.Abs(square-want) > 1e-5 {
			t.Errorf("coordinate %d: mean %g, mean square %g, want 0 and %g", col, mean, square, want)
		}
	}
	for _, s := range shapes {
		a, err := NewAdapter(s, 0.5, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, values := range a.Values {
			if len(values) > 0 && values[0] == 0 { // biases begin as zeros
				for i := range values {
					values[i] = float32(i%7) / 7
				}
			}
		}
		folded := standard.Fold(a)
		for question := range max(1, len(s.Questions)) {
			var asked prompt.Asked
			if len(s.Questions) > 0 {
				asked = s.Questions[question]
			}
			own, err := folded.For(asked)
			if err != nil {
				t.Fatal(err)
			}
			for first := 0; first+s.Width() <= len(states); first += 6 {
				want := forward(a, s.appendInputs(nil, standardised[first:first+s.Width()], question))
				got := forward(own, states[first:first+s.Width()])
				for i := range want {
					if math.Abs(got[i]-want[i]) > 1e-5 {
						t.Fatalf("%s, question %d: folded %g, unfolded %g", s.Kind, question, got[i], want[i])
					}
				}
			}
		}
	}
}

func TestFitStandard_refusals(t *testing.T) {
	for name, states := range map[string][]float32{
		"none": {}, "half a state": {1, 2, 3}, "NaN": {1, float32(math.NaN())}, "infinite": {1, float32(math.Inf(1))},
	} {
		if _, err := FitStandard([][]float32{states}, 2); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSaveLoad(t *testing.T) {
	provenance := Provenance{Recommender: "3f2a", LLM: "77aa", Dataset: "d00d", Template: prompt.Template{Name: "mine", Asks: "last item", Texts: []string{"{state}"}},
		Config: DefaultConfig(), Samples: 640, Minutes: 1.5}
	for _, s := range shapes {
		a, err := NewAdapter(s, 0.5, 3)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "a.safetensors")
		if err := a.Save(path, provenance); err != nil {
			t.Fatal(err)
		}
		got, p, err := LoadAdapter(path)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, a) || !reflect.DeepEqual(p, provenance) {
			t.Errorf("%s: read back %+v, %+v", s.Kind, got.Shape, p)
		}
	}
}

func TestExport(t *testing.T) {
	for i, names := range [][]string{
		{"weight", "bias"}, {"0.weight", "0.bias", "2.weight", "2.bias"}, {"0.weight", "0.bias", "2.weight", "2.bias"},
		{"mix", "weight", "bias"}, {"0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "turn", "bias"},
	} {
		a, err := NewAdapter(shapes[i], 0.5, 3)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "a.safetensors")
		if err := a.Export(path, Provenance{LLM: "77aa"}); err != nil {
			t.Fatal(err)
		}
		file, err := artifact.ReadSafetensors(path)
		if err != nil {
			t.Fatal(err)
		}
		for n, name := range names {
			if values, err := file.Float32(name); err != nil || !reflect.DeepEqual(values, a.Values[n]) || len(file.Tensors) != len(names) {
				t.Errorf("%s: tensor %s: %v", a.Kind, name, err)
			}
		}
		if !strings.Contains(file.Metadata[keyProvenance], "77aa") {
			t.Errorf("%s: provenance %q", a.Kind, file.Metadata[keyProvenance])
		}
		if _, _, err := LoadAdapter(path); err == nil {
			t.Errorf("%s: what was exported was taken for a run's adapter", a.Kind)
		}
	}
}

func TestLoadAdapter_refusals(t *testing.T) {
	a, err := NewAdapter(shapes[0], 0.5, 3)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.safetensors")
	for name, c := range map[string]struct {
		spoil func(*artifact.File)
		want  string
	}{
		"other file":   {func(f *artifact.File) { f.Metadata = nil }, "recint align"},
		"no shape":     {func(f *artifact.File) { delete(f.Metadata, keyShape) }, "shape"},
		"unknown kind": {func(f *artifact.File) { f.Metadata[keyShape] = `{"kind":"x","in":6,"tokens":2,"embd":8}` }, `"x"`},
		"wrong width":  {func(f *artifact.File) { f.Metadata[keyShape] = `{"kind":"linear","in":7,"tokens":2,"embd":8}` }, "shape"},
		"huge": {func(f *artifact.File) {
			f.Metadata[keyShape] = `{"kind":"linear","in":4611686018427387904,"tokens":2,"embd":8}`
		}, "at most 2147483647"},
		"many tokens": {func(f *artifact.File) {
			f.Metadata[keyShape] = `{"kind":"linear","in":6,"tokens":4611686018427387904,"embd":8}`
		}, "a parameter is 4611686018427387904"},
		"no provenance":  {func(f *artifact.File) { f.Metadata[keyProvenance] = "{" }, "provenance"},
		"missing tensor": {func(f *artifact.File) { f.Tensors = f.Tensors[:1] }, "no tensor"},
	} {
		if err := a.Save(path, Provenance{}); err != nil {
			t.Fatal(err)
		}
		file, err := artifact.ReadSafetensors(path)
		if err != nil {
			t.Fatal(err)
		}
		c.spoil(file)
		if err := artifact.WriteSafetensors(path, file); err != nil {
			t.Fatal(err)
		}
		if _, _, err := LoadAdapter(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestProvenance_check(t *testing.T) {
	p := Provenance{Recommender: "3f2a", LLM: "77aa", Dataset: "d00d"}
	if err := p.Check("3f2a", "77aa", ""); err != nil {
		t.Errorf("its own: %v", err)
	}
	err := p.Check("91bc", "77aa", "d00d")
	var mismatch *artifact.Mismatch
	if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), "3f2a") || !strings.Contains(err.Error(), "91bc") {
		t.Errorf("another recommender: %v", err)
	}
}

func TestFits(t *testing.T) {
	a := &Adapter{Shape: shapes[0]}
	if err := a.Fits(6, 8); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		in, embd int
		want     [2]string
	}{{64, 8, [2]string{"6 wide", "64 wide"}}, {6, 576, [2]string{"8 wide", "576 wide"}}} {
		err := a.Fits(c.in, c.embd)
		if err == nil || !strings.Contains(err.Error(), c.want[0]) || !strings.Contains(err.Error(), c.want[1]) {
			t.Errorf("%d, %d: error %v should say both widths %v", c.in, c.embd, err, c.want)
		}
	}
}

func TestShape_refusals(t *testing.T) {
	for _, s := range []Shape{
		{}, {Kind: "x", In: 1, Tokens: 1, Embd: 1}, {Kind: "linear", In: 0, Tokens: 1, Embd: 1},
		{Kind: "linear", In: 1, Hidden: 3, Tokens: 1, Embd: 1}, {Kind: "mlp", In: 1, Tokens: 1, Embd: 1},
		{Kind: "positions", In: 1, Tokens: 1, Embd: 1}, {Kind: "mixture", In: 1, Tokens: 1, Embd: 1},
		{Kind: "memory", In: 1, Hidden: 1, Tokens: 1, Embd: 1}, {Kind: "memory", In: 1, Entries: 1, Tokens: 1, Embd: 1},
		{Kind: "mlp", In: 1, Hidden: 1, Entries: 1, Tokens: 1, Embd: 1},
		{Kind: "retrieval", In: 1, Hidden: 1, Entries: 3, Tokens: 1, Embd: 1}, {Kind: "retrieval", In: 1, Hidden: 1, LookUps: 1, Tokens: 1, Embd: 1},
		{Kind: "retrieval", In: 1, Hidden: 1, Entries: 2000, LookUps: 1025, Tokens: 1025, Embd: 1},
		{Kind: "retrieval", In: 1, Hidden: 1, Entries: 3, LookUps: 4, Tokens: 4, Embd: 1},
		{Kind: "retrieval", In: 1, Hidden: 1, Entries: 3, LookUps: 2, Tokens: 3, Embd: 1},
		{Kind: "memory", In: 1, Hidden: 1, Entries: 1, LookUps: 1, Tokens: 1, Embd: 1},
		{Kind: "mixture", In: 1, Hidden: 1, Mixed: 1, Tokens: 1, Embd: 1}, {Kind: "linear", In: 1, Mixed: 1, Tokens: 1, Embd: 1},
	} {
		if _, err := NewAdapter(s, 1, 1); err == nil {
			t.Errorf("%+v: accepted", s)
		}
	}
	for _, rms := range []float64{0, math.NaN(), math.Inf(1)} {
		if _, err := NewAdapter(shapes[0], rms, 1); err == nil {
			t.Errorf("root mean square %g: accepted", rms)
		}
	}
}
