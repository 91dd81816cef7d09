// Package align trains an adapter: the small map from a recommender's states to soft tokens through which a frozen
// LLM can read them.
package align

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// Kind is the form of an adapter.
type Kind string

// The kinds of adapters.
const (
	Linear    Kind = "linear"    // soft tokens = W·state + b, as in the paper
	MLP       Kind = "mlp"       // soft tokens = W2·GELU(W1·state + b1) + b2
	Mixture   Kind = "mixture"   // linear, of a learned mixture of the states after each item: the authors' for recovery
	Positions Kind = "positions" // mlp, of the state after each item, which all get soft tokens of their own
	// Dictionary has an entry of soft tokens for each item; soft token = turn·Σ entries · softmax(keys·GELU(W1·state + b1) +
	// key_bias) + bias: a memory that is attended to (Sukhbaatar et al. 2015, arXiv 1503.08895). Where an mlp has to write a title from a
	// state, this only has to tell items apart; what all titles have in common is learned in turn and bias.
	Dictionary Kind = "dictionary"
	// Recall reads several items from one vector, the sum of the states after each item: it scores the entries as a dictionary does and
	// shows those that fit best, best first: soft tokens = turn·(entry + sure·exp(score − best score)) + bias. The scores are learned in the
	// warm start and stay as they are, so that an answer can name a history's items in the order in which they are shown.
	Recall Kind = "recall"
)

// Kinds are all of them.
var Kinds = []Kind{Linear, MLP, Mixture, Positions, Dictionary, Recall}

// EveryItem says whether the adapter reads the states after all items of a history, not one.
func (k Kind) EveryItem() bool { return k == Mixture || k == Positions || k == Recall }

// ShowsAllItems says whether the soft tokens of a slot stand for all items of a history, one after another.
func (k Kind) ShowsAllItems() bool { return k == Positions || k == Recall }

// HasHidden says whether the adapter has hidden units.
func (k Kind) HasHidden() bool { return k == MLP || k == Positions || k.HasEntries() }

// HasEntries says whether the adapter looks items up.
func (k Kind) HasEntries() bool { return k == Dictionary || k == Recall }

// Shape is the size of an adapter.
type Shape struct {
	Kind    Kind `json:"kind"`
	In      int  `json:"in"`                // D, width of a state
	Hidden  int  `json:"hidden,omitempty"`  // hidden units of mlp, positions, dictionary and recall; else 0
	Mixed   int  `json:"mixed,omitempty"`   // states that a mixture mixes: the recommender's positions; else 0
	Entries int  `json:"entries,omitempty"` // entries of dictionary and recall: one for each item; else 0
	LookUps int  `json:"lookups,omitempty"` // entries that recall shows of an input; else 0
	Tokens  int  `json:"tokens"`            // soft tokens for each input: K, or for recall K for each entry that is shown
	Embd    int  `json:"embd"`              // E, width of the LLM's embeddings
}

// mostTokens bounds the soft tokens of an input, as the native core does.
const mostTokens = 1024

// Validate reports what is wrong with the shape, or nil.
func (s Shape) Validate() error {
	hidden := s.Kind.HasHidden()
	switch {
	case !slices.Contains(Kinds, s.Kind):
		return fmt.Errorf("align: no adapter kind is called %q; known are %q", s.Kind, Kinds)
	case s.Tokens > mostTokens:
		return fmt.Errorf("align: an adapter of %d soft tokens for each input; the most are %d: set fewer for each title", s.Tokens, mostTokens)
	case s.In < 1 || s.Tokens < 1 || s.Embd < 1:
		return fmt.Errorf("align: an adapter of %d inputs, %d tokens of width %d; each is at least 1",
			s.In, s.Tokens, s.Embd)
	case hidden && s.Hidden < 1:
		return fmt.Errorf("align: an adapter of kind %s with %d hidden units; at least 1 is needed", s.Kind, s.Hidden)
	case !hidden && s.Hidden != 0:
		return fmt.Errorf("align: an adapter of kind %s has no hidden units; %d are asked for", s.Kind, s.Hidden)
	case s.Kind.HasEntries() != (s.Entries > 0) || s.Entries < 0:
		return fmt.Errorf("align: an adapter of kind %s with %d entries; %s and %s have at least 1, others none", s.Kind, s.Entries,
			Dictionary, Recall)
	case (s.Kind == Recall) != (s.LookUps > 0) || s.LookUps < 0 || s.Kind == Recall && (s.LookUps > s.Entries || s.Tokens%s.LookUps != 0):
		return fmt.Errorf("align: an adapter of kind %s that looks up %d of %d entries for %d soft tokens; %s looks up at least 1, for as "+
			"many soft tokens each, others none", s.Kind, s.LookUps, s.Entries, s.Tokens, Recall)
	case (s.Kind == Mixture) != (s.Mixed > 0) || s.Mixed < 0:
		return fmt.Errorf("align: an adapter of kind %s that mixes %d states; a mixture mixes at least 1, others none", s.Kind, s.Mixed)
	}
	return nil
}

