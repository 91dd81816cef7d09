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

// Checkpoints follow the clock, however far apart they are in updates; and the adapter's file of a run that was killed and
// taken up again is that of one that was not, but for the time.
func TestTrain_checkpointsByTheClock(t *testing.T) {
	defer func(was time.Duration) { longestLoss = was }(longestLoss)
	longestLoss = 0 // each update is late
	job := tinyJob(t)
	job.Config.CheckpointEvery = 0
	killed := t.TempDir()
	job.Progress = func(e Event) {
		if e.Phase != "training" || e.Step != 9 {
			return
		}
		for _, name := range []string{CheckpointFile, LogFile} { // as a kill leaves them
			text, err := os.ReadFile(filepath.Join(job.Dir, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(killed, name), text, 0o600)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	train(t, job)
	file, err := artifact.ReadSafetensors(filepath.Join(killed, CheckpointFile))
	if err != nil {
		t.Fatal(err)
	}
	var cursor Cursor
	if err := json.Unmarshal([]byte(file.Metadata[keyCursor]), &cursor); err != nil || cursor.Step != 8 {
		t.Errorf("during update 9 the checkpoint is of step %d, %v", cursor.Step, err)
	}

	adapters := map[string]any{}
	for _, dir := range []string{job.Dir, killed} {
		resumed := job
		resumed.Dir, resumed.Progress = dir, nil
		train(t, resumed)
		adapter, err := artifact.ReadSafetensors(filepath.Join(dir, AdapterFile))
		if err != nil {
			t.Fatal(err)
		}
		var provenance Provenance
		if err := json.Unmarshal([]byte(adapter.Metadata[keyProvenance]), &provenance); err != nil {
			t.Fatal(err)
		}
		provenance.Minutes = 0
		delete(adapter.Metadata, keyProvenance)
		adapters[dir] = []any{adapter.Metadata, adapter.Tensors, provenance}
	}
	if !reflect.DeepEqual(adapters[job.Dir], adapters[killed]) {
		t.Error("the adapter of the run that was killed is another one")
	}
}
