package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// The benches.
const (
	Encoder  = "encoder"  // recommenders: training, one state, many states, oracles
	Adapter  = "adapter"  // states to soft tokens
	Train    = "train"    // adapters through the frozen LLM
	Generate = "generate" // tokens alone
	Evaluate = "evaluate" // answers, and the probabilities of all titles
	Latency  = "latency"  // a served run, in process and over HTTP
	Bulk     = "bulk"     // a job of many rows
)

// OfRun are the benches that measure a trained run.
var OfRun = []string{Latency, Bulk}

// Names are all benches, in the order in which they run.
var Names = []string{Encoder, Adapter, Train, Generate, Evaluate, Latency, Bulk}

// What a sweep can vary.
const (
	ByBatch   = "batch"   // samples side by side
	ByLength  = "length"  // positions
	ByThreads = "threads" // CPU threads
)

// Sweeps are what each bench can vary.
var Sweeps = map[string][]string{
	Encoder:  {ByBatch, ByLength, ByThreads},
	Adapter:  {ByBatch, ByThreads},
	Train:    {ByBatch, ByThreads},
	Generate: {ByBatch, ByLength, ByThreads},
}

// Options are what is measured, on what and beside what.
type Options struct {
	Benches []string // of Names
	Sweep   string   // what is varied; "": nothing
	Models  []string // recommenders that Encoder measures, of models.Names; none: all
	Batch   int      // samples of an update of Train, sequences of Generate; 0: 64 and 32, on a GPU 256 of both
	Micro   int      // samples that Train takes through the LLM together; 0: 16, on a GPU what 16,384 positions hold
	Dataset string   // folder of a data set
	LLM     string   // GGUF whose architecture docs/llms.md lists
	Run     string   // folder of a residual run, for Latency
	Engine  cgo.EngineParams
	Rounds  int           // repetitions of every figure, at least 1
	Length  time.Duration // of a repetition of something short, at least; 0: a second
	Peers   Peers

	Progress func(what string, round, rounds int) // may be nil
}

// Validate reports what is wrong with the options, or nil.
func (o Options) Validate() error {
	switch {
	case o.Rounds < 1:
		return fmt.Errorf("bench: %d rounds; at least 1 is needed", o.Rounds)
	case o.Batch < 0 || o.Micro < 0:
		return fmt.Errorf("bench: a batch of %d samples in passes of %d; neither may be below 0", o.Batch, o.Micro)
	case len(o.Benches) == 0:
		return fmt.Errorf("bench: nothing is to be measured; known are %s", strings.Join(Names, ", "))
	}
	for _, name := range o.Benches {
		if !slices.Contains(Names, name) {
			return fmt.Errorf("bench: nothing is called %q; known are %s", name, strings.Join(Names, ", "))
		}
		if o.Sweep != "" && !slices.Contains(Sweeps[name], o.Sweep) {
			known := "nothing"
			if len(Sweeps[name]) > 0 {
				known = strings.Join(Sweeps[name], ", ")
			}
			return fmt.Errorf("bench: %s cannot be swept by %q; what it can vary: %s", name, o.Sweep, known)
		}
		if len(o.Models) > 0 && name != Encoder {
			return fmt.Errorf("bench: %s measures no recommenders; only %s takes their names", name, Encoder)
		}
		if slices.Contains(OfRun, name) && o.Run == "" {
			return fmt.Errorf("bench: %s is measured on a trained run; name the folder of one that answers the residual prompt", name)
		}
	}
	for _, name := range o.Models {
		if _, ok := models.Find(name); !ok {
			return fmt.Errorf("bench: no recommender is called %q; known are %s", name, strings.ToLower(strings.Join(models.Names(), ", ")))
		}
	}
	return o.Peers.validate()
}

// bed is what all benches stand on.
type bed struct {
	Options
	folder string // of files that peers read too; goes away at the end
	data   *dataset.Dataset
	split  dataset.Split
	gguf   *cgo.GGUF
	info   cgo.GGUFInfo
	needs  cgo.TrainingNeeds // of the LLM alone
	engine *cgo.Engine       // of the present number of threads
	cores  int               // its threads
	// kernels is its kernel set, whose instructions peers are kept to.
	peerEnvironment []string // keeps peers to the instructions of the kernel set
}

