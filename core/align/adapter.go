package align

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Shape is the kind and the size of an adapter.
type Shape struct {
	Kind      adapter.Kind   `json:"kind"`
	In        int            `json:"in"`                  // D, width of a state
	Questions []prompt.Asked `json:"questions,omitempty"` // Q, those that have a first layer of their own; none: all share one
	Hidden    int            `json:"hidden,omitempty"`    // hidden units
	Mixed     int            `json:"mixed,omitempty"`     // states that are mixed: the recommender's positions
	Entries   int            `json:"entries,omitempty"`   // entries, one for each item
	LookUps   int            `json:"lookups,omitempty"`   // entries that are shown of an input
	Tokens    int            `json:"tokens"`              // soft tokens for each input: K, or K for each entry that is shown
	Embd      int            `json:"embd"`                // E, width of the LLM's embeddings
}

// Validate reports what is wrong with the shape, or nil.
func (s Shape) Validate() error {
	_, err := s.layout(1)
	return err
}

// Width is how many numbers one input has, for which the adapter writes K soft tokens: a state, or
// a mixture's states side by side.
func (s Shape) Width() int { return s.In * max(1, s.Mixed) }

// inputWidth is how many numbers the native adapter reads for an input: its width or, where
// questions have first layers of their own, Q blocks of a state and a 1. The weights of this 1 are
// the question's own bias, which is added to the one that all questions share.
func (s Shape) inputWidth() int {
	if n := len(s.Questions); n > 0 {
		return n * (s.In + 1)
	}
	return s.Width()
}

// appendInputs appends the inputs of the native adapter for states [n, Width] that a question is
// about: the states themselves or, where questions have first layers of their own, zeros but for
// the question's block.
func (s Shape) appendInputs(dst, states []float32, question int) []float32 {
	if len(s.Questions) == 0 {
		return append(dst, states...)
	}
	for state := range slices.Chunk(states, s.In) {
		first := len(dst) + question*(s.In+1)
		dst = append(dst, make([]float32, s.inputWidth())...)
		copy(dst[first:], state)
		dst[first+s.In] = 1
	}
	return dst
}

// TokensOfEntry is how many soft tokens an entry has; for adapters that look nothing up, how many
// an input has.
func (s Shape) TokensOfEntry() int { return s.Tokens / max(1, s.LookUps) }

// params are the shape for the native core, with the root mean square of the soft tokens of a new
// adapter.
func (s Shape) params(rms float64) cgo.AdapterParams {
	return cgo.AdapterParams{Kind: s.Kind.NativeName(), In: s.inputWidth(), Hidden: s.Hidden, Mixed: s.Mixed, Entries: s.Entries,
		LookUps: s.LookUps, Tokens: s.Tokens, Embd: s.Embd, RMS: rms}
}

// layout gives the tensors of the adapter in the order of the native core, or says what is wrong
// with the shape.
func (s Shape) layout(rms float64) ([]cgo.TensorInfo, error) {
	if !s.Kind.Known() {
		return nil, fmt.Errorf("align: no adapter kind is called %q; known are %q", s.Kind, adapter.Kinds)
	}
	if len(s.Questions) > 0 && !s.Kind.Entry().ReadsApart() {
		return nil, fmt.Errorf("align: a %s adapter has no first layers of questions, such as %q", s.Kind, s.Questions)
	}
	tensors, err := cgo.AdapterLayout(s.params(rms))
	if err != nil {
		return nil, fmt.Errorf("align: %w", err)
	}
	return tensors, nil
}

// Adapter holds an adapter's numbers. Its inputs are states as the recommender gives them.
type Adapter struct {
	Shape
	Values [][]float32 // one for each tensor: weight, bias; mix, weight, bias; in the order of the native core; row-major
}

