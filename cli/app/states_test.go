package app

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/states"
)

// A file of states takes a recommender's place in every command, from the check to the report.
func TestStatesInPlaceOfARecommender(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf")
	_, stderr := runs(t, dir, "recommender", "states", "--data", "@data", "--recommender", "@sasrec.safetensors", "--out", "@states.parquet")
	contains(t, stderr, "states of 16 numbers")
	stdout, _ := runs(t, dir, "states", "check", "--data", "@data", "@states.parquet")
	contains(t, stdout, "with the states before and after them", "no vectors of items", "27 to test")
	var about states.Summary
	parses(t, &about, dir, "states", "check", "--data", "@data", "--json", "@states.parquet")
	if about.Width != 16 || about.Test != 27 || about.Users != about.Rows {
		t.Errorf("%+v", about)
	}
	source := []string{"--states", "@states.parquet"}
	stdout, _ = runs(t, dir, append([]string{"probe", "--data", "@data"}, source...)...)
	contains(t, stdout, "states.parquet, test part, n = 27")

	aligned := slices.Concat(without(alignTiny, "--recommender"), source, []string{"--samples", "16"})
	aligned[0] = "align"
	stdout, _ = runs(t, dir, without(aligned, "--out")...)
	contains(t, stdout, "in all")
	stdout, _ = runs(t, dir, aligned...)
	contains(t, stdout, "validation loss")
	stdout, _ = runs(t, dir, "evaluate", "--run", "@run", "--samples", "3")
	contains(t, stdout, "n = 3")
	stdout, _ = runs(t, dir, "interpret", "--run", "@run", "--user", "103")
	contains(t, stdout, "user 103, after", "read from the states")
	stdout, _ = runs(t, dir, "interpret", "--run", "@run", "--user", "103", "--titles", "2")
	contains(t, stdout, "of 30 titles")
	fails(t, 1, []string{"its own sequences"}, dir, "interpret", "--run", "@run", "--history", "The Silent Harbour")
	fails(t, 1, []string{`no user or sequence "nobody"`}, dir, "interpret", "--run", "@run", "--user", "nobody")
	runs(t, dir, "report", "@run", "--out", "@report.html")
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(page), "states.parquet")
	fails(t, 2, []string{"either --recommender or --states"}, dir, append(slices.Clone(aligned), "--recommender", "@sasrec.safetensors")...)
	fails(t, 2, []string{"drawn"}, dir, append(slices.Clone(aligned), "--drawn", "0.5")...)
}
