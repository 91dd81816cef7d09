package verify

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// Options are inputs that a case may need in addition to its file.
type Options struct {
	Model  func() (string, error) // returns the path of the GGUF; called by cases that run through an LLM
	OutDir string                 // where X.computed.safetensors is written; "" writes nothing
}

// Figure is one comparison.
type Figure struct {
	Name       string  `json:"name"`       // the quantity, and its precision if there are several
	Measure    string  `json:"measure"`    // the kind of comparison
	Computed   float64 `json:"computed"`   // the number, or the element of an array that differs most
	Expected   float64 `json:"expected"`   // the reference's, at the same place
	Difference float64 `json:"difference"` // in the measure's terms
	Tolerance  float64 `json:"tolerance"`
	OK         bool    `json:"ok"` // Difference ≤ Tolerance
}

// The measures of a figure.
const (
	MaxAbs      = "largest absolute difference"
	MaxRelative = "largest difference / largest value"
	Relative    = "relative difference"
	Angle       = "1 − cosine"
)

// Verify recomputes the case in the file at path. Its tensors, not its name, determine its kind.
// For weights of a recommender, the inputs and outputs are in NAME.expected.safetensors in the same
// folder.
func Verify(ctx context.Context, engine *cgo.Engine, path string, opts Options) ([]Figure, error) {
	file, err := artifact.ReadSafetensors(path)
	if err != nil {
		return nil, err
	}
	if err := finite(path, file); err != nil {
		return nil, err
	}
	info, err := engine.Describe()
	if err != nil {
		return nil, err
	}
	var figures []Figure
	switch kindOf(file) {
	case kindRecommender:
		figures, err = verifyRecommender(ctx, engine, path, file, opts)
	case kindLLM:
		figures, err = verifyLLM(ctx, engine, path, file, opts)
	case kindExpected:
		return nil, fmt.Errorf("verify: %s holds inputs and outputs; give the file of weights that it belongs to", path)
	default:
		return nil, fmt.Errorf("verify: %s is no reference case: its tensors (%s) match no kind of case", path, names(file))
	}
	return boundsOn(info, figures), err
}

// coarse are the bounds of some figures on NVIDIA GPUs, whose float32 products keep 10 bits of each
// factor's fraction (docs/gpu.md): two to three times the differences measured on an H100. All
// other figures keep their usual bounds.
var coarse = map[string]float64{
	"guidance": 5e-3, "x0_conditional": 5e-3, "x0_unconditional": 5e-3, "loss_mse": 5e-4, "oracle": 5e-3,
	"loss F32": 1.5e-3, "answer_logprobs F32": 0.05, "grad.adapter.weight norm F32": 0.02, "grad.adapter.bias norm F32": 0.02,
}

// boundsOn judges figures by the precision of an engine's products.
func boundsOn(info cgo.EngineInfo, figures []Figure) []Figure {
	if !info.CoarseProducts() {
		return figures
	}
	for i, f := range figures {
		f.Tolerance = max(f.Tolerance, coarse[f.Name])
		figures[i] = f.judged()
	}
	return figures
}

const (
	kindRecommender = "recommender"
	kindLLM         = "LLM"
	kindExpected    = "expected"
)

// kindOf determines the kind of a case from its tensors; "" if it is none.
func kindOf(file *artifact.File) string {
	has := func(names ...string) bool {
		for _, name := range names {
			if _, err := file.Find(name); err != nil {
				return false
			}
		}
		return true
	}
	switch {
	case has("states", "adapter.weight", "answer_tokens"):
		return kindLLM
	case has("seq", "len"):
		return kindExpected
	case recommender.Knows(file):
		return kindRecommender
	}
	return ""
}

// finite refuses NaN and infinity, which cannot be compared.
func finite(path string, file *artifact.File) error {
	for _, t := range file.Tensors {
		for i, x := range t.F32 {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf("verify: %s: value %d of tensor %s is NaN or infinite", path, i, t.Name)
			}
		}
	}
	return nil
}

// names lists a few of a file's tensors.
func names(file *artifact.File) string {
	var list []string
	for i, t := range file.Tensors {
		if i == 5 {
			list = append(list, "…")
			break
		}
		list = append(list, t.Name)
	}
	return strings.Join(list, ", ")
}

// maxAbs compares two arrays element by element.
func maxAbs(name string, computed, expected []float32, tolerance float64) Figure {
	f := Figure{Name: name, Measure: MaxAbs, Tolerance: tolerance}
	for i := range expected {
		c, e := float64(computed[i]), float64(expected[i])
		if d := math.Abs(c - e); !(d < f.Difference) { // NaN, once met, stays
			f.Computed, f.Expected, f.Difference = c, e, d
		}
	}
	return f.judged()
}

// maxRelative is maxAbs in units of the largest expected element.
func maxRelative(name string, computed, expected []float32, tolerance float64) Figure {
	f, largest := maxAbs(name, computed, expected, tolerance), 0.0
	for _, e := range expected {
		largest = max(largest, math.Abs(float64(e)))
	}
	f.Measure, f.Difference = MaxRelative, f.Difference/largest
	return f.judged()
}

// relative compares two numbers.
func relative(name string, computed, expected, tolerance float64) Figure {
	return Figure{Name: name, Measure: Relative, Computed: computed, Expected: expected,
		Difference: math.Abs(computed-expected) / math.Abs(expected), Tolerance: tolerance}.judged()
}

// angle compares the directions of two arrays.
func angle(name string, computed, expected []float32, tolerance float64) Figure {
	dot := 0.0
	for i := range expected {
		dot += float64(computed[i]) * float64(expected[i])
	}
	cosine := dot / (norm(computed) * norm(expected))
	return Figure{Name: name, Measure: Angle, Computed: cosine, Expected: 1, Difference: 1 - cosine,
		Tolerance: tolerance}.judged()
}

func norm(values []float32) float64 {
	sum := 0.0
	for _, v := range values {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

// judged sets OK. A difference that is NaN, as of a zero array's direction, becomes the largest
// number.
func (f Figure) judged() Figure {
	if math.IsNaN(f.Difference) || math.IsInf(f.Difference, 0) {
		f.Difference = math.MaxFloat64
	}
	if math.IsNaN(f.Computed) || math.IsInf(f.Computed, 0) {
		f.Computed = 0
	}
	f.OK = f.Difference <= f.Tolerance
	return f
}

// write saves the computed arrays as OutDir/X<suffix>.safetensors, where X is the name of the
// case's file.
func write(opts Options, path, suffix string, tensors []artifact.Tensor) error {
	if opts.OutDir == "" {
		return nil
	}
	if err := os.MkdirAll(opts.OutDir, 0o755); err != nil {
		return fmt.Errorf("verify: the output folder cannot be made: %w", err)
	}
	out := filepath.Join(opts.OutDir, stem(filepath.Base(path))+suffix+".safetensors")
	return artifact.WriteSafetensors(out, &artifact.File{Tensors: tensors})
}

func stem(path string) string { return strings.TrimSuffix(path, ".safetensors") }
