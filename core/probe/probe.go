package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// What a probe is shown.
const (
	After          = "after"            // W numbers: the state after the item
	BeforeAndAfter = "before and after" // 2W numbers: the state before it, and the state after it
)

// Of a larger data set so many sequences are drawn, so that the time does not grow with it.
const maxTrain, maxHeld = 100_000, 20_000

// Report is what Measure gives.
type Report struct {
	Train   int            `json:"train"` // sequences learnt from
	Items   int            `json:"items"` // of the catalogue
	Known   evaluate.Share `json:"known"` // the items to name that occur among those learnt from; no probe can name others
	Figures []Figure       `json:"figures"`
}

// Figure is what one probe makes of one kind of input.
type Figure struct {
	Inputs string `json:"inputs"` // After or BeforeAndAfter
	Probe  string `json:"probe"`  // linear or mlp
	Result
}

// Progress is told between batches.
type Progress struct {
	Done, Total   int // batches, of all probes
	Inputs, Probe string
}

// Options of a measurement.
type Options struct {
	Seed        uint64
	MicroBatch  int            // examples of a batch that one rank computes together; 0: all
	Checkpoints string         // folder of checkpoints; "": none are kept
	Progress    func(Progress) // may be nil; called between batches
}

// Measure trains a linear probe and an MLP on the states after the items, and on those before and
// after them: four figures in this order. Of a data set with more than 100,000 sequences to train
// or 20,000 to validate or test, that number is drawn by the seed. The catalogue has items items.
// The states of a recommender that generates are its guidance. The context is looked at between
// batches. A checkpoint is written every minute and when the context ends, so that the same call
// continues from it; it is removed at the end. The ranks of the context share the work, and rank 0
// writes.
func Measure(ctx context.Context, engine *cgo.Engine, source adapter.Source, items int, split dataset.Split, o Options) (_ *Report, err error) {
	var keep *keeper
	defer func() {
		switch {
		case err == nil || ctx.Err() == nil && !errors.Is(err, ranks.ErrLeft):
		case keep != nil:
			err = artifact.Resumable(fmt.Errorf("probe: stopped and saved to %s: %w", keep.path, err))
		default:
			err = fmt.Errorf("probe: stopped before the end, so nothing is kept: %w", err)
		}
	}()
	random := rand.New(rand.NewPCG(o.Seed, streamDraw))
	var both Data
	for _, part := range []struct {
		to   *Examples
		from []dataset.Sequence
		most int
	}{{&both.Train, split.Train, maxTrain}, {&both.Validation, split.Validation, maxHeld}, {&both.Test, split.Test, maxHeld}} {
		sequences := draw(part.from, part.most, random)
		pasts := make([][]int32, len(sequences))
		for i, s := range sequences {
			pasts[i] = source.Past(s, true)
		}
		shown, err := adapter.OneState.States(ctx, source, []string{prompt.SlotBefore, prompt.SlotAfter}, pasts)
		if err != nil {
			return nil, err
		}
		for i, s := range sequences {
			part.to.Inputs = append(part.to.Inputs, shown[i].Values...)
			part.to.Targets = append(part.to.Targets, s.Next)
		}
	}
	report := &Report{Train: len(both.Train.Targets), Items: items, Known: known(both)}
	group := ranks.Of(ctx)
	if o.Checkpoints != "" {
		if keep, err = openKeeper(o.Checkpoints, both, o); err != nil {
			return nil, err
		}
		keep.group, report.Figures = group, keep.figures
	}
	if err := group.Agree(ctx, "the measurement", fmt.Sprintf("of %.12s, with %d figures", both.fingerprint(o), len(report.Figures))); err != nil {
		return nil, err // nobody writes before all have read
	}
	width := source.StateWidth()
	probes := []struct {
		name   string
		config Config
	}{{"linear", Linear(o.Seed)}, {"mlp", MLP(o.Seed)}}
	done, total, finished := 0, 0, len(report.Figures)
	for i := range probes {
		p := &probes[i]
		p.config.MicroBatch = o.MicroBatch
		if err := ranks.Enough(group, p.config.BatchSize, o.MicroBatch); err != nil {
			return nil, fmt.Errorf("probe: %w", err)
		}
		total += 2 * p.config.batches(report.Train)
	}
	for _, inputs := range []struct {
		name string
		data Data
	}{{After, Data{after(both.Train, width), after(both.Validation, width), after(both.Test, width)}}, {BeforeAndAfter, both}} {
		for _, p := range probes {
			if finished > 0 {
				finished--
				done += p.config.batches(report.Train)
				continue
			}
			result, err := train(ctx, engine, inputs.data, report.Items, p.config, keep, func() {
				if done++; o.Progress != nil {
					o.Progress(Progress{done, total, inputs.name, p.name})
				}
			})
			if err != nil {
				return nil, fmt.Errorf("%w (%s probe, states %s the item)", err, p.name, inputs.name)
			}
			report.Figures = append(report.Figures, Figure{inputs.name, p.name, result})
			if keep != nil {
				keep.figures = report.Figures
			}
		}
	}
	return report, keep.remove()
}

// draw gives at most that many of the sequences.
func draw(sequences []dataset.Sequence, most int, random *rand.Rand) []dataset.Sequence {
	if len(sequences) <= most {
		return sequences
	}
	drawn := make([]dataset.Sequence, most)
	for i, at := range random.Perm(len(sequences))[:most] {
		drawn[i] = sequences[at]
	}
	return drawn
}

// after leaves of inputs [n, 2, width] the second half.
func after(e Examples, width int) Examples {
	half := Examples{Targets: e.Targets}
	for pair := range slices.Chunk(e.Inputs, 2*width) {
		half.Inputs = append(half.Inputs, pair[width:]...)
	}
	return half
}

// known counts the test items that occur among the training items.
func known(d Data) evaluate.Share {
	seen := map[int32]bool{}
	for _, item := range d.Train.Targets {
		seen[item] = true
	}
	hits := 0
	for _, item := range d.Test.Targets {
		if seen[item] {
			hits++
		}
	}
	return evaluate.NewShare(hits, len(d.Test.Targets))
}
