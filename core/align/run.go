package align

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/checkpoint"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// The files of a run's folder.
const (
	CheckpointFile = "checkpoint.safetensors"
	LogFile        = "log.jsonl"
	AdapterFile    = "adapter.safetensors"
)

const (
	checkpointFormat = "recint checkpoint 3"
	keyConfig        = "config"
	keyCursor        = "cursor"
	keyData          = "data"
)

// bestPrefix is that of the values at the best validation.
const bestPrefix = "best."

// run is a job under way.
type run struct {
	Cursor
	job      Job // its validation samples thinned out to those that are used
	standard Standard
	data     string // fingerprint
	model    *cgo.Adapter
	pupil    *cgo.Model // learns the layers of an adapter with entries during the warm start; else nil
	prefixes map[*prompt.Prompt]*cgo.Prefix
	best     [][]float32     // values of the adapter at its best validation; nil before the first
	lines    *artifact.Lines // the log; nil on ranks that do not write
	clock    checkpoint.Clock
	group    *ranks.Group
}

// open starts a job or takes it up again from its checkpoint.
func open(ctx context.Context, job Job) (*run, error) {
	info, err := job.GGUF.Describe()
	if err != nil {
		return nil, err
	}
	if err := job.validate(info); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(job.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("align: the run's folder cannot be made: %w", err)
	}
	r := &run{data: job.fingerprint(), group: ranks.Of(ctx), clock: checkpoint.Clock{MayLose: job.mayLose}}
	if r.standard, err = FitStandard(job.statesOfTraining(), job.Shape.In); err != nil {
		return nil, err
	}
	r.job = job
	r.job.Validation = pick(job.Validation, job.Config.ValidationSamples, job.Config.Seed)
	r.job.Provenance.Config = job.Config
	adapter, err := NewAdapter(job.Shape, float64(info.EmbdRMS), job.Config.Seed)
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx, adapter, float64(info.EmbdRMS)); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// start makes what a run holds and brings it to where training begins or goes on.
func (r *run) start(ctx context.Context, adapter *Adapter, rms float64) (err error) {
	if r.model, err = adapter.Model(r.job.Engine); err != nil {
		return err
	}
	r.prefixes = map[*prompt.Prompt]*cgo.Prefix{}
	for _, p := range slices.Concat(r.job.Prompts...) {
		if r.prefixes[p], err = r.job.LLM.NewPrefix(p.Prefix()); err != nil {
			return err
		}
	}
	err = r.restore()
	resumed := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.group.Agree(ctx, "the run", r.identity()); err != nil { // nobody writes before all have read
		return err
	}
	r.clock.Restart()
	if r.group.Writes() {
		if r.lines, err = artifact.OpenLines(filepath.Join(r.job.Dir, LogFile), r.LogBytes); err != nil {
			return fmt.Errorf("align: the log: %w", err)
		}
	}
	if !resumed || r.Warming {
		if err := r.begin(ctx, rms); err != nil {
			return err
		}
	}
	return r.retell(ctx)
}

// begin makes the plan, runs the warm start from where it stands, and saves the run before
// training.
func (r *run) begin(ctx context.Context, rms float64) error {
	c := r.job.Config
	if c.Samples > 0 {
		r.Plan = c.steps()
	}
	if c.WarmSteps > 0 {
		r.Warming = true
		if err := r.warmStart(ctx, rms); err != nil {
			return err
		}
		r.Warming = false
	}
	return r.save()
}

// identity is what all ranks must have in common.
func (r *run) identity() string {
	return fmt.Sprintf("step %d, warm start %d, of samples %.12s", r.Step, r.WarmSteps, r.data)
}

// timed is how long rank 0 has taken since start: all ranks plan by its clock.
func (r *run) timed(ctx context.Context, start time.Time) (time.Duration, error) {
	seconds, err := r.group.First(ctx, r.job.clock().Sub(start).Seconds())
	return time.Duration(seconds * float64(time.Second)), err
}

// log adds a line to the log and tells Progress.
func (r *run) log(event Event) error {
	event.Step, event.Plan, event.Samples = r.Step, r.Plan, r.Step*r.job.Config.BatchSize
	event.Seconds = r.Seconds
	if r.lines != nil {
		if err := r.lines.Append(event); err != nil {
			return fmt.Errorf("align: the log: %w", err)
		}
		r.LogBytes = r.lines.Length()
	}
	if r.job.Progress != nil {
		r.job.Progress(event)
	}
	return nil
}

// saveBefore writes the checkpoint if it is due before work that takes about as long as next.
func (r *run) saveBefore(next time.Duration) error {
	if !r.clock.Due(next) {
		return nil
	}
	return r.save()
}

