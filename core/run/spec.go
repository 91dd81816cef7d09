package run

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// SpecFile is the file of a run's folder that says what the run is.
const SpecFile = "run.json"

// Spec is what a run is made from and how.
type Spec struct {
	Dataset     string            `json:"dataset"`               // folder of the data set
	Recommender string            `json:"recommender,omitempty"` // its weights, safetensors
	States      string            `json:"states,omitempty"`      // in its place, a file of states
	LLM         string            `json:"llm"`                   // GGUF whose architecture docs/llms.md lists
	Template    prompt.Template   `json:"template"`
	Also        []prompt.Template `json:"also,omitempty"`           // further questions that the adapter is trained on
	Made        Examples          `json:"examples,omitempty"`       // that training makes for questions without fitting ones
	HoldOut     float64           `json:"hold_out_items,omitempty"` // share of the items that training is kept from
	Adapter     adapter.Kind      `json:"adapter"`
	Hidden      int               `json:"hidden,omitempty"` // hidden units of the adapter
	Tokens      int               `json:"tokens"`           // K, soft tokens per state, or per title that the adapter shows
	Precision   Precision         `json:"precision"`        // of the LLM while training
	Drawn       float64           `json:"drawn,omitempty"`  // share of the training's sequences that end in an item drawn from the catalogue
	Config      align.Config      `json:"config"`

	// LongPasses leaves passes to training: a GPU takes a whole update in one pass, or as few as
	// its memory has room for, where Config.PassPositions is less, since the more goes through it
	// together the faster it is; a run that is continued keeps its passes.
	LongPasses bool `json:"-"`
}

// Precision names how the LLM's weights are kept for training.
type Precision string

// The precisions.
const (
	F32  Precision = "f32"  // exact
	BF16 Precision = "bf16" // faster and half the memory
)

// native is the core's value, or an error that names the known ones.
func (p Precision) native() (cgo.Precision, error) {
	switch p {
	case F32:
		return cgo.F32, nil
	case BF16:
		return cgo.BF16, nil
	}
	return 0, fmt.Errorf("run: no precision is called %q; known are %q and %q", p, F32, BF16)
}

// MaxDrawn bounds the share of drawn sequences, and MaxHeldOut that of the items that are held out.
const (
	MaxDrawn   = 0.9
	MaxHeldOut = 0.5
)

// DefaultSpec is the demonstration's run, without paths and length: the default prompt, a memory
// with 1,024 hidden units and 6 soft tokens for each state, half of the sequences drawn, BF16.
// docs/experiments.md says what was tried beside it.
func DefaultSpec() Spec {
	return Spec{Template: task.Default(), Adapter: adapter.DefaultForTitle, Hidden: 1024, Tokens: 6, Precision: BF16, Drawn: 0.5,
		Config: align.DefaultConfig()}
}

// DefaultAdapter gives the kind of adapter for questions where nobody chooses one: lookups for one
// question about titles, which they learn soonest from one vector, and an mlp for all else
// (docs/experiments.md).
func DefaultAdapter(asked []prompt.Template) (adapter.Kind, error) {
	one, err := task.Of(asked[0])
	switch {
	case err != nil:
		return "", err
	case len(asked) > 1 || one.Closed:
		return adapter.Default, nil
	case one.Title:
		return adapter.DefaultForTitle, nil
	}
	return adapter.DefaultForHistory, nil
}

// DefaultNoise is that of the default adapter's training where all questions are about attributes
// of the last item, so that it also reads those of items that it has not seen.
const DefaultNoise = 1.0

// NoiseFor gives the noise of training a kind of adapter where nobody chooses it.
func NoiseFor(asked []prompt.Template, kind adapter.Kind) (float64, error) {
	for _, t := range asked {
		of, err := task.Of(t)
		if err != nil {
			return 0, err
		}
		if !of.Last || of.Title {
			return 0, nil
		}
	}
	if kind != adapter.Default {
		return 0, nil
	}
	return DefaultNoise, nil
}

// With gives the spec with another prompt and kind of adapter, without what these do not have:
// drawn items where a history is asked for, hidden units, or a warm start; a coarse kind is trained
// in other steps.
func (s Spec) With(t prompt.Template, kind adapter.Kind) Spec {
	s.Template, s.Adapter = t, kind
	if asked, err := task.Of(t); err == nil && !asked.Last {
		s.Drawn = 0
	}
	if !kind.Entry().Hidden {
		s.Hidden = 0
	}
	if kind.Entry().Cold != "" {
		s.Config.WarmSteps = 0
	}
	if kind.Entry().Coarse {
		s.Config.BatchSize, s.Config.LearningRate, s.Config.WarmSteps = coarseBatch, coarseRate, coarseWarmSteps
	}
	return s
}

