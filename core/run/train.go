package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// Train trains the run of a folder, or continues it as if it had never stopped (see align.Train),
// and leaves the adapter in it. The folder is made; one that holds another run is refused. stage is
// told what is being done, in words, and progress each step; both may be nil. The ranks of ctx
// share the work, and rank 0 writes.
func Train(ctx context.Context, engine *cgo.Engine, dir string, s Spec, stage func(string), progress func(align.Event)) (
	*align.Result, error) {
	if stage == nil {
		stage = func(string) {}
	}
	stage("opening data set, recommender and LLM")
	parts, precision, err := openToTrain(engine, s)
	if err != nil {
		return nil, err
	}
	defer parts.Close()
	info, err := parts.GGUF.Describe()
	if err != nil {
		return nil, err
	}
	// What cannot be trained is refused before the folder is made the run's.
	sequences, lessons, err := parts.lessonsAndExamples(&s)
	if err != nil {
		return nil, err
	}
	if err := parts.lengthenPasses(ctx, engine, dir, precision, &s, lessons); err != nil {
		return nil, err
	}
	job := align.Job{
		Engine: engine, GGUF: parts.GGUF, Prompts: parts.trainedOn(), Config: s.Config, Provenance: parts.Hashes,
		Shape: parts.shape(s, info), Tell: parts.tell, Dir: dir, Progress: progress,
	}
	estimate, err := parts.estimate(engine, s, precision, lessons)
	if err != nil {
		return nil, err
	}
	if !estimate.Fits {
		return nil, fmt.Errorf("run: training needs about %s, and %s are free on %s: %w", align.Mebibytes(estimate.Total()),
			align.Mebibytes(estimate.Free), estimate.Device, artifact.ErrDoesNotFit)
	}
	stage(fmt.Sprintf("expecting %s of memory of %s and %.1f samples/s", align.Mebibytes(estimate.Total()), estimate.Device,
		estimate.Rate))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("run: the folder cannot be made: %w; choose one that you may write to", err)
	}
	if ranks.Of(ctx).Writes() {
		lock, err := artifact.Claim(filepath.Join(dir, align.LogFile))
		if err != nil {
			return nil, err
		}
		defer lock.Release()
		if err := s.claim(dir); err != nil {
			return nil, err
		}
		if err := recordHeldOut(dir, parts.Data, parts.held); err != nil {
			return nil, err
		}
	}
	stage("computing the recommender's states")
	teacher := noisy{parts.Source, rand.New(rand.NewPCG(s.Config.Seed, 1))}
	if job.Train, err = parts.samples(ctx, teacher, lessons); err != nil {
		return nil, err
	}
	if lessons, err = parts.validationLessons(); err != nil {
		return nil, err
	}
	if job.Validation, err = parts.samples(ctx, parts.Source, lessons); err != nil {
		return nil, err
	}
	if s.Config.WarmSteps > 0 {
		if job.Warm, err = parts.pairs(ctx, teacher, sequences, job.Train); err != nil {
			return nil, err
		}
	}
	stage("loading the LLM's weights")
	if job.LLM, err = cgo.NewLLM(engine, parts.GGUF, precision); err != nil {
		return nil, err
	}
	defer job.LLM.Close()
	stage("training")
	return align.Train(ctx, job)
}