// NewAdapter makes a random adapter, the same for the same seed, for inputs of mean 0 and variance
// 1. Its soft tokens have the root mean square rms; that of the LLM's embedding table makes them as
// large as words.
func NewAdapter(s Shape, rms float64, seed uint64) (*Adapter, error) {
	if !(rms > 0) || math.IsInf(rms, 0) {
		return nil, fmt.Errorf("align: soft tokens cannot have the root mean square %g", rms)
	}
	layout, err := s.layout(rms)
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(seed, streamInit))
	a := &Adapter{Shape: s}
	for _, t := range layout {
		a.Values = append(a.Values, firstValues(t, random))
	}
	if n := len(s.Questions); n > 0 { // its inputs are zeros but for one block
		for i := range a.Values[0] {
			a.Values[0][i] *= float32(math.Sqrt(float64(n)))
		}
	}
	return a, nil
}

// For gives the adapter of a question, if questions have first layers of their own, or else the
// adapter itself.
func (a *Adapter) For(asked prompt.Asked) (*Adapter, error) {
	if len(a.Questions) == 0 {
		return a, nil
	}
	question := slices.Index(a.Questions, asked)
	if question < 0 {
		return nil, fmt.Errorf("align: this adapter was not trained on the question for the %s; it has the questions for the %q", asked, a.Questions)
	}
	own := &Adapter{Shape: a.Shape, Values: slices.Clone(a.Values)}
	own.Questions = nil
	bias := slices.Clone(a.Values[1])
	weight := make([]float32, 0, len(bias)*a.In)
	for row := range bias {
		first := row*a.inputWidth() + question*(a.In+1)
		weight = append(weight, a.Values[0][first:first+a.In]...)
		bias[row] += a.Values[0][first+a.In]
	}
	own.Values[0], own.Values[1] = weight, bias
	return own, nil
}

// firstValues draws a tensor's first values as the native core says.
func firstValues(t cgo.TensorInfo, random *rand.Rand) []float32 {
	values := make([]float32, t.Elements())
	switch t.Initial {
	case cgo.Normal:
		for i := range values {
			values[i] = float32(random.NormFloat64() * t.Scale)
		}
	case cgo.Constant:
		for i := range values {
			values[i] = float32(t.Scale)
		}
	case cgo.Identity:
		for i := 0; i < len(values); i += t.Shape[1] + 1 {
			values[i] = 1
		}
	}
	return values
}

// Model puts the adapter on an engine. The caller closes it.
func (a *Adapter) Model(engine *cgo.Engine) (*cgo.Adapter, error) {
	model, err := cgo.NewAdapter(engine, a.params(1))
	if err != nil {
		return nil, err
	}
	if err := writeSlot(model, cgo.Value, a.Values); err != nil {
		model.Close()
		return nil, err
	}
	return model, nil
}

// writeSlot writes one slot of all the model's tensors.
func writeSlot(model *cgo.Adapter, slot cgo.Slot, values [][]float32) error {
	for i, v := range values {
		if err := model.Write(i, slot, v); err != nil {
			return err
		}
	}
	return nil
}

// readSlot reads one slot of all the model's tensors.
func readSlot(model *cgo.Adapter, slot cgo.Slot) ([][]float32, error) {
	infos, err := model.Tensors()
	if err != nil {
		return nil, err
	}
	values := make([][]float32, len(infos))
	for i, t := range infos {
		values[i] = make([]float32, t.Elements())
		if err := model.Read(values[i], i, slot); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// Fits reports by name whether the adapter reads states of width in and writes embeddings of width
// embd.
func (a *Adapter) Fits(in, embd int) error {
	if a.In != in {
		return fmt.Errorf("align: this adapter reads states that are %d wide, the recommender's are %d wide; "+
			"give the recommender that it was made from, or train an adapter for this one", a.In, in)
	}
	if a.Embd != embd {
		return fmt.Errorf("align: this adapter writes embeddings that are %d wide, the LLM's are %d wide; "+
			"give the LLM it was trained through, or train an adapter for this one", a.Embd, embd)
	}
	return nil
}

// Gradient reads the gradient that has been accumulated in a native adapter of a's shape, one slice
// for each tensor in the order of Values.
func (a *Adapter) Gradient(model *cgo.Adapter) ([][]float32, error) {
	return readSlot(model, cgo.Gradient)
}
