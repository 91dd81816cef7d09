package app

import (
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/run"
)

// From DreamRec's training to its oracles in words.
func TestOracle(t *testing.T) {
	dir := tinyCopy(t, "data", "tiny.gguf")
	runs(t, dir, "recommender", "train", "--data", "@data", "--model", "dreamrec", "--out", "@dreamrec.safetensors", "--width", "16",
		"--batch", "16", "--epochs", "2", "--steps", "20")
	runs(t, dir, with(alignTiny, "--recommender", "@dreamrec.safetensors", "--samples", "8")...)
	var o run.Oracle
	parses(t, &o, dir, "oracle", "--run", "@run", "--user", "103", "--json")
	if len(o.History) != 10 || len(o.Titles) != 5 || len(o.Nearest) != 5 || !strings.HasPrefix(o.Titles[0].Title, "The ") {
		t.Errorf("%+v", o)
	}
	stdout, _ := runs(t, dir, "oracle", "--run", "@run", "--history", "The Silent Harbour")
	contains(t, stdout, "this history: The Silent Harbour", "the oracle in words: ", "the likeliest titles", "items that fit it best", "The ")
	stdout, stderr := runs(t, dir, "oracle", "--run", "@run", "--samples", "6")
	contains(t, stdout, "n = 6", "adapter mlp trained on 8 samples", "are a title of the catalogue", "fits it best", "came next",
		"among the likeliest", "sanity", "95 % interval")
	contains(t, stderr, "reading oracles: 6 of 6 oracles")
	var result run.OracleResult
	parses(t, &result, dir, "oracle", "--run", "@run", "--samples", "6", "--json")
	if result.N != 6 || len(result.Oracles) != 6 || result.Oracles[0].Next == "" {
		t.Errorf("%+v", result)
	}
	fails(t, 2, []string{"one of --user, --history and --samples"}, dir, "oracle", "--run", "@run")
	fails(t, 2, []string{"one of --user, --history and --samples"}, dir, "oracle", "--run", "@run", "--user", "103", "--samples", "3")
	fails(t, 2, []string{"--samples is 0"}, dir, "oracle", "--run", "@run", "--samples", "0")
	fails(t, 1, []string{"SASRec draws no oracles"}, tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf", "run"), "oracle", "--run", "@run", "--user", "103")
}