// What a coarse adapter is trained with: it has little to learn from one update, and can be moved
// far. docs/experiments.md says what was tried.
const (
	coarseBatch     = 16
	coarseRate      = 4e-3
	coarseWarmSteps = 500
)

// Templates are the run's prompts, one for each of its tasks.
func (s Spec) Templates() []prompt.Template { return append([]prompt.Template{s.Template}, s.Also...) }

// Apart gives the questions that have a first layer of their own: all, where there are several and
// the kind of adapter can read a state in several ways.
func (s Spec) Apart() (apart []prompt.Asked) {
	if len(s.Also) == 0 || !s.Adapter.Entry().ReadsApart() {
		return nil
	}
	for _, t := range s.Templates() {
		apart = append(apart, t.Asks)
	}
	return apart
}

// first gives the spec with the template of a question as its own, and refuses what the run does
// not ask.
func (s Spec) first(asking Asking) (Spec, error) {
	templates := s.Templates()
	at := 0
	if asking.Task != "" {
		at = slices.IndexFunc(templates, func(t prompt.Template) bool {
			of, err := task.Of(t)
			return err == nil && of.Name == asking.Task
		})
	}
	if at < 0 {
		return s, fmt.Errorf("run: this run does not ask for the %s; it asks for the %s", asking.Task, s.asks())
	}
	s.Template = templates[at]
	s.Also = slices.Delete(templates, at, at+1)
	if n := len(s.Template.Texts) + len(s.Template.Untrained); asking.Wording < 0 || asking.Wording >= n {
		return s, fmt.Errorf("run: wording %d of %q; it has %d", asking.Wording+1, s.Template.Name, n)
	}
	if len(s.Also) == 0 {
		s.Also = nil
	}
	return s, nil
}

// asks lists what the run's prompts ask for.
func (s Spec) asks() string {
	var all []string
	for _, t := range s.Templates() {
		all = append(all, string(t.Asks))
	}
	return strings.Join(all, ", ")
}

// Validate refuses what can be seen to be wrong without opening anything.
func (s Spec) Validate() error {
	asked, err := task.Of(s.Template)
	if err != nil {
		return err
	}
	kind := s.Adapter.Entry()
	for i, t := range s.Also {
		other, err := task.Of(t)
		if err != nil {
			return err
		}
		if asked.Vector || other.Vector || kind.Reads.EveryItem() {
			return fmt.Errorf("run: prompt %q cannot be trained together with %q: both must show single states, to an adapter that reads one",
				t.Name, s.Template.Name)
		}
		if slices.ContainsFunc(s.Templates()[:i+1], func(before prompt.Template) bool { return before.Asks == t.Asks }) {
			return fmt.Errorf("run: two prompts ask for the %s", t.Asks)
		}
	}
	switch {
	case s.Recommender != "" && s.States != "":
		return errors.New("run: states come from a recommender or from a file of states; give one of them")
	case s.States != "" && s.Drawn > 0:
		return errors.New("run: a file of states holds no states after drawn items; set the drawn share to 0")
	case !(s.HoldOut >= 0 && s.HoldOut <= MaxHeldOut):
		return fmt.Errorf("run: the share of held-out items is %v; it must be 0 to %v, so that items are left", s.HoldOut, MaxHeldOut)
	case s.HoldOut > 0 && kind.LookUps:
		return fmt.Errorf("run: items cannot be held out of a %s adapter, which shows all items of a history; choose %s", s.Adapter,
			adapter.Names(func(e adapter.Entry) bool { return !e.LookUps }))
	case kind.Cold != "" && s.Config.WarmSteps > 0:
		return fmt.Errorf("run: a %s has no warm start, since %s; set its warm steps to 0", s.Adapter, kind.Cold)
	case kind.Blind && len(s.Also) > 0:
		return fmt.Errorf("run: a %s adapter has the same soft tokens for every question; train one for each question", s.Adapter)
	case kind.LookUps && s.Config.WarmSteps == 0:
		return fmt.Errorf("run: a %s adapter learns in the warm start what to look up; set its warm steps above 0", s.Adapter)
	case kind.LookUps && asked.Last:
		return fmt.Errorf("run: a %s adapter shows the items of a history, and prompt %q asks for the %s; choose %s", s.Adapter,
			s.Template.Name, s.Template.Asks, adapter.Names(adapter.ReadsOne))
	case !(s.Drawn >= 0 && s.Drawn <= MaxDrawn):
		return fmt.Errorf("run: the drawn share is %v; it must be 0 to %v, so that sequences of users are left", s.Drawn, MaxDrawn)
	case s.Drawn > 0 && !asked.Last:
		return fmt.Errorf("run: the last item of a sequence is drawn where the prompt asks for it; %q asks for the %s", s.Template.Name, s.Template.Asks)
	}
	slots, err := s.Template.Slots()
	if err == nil && kind.LookUps && len(slots) != 1 {
		return fmt.Errorf("run: a %s adapter reads one vector; prompt %q has the slots %q; choose %s", s.Adapter, s.Template.Name, slots,
			adapter.Names(adapter.ReadsOne))
	}
	if err == nil && slices.Contains(slots, prompt.SlotItem) && kind.Reads.EveryItem() {
		return fmt.Errorf("run: {%s} of prompt %q holds one vector, of which a %s adapter has nothing to read; choose %s",
			prompt.SlotItem, s.Template.Name, s.Adapter, adapter.Names(adapter.ReadsOne))
	}
	_, err = s.Precision.native()
	return cmp.Or(s.Config.Validate(), s.shape(1, 1, 1, 1, 1).Validate(), err) // sizes that are not known yet do not matter
}

