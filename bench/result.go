package bench

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Program is what our side is called.
const Program = "recint"

// Result is the result of a call.
type Result struct {
	Machine    Machine  `json:"machine"`
	Probes     Probes   `json:"probes"`
	Dataset    string   `json:"dataset"`
	LLM        string   `json:"llm"`
	Sweep      string   `json:"sweep,omitempty"`
	Rounds     int      `json:"rounds"`
	PeerNotes  []string `json:"peer_notes,omitempty"` // what was done to have peers use the instructions that we use
	Unfinished bool     `json:"unfinished,omitempty"` // it was stopped, or failed, and figures are missing
	Figures    []Figure `json:"figures"`
}

// Figure is one thing that was measured.
type Figure struct {
	Bench   string  `json:"bench"`
	Name    string  `json:"name"`
	Unit    string  `json:"unit"` // what a sample is
	Batch   int     `json:"batch,omitempty"`
	Length  int     `json:"length,omitempty"`          // positions, where they are swept
	Threads int     `json:"threads,omitempty"`         // where they are swept
	FLOP    float64 `json:"flop_per_sample,omitempty"` // by the formula
	Formula string  `json:"flop_formula,omitempty"`    // of FLOP
	Asked   string  `json:"asked,omitempty"`           // what it is to reach, by the project's own aims
	Padding float64 `json:"padding_share,omitempty"`   // of the rows that our side computes, on GPUs
	Sides   []Side  `json:"sides"`                     // ours first
	Failed  []Trial `json:"failed_peers,omitempty"`    // peers that do not run here
}

// Side is one program's part of a figure. What was not measured is nil or 0.
type Side struct {
	Program string  `json:"program"`
	Rate    Spread  `json:"samples_per_s"`
	Tokens  *Spread `json:"tokens_per_s,omitempty"`
	P50     *Spread `json:"p50_us,omitempty"` // of single calls, in microseconds
	P95     *Spread `json:"p95_us,omitempty"`
	P99     *Spread `json:"p99_us,omitempty"`
	FLOPS   float64 `json:"flop_per_s,omitempty"`          // at the median
	Memory  int64   `json:"peak_memory_bytes,omitempty"`   // of the process, at most
	Energy  *Spread `json:"joules_per_sample,omitempty"`   // of the whole processor or GPU
	Ratio   *Spread `json:"recint_is_faster_by,omitempty"` // times, round by round; of peers
	Trial   []Trial `json:"trial,omitempty"`               // of a peer's variants, the fastest of which was measured
}

// Trial is how a variant of a peer did in a short trial.
type Trial struct {
	Variant string  `json:"variant"`
	Threads int     `json:"threads"`
	Rate    float64 `json:"samples_per_s,omitempty"`
	Ready   float64 `json:"ready_s,omitempty"` // seconds to load and compile it, which count in no rate
	Failed  string  `json:"failed,omitempty"`  // why there is no rate
}

// Spread is what the rounds gave.
type Spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Values []float64 `json:"values"` // in the order of the rounds
}

// Read reads a result that was written as JSON.
func Read(path string) (*Result, error) {
	var r Result
	if err := artifact.ReadJSON(path, &r, artifact.AnyKeys); err != nil {
		return nil, fmt.Errorf("bench: it is no result of recint bench: %w; give a file that recint bench --out has written", err)
	}
	if len(r.Figures) == 0 {
		return nil, fmt.Errorf("bench: %s holds no figures; give a file that recint bench --out has written", path)
	}
	for _, f := range r.Figures {
		if len(f.Sides) == 0 || len(f.Sides[0].Rate.Values) == 0 {
			return nil, fmt.Errorf("bench: %s: %s, %s has no rounds; the file is damaged", path, f.Bench, f.Name)
		}
	}
	return &r, nil
}

// Save writes the result as JSON.
func (r *Result) Save(path string) error {
	return artifact.WriteAtomic(path, func(w io.Writer) error { return r.writeJSON(w) })
}

func (r *Result) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}
