package bulk

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/states/statestest"
)

// BenchmarkJob compares a job with its LLM alone: the same answers, asked for all at once of the
// same generator. RECINT_BULK_RUN names the run, one of a file of states or of a recommender whose
// data set has users.
func BenchmarkJob(b *testing.B) {
	const slots, rows = 32, 1024
	folder := os.Getenv("RECINT_BULK_RUN")
	if folder == "" {
		b.Skip("name a run with RECINT_BULK_RUN=FOLDER")
	}
	r, err := run.Open(testllm.Engine(b), folder, interpret.Options{Slots: slots})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	in := filepath.Join(b.TempDir(), "rows.parquet")
	var pasts [][]int32
	query := ""
	for i := range rows {
		user := r.Data.Users[i%len(r.Data.Users)]
		past, err := r.Latest(user)
		if err != nil {
			b.Fatal(err)
		}
		pasts = append(pasts, past)
		query += ", ('" + user + "')"
	}
	if err := statestest.WriteParquet(in, "SELECT * FROM (VALUES "+query[2:]+") t(user)"); err != nil {
		b.Fatal(err)
	}
	shown, err := r.States(b.Context(), r.Source, pasts)
	if err != nil {
		b.Fatal(err)
	}
	timed := func(f func() error) float64 {
		began := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		return time.Since(began).Seconds()
	}
	var job, alone float64
	answer := func(states []prompt.States) func() error {
		return func() error { _, err := r.Interpreter.Answer(b.Context(), states); return err }
	}
	timed(answer(shown[:slots])) // warm
	for b.Loop() {
		out := filepath.Join(b.TempDir(), "answers.jsonl")
		job += timed(func() error { _, err := (Job{Run: r, In: in, Out: out}).Do(b.Context()); return err })
		alone += timed(answer(shown))
		if err := os.Remove(out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*rows)/job, "rows/s")
	b.ReportMetric(100*alone/job, "%-of-the-LLM-alone")
}
