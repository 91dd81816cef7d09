package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/recommender/onnx/onnxtest"
)

// An ONNX encoder goes all the way: imported, ranked, asked for states, an adapter trained, its
// histories put into words.
func TestONNXCommands(t *testing.T) {
	onnxtest.Library(t)
	dir := tinyCopy(t, "data", "tiny.gguf")
	model := onnxtest.Random(30, 16)
	for name, scores := range map[string]bool{"ranks.onnx": true, "encodes.onnx": false} {
		model.Scores = scores
		if err := os.WriteFile(filepath.Join(dir, name), model.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	bring := []string{"recommender", "import", "--data", "@data", "--positions", "10"}
	table, stderr := runs(t, dir, with(bring, "--out", "@in.onnx", "@ranks.onnx")...)
	contains(t, table, "ranks.onnx", "validation", "test", "NDCG@20")
	contains(t, stderr, "an ONNX encoder, 30 items, histories of 10, states of 16 numbers")
	_, stderr = runs(t, dir, with(bring, "--out", "@other.onnx", "@encodes.onnx")...)
	contains(t, stderr, "has no output scores: its states can be put into words")
	if again, _ := runs(t, dir, "recommender", "evaluate", "--data", "@data", "--recommender", "@in.onnx"); again != table {
		t.Errorf("it ranks\n%s\nat its import\n%s", again, table)
	}
	from := []string{"--data", "@data", "--recommender", "@in.onnx"}
	stdout, _ := runs(t, dir, with([]string{"recommender", "recommend", "--history", "The Silent Harbour"}, from...)...)
	contains(t, stdout, "after The Silent Harbour:", "score")
	runs(t, dir, with([]string{"recommender", "states", "--part", "test", "--out", "@states.parquet"}, from...)...)
	runs(t, dir, with(with(alignTiny, from...), "--samples", "8")...)
	stdout, _ = runs(t, dir, "interpret", "--run", "@run", "--history", "The Silent Harbour,The Golden Orchard")
	contains(t, stdout, "read from the states", "The Golden Orchard")
	runs(t, dir, "evaluate", "--run", "@run", "--samples", "5")

	fails(t, 2, []string{"--out must end in .onnx"}, dir, with(bring, "--out", "@in.safetensors", "@ranks.onnx")...)
	fails(t, 2, []string{"must be left or right"}, dir, with(bring, "--padding-side", "up", "--out", "@no.onnx", "@ranks.onnx")...)
	fails(t, 2, []string{"--heads and --layout are for weights"}, dir, with(bring, "--heads", "2", "--out", "@no.onnx", "@ranks.onnx")...)
	fails(t, 2, []string{"are for ONNX"}, dir, with(bring, "--padding-id", "1", "--out", "@no.safetensors", "@ranks.safetensors")...)
	fails(t, 1, []string{"its axis T varies"}, dir, "recommender", "import", "--data", "@data", "--out", "@no.onnx", "@ranks.onnx")
	fails(t, 1, []string{"is there already"}, dir, with(bring, "--out", "@in.onnx", "@ranks.onnx")...)
}