// save writes the checkpoint; the one before it stays whole until this one is.
func (r *run) save() error {
	if !r.group.Writes() {
		return nil
	}
	if r.pupil != nil {
		if err := copyLayers(&r.model.Model, r.pupil, cgo.Value, cgo.Moment1, cgo.Moment2); err != nil {
			return err
		}
	}
	file := &artifact.File{Metadata: map[string]string{keyFormat: checkpointFormat, keyData: r.data}}
	err := file.PutJSON(map[string]any{
		keyShape: r.job.Shape, keyConfig: r.job.Config, keyProvenance: r.job.Provenance, keyCursor: r.Cursor,
	})
	if err != nil {
		return err
	}
	if err := checkpoint.Put(file, r.model); err != nil {
		return err
	}
	if r.best != nil {
		if err := addTensors(file, r.job.Shape, bestPrefix, r.best); err != nil {
			return err
		}
	}
	r.clock.Restart()
	return artifact.WriteSafetensors(filepath.Join(r.job.Dir, CheckpointFile), file)
}

// restore takes up the checkpoint in the run's folder, refusing one of another run by what differs.
// Without one the error is fs.ErrNotExist.
func (r *run) restore() error {
	path := filepath.Join(r.job.Dir, CheckpointFile)
	if _, err := os.Stat(path); err != nil {
		return err
	}
	file, err := artifact.ReadSafetensors(path)
	if err != nil {
		return err
	}
	if file.Metadata[keyFormat] != checkpointFormat {
		return fmt.Errorf("align: %s is not a checkpoint of this version; remove it to start again", path)
	}
	var was struct {
		shape      Shape
		config     Config
		provenance Provenance
	}
	err = file.TakeJSON(map[string]any{
		keyShape: &was.shape, keyConfig: &was.config, keyProvenance: &was.provenance, keyCursor: &r.Cursor,
	})
	if err != nil {
		return fmt.Errorf("align: %s: %w", path, err)
	}
	now := r.job.Provenance
	if err := was.provenance.Check(now.Recommender, now.LLM, now.Dataset); err != nil {
		return fmt.Errorf("align: %s: %w", path, err)
	}
	differs := cmp.Or(artifact.Difference(was.shape, r.job.Shape), artifact.Difference(was.config, r.job.Config))
	if differs != "" {
		return fmt.Errorf("align: %s was made under another configuration (%s); give the same one to go on, or another "+
			"folder to start again", path, differs)
	}
	if file.Metadata[keyData] != r.data {
		return fmt.Errorf("align: %s was made from other samples or another prompt; give another folder to start again",
			path)
	}
	if err := checkpoint.Take(file, r.model); err != nil {
		return fmt.Errorf("align: %s: %w", path, err)
	}
	if len(r.Validations) > 0 {
		if r.best, err = takeTensors(file, r.job.Shape, bestPrefix); err != nil {
			return fmt.Errorf("align: %s: %w", path, err)
		}
	}
	return nil
}

// stopped saves a run that was told to stop, so that it can go on later; other errors it passes on.
func (r *run) stopped(err error) error {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ranks.ErrLeft) {
		return err
	}
	if failed := r.save(); failed != nil {
		return errors.Join(err, failed)
	}
	if r.Warming {
		return artifact.Resumable(fmt.Errorf("align: stopped after step %d of the warm start and saved: %w", r.WarmSteps, err))
	}
	return artifact.Resumable(fmt.Errorf("align: stopped after step %d and saved: %w", r.Step, err))
}

// finish saves the trained adapter, as it was at its best validation (at the end, if there are no
// validation samples), and the last checkpoint.
func (r *run) finish() (*Result, error) {
	values := r.best
	if values == nil {
		var err error
		if values, err = readSlot(r.model, cgo.Value); err != nil {
			return nil, err
		}
	}
	result := &Result{
		Adapter:    r.standard.Fold(&Adapter{Shape: r.job.Shape, Values: values}),
		Provenance: r.job.Provenance,
		Cursor:     r.Cursor,
	}
	result.Provenance.Samples = r.Updates * r.job.Config.BatchSize
	if best := r.Best(); best != nil {
		result.Provenance.Samples, result.Provenance.ValidationLoss = best.Step*r.job.Config.BatchSize, best.Loss
	}
	result.Provenance.Minutes = r.Seconds / 60
	if err := r.save(); err != nil {
		return nil, err
	}
	if !r.group.Writes() {
		return result, nil
	}
	return result, result.Adapter.Save(filepath.Join(r.job.Dir, AdapterFile), result.Provenance)
}

// close releases what the run holds.
func (r *run) close() {
	if r.lines != nil {
		r.lines.Close()
	}
	for _, prefix := range r.prefixes {
		prefix.Close()
	}
	if r.model != nil {
		r.model.Close()
	}
}