// Run measures everything that the options name, one after the other. An error comes with what was
// measured before it, if anything.
func Run(ctx context.Context, o Options) (result *Result, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	if o.Length == 0 {
		o.Length = time.Second
	}
	b := &bed{Options: o}
	if b.folder, err = os.MkdirTemp("", "recint-bench-"); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.folder)) }()
	if b.data, err = dataset.Load(o.Dataset); err != nil {
		return nil, err
	}
	if b.split, err = b.data.Split(dataset.DefaultProtocol()); err != nil {
		return nil, err
	}
	if err := writeSplit(b.path(splitFile), b.data, b.split); err != nil {
		return nil, err
	}
	if b.gguf, err = cgo.OpenGGUF(o.LLM); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.gguf.Close()) }()
	if b.info, err = b.gguf.Describe(); err != nil {
		return nil, err
	}
	result = &Result{Unfinished: true, Sweep: o.Sweep, Rounds: o.Rounds, Dataset: b.data.Name, LLM: filepath.Base(o.LLM)}
	threads, err := b.threads()
	if err != nil {
		return nil, err
	}
	for _, n := range threads {
		if err := b.measureWith(ctx, n, result); err != nil {
			return result, err
		}
	}
	result.Unfinished = false
	return result, nil
}

// threads are the numbers of threads that the benches run with, in turn.
func (b *bed) threads() ([]int, error) {
	if b.Sweep != ByThreads {
		return []int{b.Engine.Threads}, nil
	}
	engine, err := cgo.NewEngine(b.Engine)
	if err != nil {
		return nil, err
	}
	info, err := engine.Describe()
	if err := errors.Join(err, engine.Close()); err != nil {
		return nil, err
	}
	return append(doubled(1, info.Threads-1), info.Threads), nil
}

// sweptTo is the largest batch of a sweep, or number of sequences.
const sweptTo = 512

// doubled are the sizes of a sweep: from, twice that and so on, up to most.
func doubled(from, most int) (all []int) {
	for n := from; n <= most; n *= 2 {
		all = append(all, n)
	}
	return all
}

// measureWith runs all benches on an engine of so many threads (0: one for each core), and
// describes the machine on the way.
func (b *bed) measureWith(ctx context.Context, threads int, result *Result) (err error) {
	params := b.Engine
	params.Threads = threads
	if b.engine, err = cgo.NewEngine(params); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.engine.Close()) }()
	if b.needs, err = cgo.EstimateTraining(b.engine, b.gguf, cgo.TrainingSizes{}); err != nil {
		return err
	}
	if result.Machine, err = describe(b.engine); err != nil {
		return err
	}
	best, err := bestSet()
	if err != nil {
		return err
	}
	b.cores = result.Machine.Threads
	b.peerEnvironment, result.PeerNotes = level(result.Machine.Kernels, best, b.Peers.Names)
	b.Progress("probing the machine", 0, 1)
	if err := result.Probes.measure(b.engine, b.cores); err != nil {
		return err
	}
	parts := map[string]func(context.Context) ([]work, error){
		Encoder: b.encoders, Adapter: b.adapters, Train: b.trainings, Generate: b.generations, Evaluate: b.evaluations, Latency: b.latencies, Bulk: b.jobs,
	}
	for _, name := range b.Benches {
		works, err := parts[name](ctx)
		if err != nil {
			return fmt.Errorf("bench: %s: %w", name, err)
		}
		for _, w := range works {
			w.Bench = name
			if b.Sweep == ByThreads {
				w.Threads = result.Machine.Threads
			}
			figure, err := b.measure(ctx, w)
			if ctx.Err() != nil { // whatever else went wrong for it
				return ctx.Err()
			}
			if err != nil {
				return fmt.Errorf("bench: %s: %s: %w", name, w.Name, err)
			}
			result.Figures = append(result.Figures, *figure)
		}
		if err := result.Probes.measure(b.engine, b.cores); err != nil { // a machine is not the same at all times
			return err
		}
	}
	return nil
}

// path is a file of the bed's folder.
func (b *bed) path(name string) string { return filepath.Join(b.folder, name) }