// shape is that of the run's adapter: for inputs and embeddings of these widths, with as many
// positions, entries and entries that are shown as its kind has.
func (s Spec) shape(in, embd, positions, entries, lookUps int) align.Shape {
	kind := s.Adapter.Entry()
	shape := align.Shape{Kind: s.Adapter, In: in, Questions: s.Apart(), Hidden: s.Hidden, Tokens: s.Tokens, Embd: embd}
	if kind.Reads == adapter.StatesSideBySide {
		shape.Mixed = positions
	}
	if kind.Entries {
		shape.Entries = entries
	}
	if kind.LookUps {
		shape.LookUps, shape.Tokens = lookUps, s.Tokens*lookUps
	}
	return shape
}

// paths are the fields that are paths, for conversion.
func (s *Spec) paths() []*string {
	return slices.DeleteFunc([]*string{&s.Dataset, &s.Recommender, &s.States, &s.LLM}, func(path *string) bool { return *path == "" })
}

// Read reads run.json of a run's folder. Paths in it are relative to the folder itself, not to a
// link to it, so that the folder can be moved together with the files it refers to. The paths of
// the result can be opened from the working directory.
func Read(dir string) (Spec, error) {
	var s Spec
	path := filepath.Join(dir, SpecFile)
	text, err := artifact.ReadText(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("run: %s is not a run: it has no %s; recint align makes one", dir, SpecFile)
	}
	if err != nil {
		return s, fmt.Errorf("run: %w", err)
	}
	if err := artifact.ParseJSON(text, &s, artifact.KnownKeys); err != nil {
		return s, fmt.Errorf("run: %s, %w; a run of another version is made anew in another folder", path, err)
	}
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return s, fmt.Errorf("run: %w", err)
	}
	for _, p := range s.paths() {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(root, *p)
		}
	}
	return s, nil
}

// claim makes the folder the run's, or checks that it already is.
func (s Spec) claim(dir string) error {
	relative := s
	root, err := filepath.EvalSymlinks(dir)
	if err == nil {
		root, err = filepath.Abs(root)
	}
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	for _, p := range relative.paths() {
		absolute, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		if *p, err = filepath.Rel(root, absolute); err != nil {
			*p = absolute
		}
	}
	text, err := json.MarshalIndent(relative, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	path := filepath.Join(dir, SpecFile)
	was, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(was, text):
		return nil
	case err == nil:
		return s.Matches(dir)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("run: %w", err)
	}
	return artifact.WriteAtomic(path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// Matches refuses a folder with another run, and names the values in which the two differ. Passes
// and examples that training makes are not compared with those of a spec that leaves them to it.
func (s Spec) Matches(dir string) error {
	was, err := Read(dir)
	if err != nil {
		return err
	}
	for _, p := range slices.Concat(was.paths(), s.paths()) {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if s.LongPasses {
		s.Config.PassPositions = was.Config.PassPositions
	}
	if s.Made == nil { // before training
		s.Made = was.Made
	}
	if differs := artifact.Difference(was, s); differs != "" {
		return fmt.Errorf("run: %s is another run: its %s; give the same to go on, or another folder", dir, differs)
	}
	return nil
}
