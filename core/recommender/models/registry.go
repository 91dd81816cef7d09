package models

import (
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Entry describes one recommender.
type Entry struct {
	Name     string    // as files and messages spell it; native code and flags have it in lower case
	Training Training  // default
	Settings []Setting // of its own, in the order of the configuration's JSON
	Layouts  []Layout  // the first is the default

	// Check refuses values that are within their bounds but do not fit each other. It may be nil.
	Check func(sizes Sizes, values Values) error
	// Native gives the native model's settings; nil: they are the numbers among Settings.
	Native func(values Values) map[string][]float64
	// Diffusion gives the noise and the sampling of a recommender that draws oracles and scores
	// these; nil: it scores its states.
	Diffusion func(values Values) *Diffusion
	// Masked gives the probability that an item within a history is hidden in training and
	// predicted from those on both sides; nil: items are predicted from those before them.
	Masked func(values Values) float64
	// Timed says whether it reads the times of items; nil: it does not.
	Timed func(values Values) bool
	// Unused are prefixes of tensors that files have but the formulas never use.
	Unused []string
}

// All gives the recommenders in the order of help texts.
func All() []Entry { return []Entry{gru4rec(), caser(), sasrec(), bert4rec(), hstu(), dreamrec()} }

// Default is the recommender that is trained where none is named.
const Default = SASRec

// Sizes say which recommender this is and how large.
type Sizes struct {
	Model     string `json:"model"`            // one of Names
	Layout    string `json:"layout,omitempty"` // whose weights these are; "": the model's first layout
	Items     int    `json:"items"`            // V, size of the catalogue
	Width     int    `json:"width"`            // D, width of an item's embedding
	Positions int    `json:"positions"`        // T, longest history
}

// Training says how a recommender is trained.
type Training struct {
	Dropout      float64 `json:"dropout"`               // probability of dropping a number while training
	LearningRate float64 `json:"learning_rate"`         // of AdamW, constant
	WeightDecay  float64 `json:"weight_decay"`          // decoupled; biases and norms are spared
	MaxNorm      float64 `json:"max_norm"`              // gradients are scaled down to this norm; 0: never
	BatchSize    int     `json:"batch_size"`            // sequences of one step
	MicroBatch   int     `json:"micro_batch,omitempty"` // of these, so many are computed together, on one rank; 0: all
	AllPositions bool    `json:"all_positions"`         // learn from the successor of every item, not only of the last one
	Negatives    int     `json:"negatives,omitempty"`   // drawn for each target of a binary cross-entropy; 0: a softmax
	Calibration  float64 `json:"calibration,omitempty"` // t of gBCE, 0 to 1; 0: plain binary cross-entropy
	Sampled      int     `json:"sampled,omitempty"`     // drawn for each batch of a sampled softmax; 0: the full softmax
	MaxEpochs    int     `json:"max_epochs"`            // training ends here at the latest,
	Patience     int     `json:"patience"`              // or after so many epochs without a better validation HR@10
	Seed         uint64  `json:"seed"`
}

// training gives the defaults that most models share.
func training() Training {
	return Training{Dropout: 0.2, LearningRate: 1e-3, BatchSize: 256, MaxEpochs: 30, Patience: 5, Seed: 1}
}

// Names lists the recommenders' names.
func Names() (names []string) {
	for _, e := range All() {
		names = append(names, e.Name)
	}
	return names
}

// Find looks a recommender up by its name, in capitals or not.
func Find(name string) (Entry, bool) {
	all := All()
	if i := slices.IndexFunc(all, func(e Entry) bool { return strings.EqualFold(e.Name, name) }); i >= 0 {
		return all[i], true
	}
	return Entry{}, false
}

// Layout finds one of the recommender's layouts; "" is the first.
func (e Entry) Layout(name string) (Layout, bool) {
	if i := slices.IndexFunc(e.Layouts, func(l Layout) bool { return l.Name == name || name == "" }); i >= 0 {
		return e.Layouts[i], true
	}
	return Layout{}, false
}

// LayoutNames lists the recommender's layouts.
func (e Entry) LayoutNames() (names []string) {
	for _, l := range e.Layouts {
		names = append(names, l.Name)
	}
	return names
}

// Layouts lists the layouts of all recommenders in alphabetical order.
func Layouts() (names []string) {
	for _, e := range All() {
		names = append(names, e.LayoutNames()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Recognise finds the recommender and layout of weights by the names of the tensors that follow a
// prefix. Of several that fit, the one known by most tensors counts.
func Recognise(file *artifact.File, prefix string) (entry Entry, layout Layout, found bool) {
	for _, e := range All() {
		for _, l := range e.Layouts {
			if len(l.Known) > len(layout.Known) && l.Fits(file, prefix) {
				entry, layout, found = e, l, true
			}
		}
	}
	return entry, layout, found
}