// Width is how many numbers one input has, for which the adapter writes K soft tokens: a state, or a mixture's states side
// by side.
func (s Shape) Width() int { return s.In * max(1, s.Mixed) }

// TokensOfEntry is how many soft tokens an entry has; for adapters that look nothing up, how many an input has.
func (s Shape) TokensOfEntry() int { return s.Tokens / max(1, s.LookUps) }

// params are the shape for the native core.
func (s Shape) params() cgo.AdapterParams {
	kinds := map[Kind]string{Positions: "mlp", Dictionary: "memory", Recall: "retrieval"}
	return cgo.AdapterParams{Kind: cmp.Or(kinds[s.Kind], string(s.Kind)), In: s.Width(), Hidden: s.Hidden, Mixed: s.Mixed,
		Entries: s.Entries, LookUps: s.LookUps, Tokens: s.Tokens, Embd: s.Embd}
}

// layout gives the tensors of the adapter in the order of the native core, or says what is wrong with the shape.
func (s Shape) layout() ([]cgo.TensorInfo, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return cgo.AdapterLayout(s.params())
}

// Adapter holds an adapter's numbers. Its inputs are states as the recommender gives them.
type Adapter struct {
	Shape
	Values [][]float32 // one for each tensor: weight, bias; mix, weight, bias; in the order of the native core; row-major
}

// geluRMS is the root mean square of GELU(z) for a standard normal z, by numerical integration.
const geluRMS = 0.6521

// NewAdapter makes a random adapter, the same for the same seed, for inputs of mean 0 and variance 1. Its soft tokens
// have the root mean square rms; that of the LLM's embedding table makes them as large as words.
func NewAdapter(s Shape, rms float64, seed uint64) (*Adapter, error) {
	layout, err := s.layout()
	if err != nil {
		return nil, err
	}
	if !(rms > 0) || math.IsInf(rms, 0) {
		return nil, fmt.Errorf("align: soft tokens cannot have the root mean square %g", rms)
	}
	random := rand.New(rand.NewPCG(seed, streamInit))
	a := &Adapter{Shape: s}
	for _, t := range layout {
		values := make([]float32, t.Elements())
		if len(t.Shape) == 2 {
			scale := 1 / math.Sqrt(float64(t.Shape[1]))
			switch t.Name {
			case "weight":
				scale *= rms
			case "w2":
				scale *= rms / geluRMS
			case "entries": // of which one fits best, once their keys are learned
				scale = rms
			}
			for i := range values {
				values[i] = float32(random.NormFloat64() * scale)
			}
		}
		if t.Name == "turn" { // not at all, at first
			clear(values)
			for i := range s.Embd {
				values[i*s.Embd+i] = 1
			}
		}
		if t.Name == "mix" { // so that a mixture of independent states has the variance of one
			for i := range values {
				values[i] = float32(1 / math.Sqrt(float64(s.Mixed)))
			}
		}
		a.Values = append(a.Values, values)
	}
	return a, nil
}

// Model puts the adapter on an engine. The caller closes it.
func (a *Adapter) Model(engine *cgo.Engine) (*cgo.Adapter, error) {
	model, err := cgo.NewAdapter(engine, a.params())
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

// Fits reports by name whether the adapter reads states of width in and writes embeddings of width embd.
func (a *Adapter) Fits(in, embd int) error {
	if a.In != in {
		return fmt.Errorf("align: this adapter reads states that are %d wide, the recommender's are %d wide; "+
			"give the recommender it was trained on, or train an adapter for this one", a.In, in)
	}
	if a.Embd != embd {
		return fmt.Errorf("align: this adapter writes embeddings that are %d wide, the LLM's are %d wide; "+
			"give the LLM it was trained through, or train an adapter for this one", a.Embd, embd)
	}
	return nil
}

// Gradient reads the gradient that has been accumulated in a native adapter of a's shape, one slice for each tensor in
// the order of Values.
func (a *Adapter) Gradient(model *cgo.Adapter) ([][]float32, error) {
	return readSlot(model, cgo.Gradient)
}
