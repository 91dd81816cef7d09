package align

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// killedAt copies what a kill at the event leaves on the disk, and returns the job in the copy's
// folder.
func killedAt(t *testing.T, job *Job, at func(Event) bool) Job {
	t.Helper()
	killed := *job
	killed.Dir, killed.Progress = t.TempDir(), nil
	job.Progress = func(e Event) {
		if !at(e) {
			return
		}
		for _, name := range []string{CheckpointFile, LogFile} {
			text, err := os.ReadFile(filepath.Join(job.Dir, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(killed.Dir, name), text, 0o600)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	return killed
}

// savedCursor reads where a checkpoint stands.
func savedCursor(t *testing.T, dir string) (cursor Cursor) {
	t.Helper()
	file, err := artifact.ReadSafetensors(filepath.Join(dir, CheckpointFile))
	if err == nil {
		err = json.Unmarshal([]byte(file.Metadata[keyCursor]), &cursor)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cursor
}

// savedAdapter reads all of an adapter's file except the recorded time.
func savedAdapter(t *testing.T, dir string) any {
	t.Helper()
	file, err := artifact.ReadSafetensors(filepath.Join(dir, AdapterFile))
	if err != nil {
		t.Fatal(err)
	}
	var provenance Provenance
	if err := json.Unmarshal([]byte(file.Metadata[keyProvenance]), &provenance); err != nil {
		t.Fatal(err)
	}
	provenance.Minutes = 0
	delete(file.Metadata, keyProvenance)
	return []any{file.Metadata, file.Tensors, provenance}
}

// Checkpoints follow the clock, however far apart they are in updates. The adapter file of a run
// that was killed and resumed equals that of an uninterrupted run except for the time.
func TestTrain_checkpointsByTheClock(t *testing.T) {
	job := tinyJob(t)
	job.Config.CheckpointEvery, job.mayLose = 0, 1 // each update is late
	killed := killedAt(t, &job, func(e Event) bool { return e.Phase == "training" && e.Step == 9 })
	train(t, job)
	if at := savedCursor(t, killed.Dir); at.Step != 8 {
		t.Errorf("during update 9 the checkpoint is of step %d", at.Step)
	}
	train(t, killed)
	if !reflect.DeepEqual(savedAdapter(t, killed.Dir), savedAdapter(t, job.Dir)) {
		t.Error("the adapter of the run that was killed differs")
	}
}

// The same holds for a kill and for Ctrl-C during the warm start.
func TestTrain_warmStartResumes(t *testing.T) {
	for name, makeJob := range map[string]func(*testing.T) Job{
		"mlp": tinyJob,
		"memory": func(t *testing.T) Job {
			job := tinyJob(t)
			job.Shape.Kind, job.Shape.Entries = "memory", 6
			return job
		},
		"retrieval": retrievalJob,
	} {
		t.Run(name, func(t *testing.T) {
			job := makeJob(t)
			job.Config.WarmSteps, job.Config.Noise = 50, 0.3
			job.mayLose = 1
			killed := killedAt(t, &job, func(e Event) bool { return e.Phase == "warm start" && e.Step == 40 })
			train(t, job)
			if at := savedCursor(t, killed.Dir); !at.Warming || at.WarmSteps != 39 || at.Step != 0 {
				t.Errorf("during update 40 of the warm start the checkpoint stands at %+v", at)
			}
			interrupted := makeJob(t)
			interrupted.Config, interrupted.mayLose = job.Config, time.Hour
			interrupt(t, interrupted, func(e Event) bool { return e.Phase == "warm start" && e.Step == 20 })
			if at := savedCursor(t, interrupted.Dir); !at.Warming || at.WarmSteps != 20 {
				t.Errorf("interrupted after update 20 of the warm start, the checkpoint stands at %+v", at)
			}
			for name, resumed := range map[string]Job{"killed": killed, "interrupted": interrupted} {
				at := savedCursor(t, resumed.Dir)
				resumed.Progress = func(e Event) {
					if e.Phase == "warm start" && e.Step <= at.WarmSteps {
						t.Errorf("%s: update %d of the warm start was done again", name, e.Step)
					}
				}
				train(t, resumed)
				if !reflect.DeepEqual(savedAdapter(t, resumed.Dir), savedAdapter(t, job.Dir)) {
					t.Errorf("%s: the adapter differs", name)
				}
			}
		})
	}
}
