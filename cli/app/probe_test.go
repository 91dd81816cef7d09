package app

import (
	"os"
	"regexp"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/probe"
)

// Sequences: see walks. A user always follows the same rule, so that a probe has little to do.
func TestProbe(t *testing.T) {
	args := []string{"probe", "--data", "@data", "--recommender", "@sasrec.safetensors"}
	stdout, stderr := runs(t, tiny(t), args...)
	contains(t, stdout, "states of SASRec, test part, n = 27", "linear", "MLP", "95 % interval", "trained on 211 sequences",
		"chosen on validation (n = 26)", "100.00 % of the test items occur in training", "chance is 3.33 %", "honest ceiling")
	contains(t, stderr, "probing: ", "mlp probe of states before and after the item")
	for _, row := range []string{"state after the item", "states before and after it"} {
		if !regexp.MustCompile(row + `( +\d+\.\d\d % +\d+\.\d\d–\d+\.\d\d){2}\n`).MatchString(stdout) {
			t.Errorf("no row of %q in\n%s", row, stdout)
		}
	}
	var r probe.Report
	parses(t, &r, tiny(t), with(args, "--json", "--seed", "2")...)
	if r.Train != 211 || r.Items != 30 || len(r.Figures) != 4 || r.Figures[3].Test.N != 27 || r.Figures[3].Probe != "mlp" {
		t.Errorf("%+v", r)
	}
}

func TestProbeRefuses(t *testing.T) {
	args := []string{"probe", "--data", "@data", "--recommender", "@sasrec.safetensors"}
	dir := tinyCopy(t, "data", "sasrec.safetensors")
	otherData(t, dir)
	fails(t, 1, []string{"this recommender was made from another data set"}, dir, args...)
	dir = tinyCopy(t, "data", "sasrec.safetensors")
	nan(t, dir)
	fails(t, 1, []string{"sasrec.safetensors", "item_embeddings.weight", "number 7 is NaN"}, dir, args...)
}

// Figures that cannot be written are a failure.
func TestProbeFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	defer full.Close()
	args := in(tiny(t), []string{"recint", "--threads", "1", "probe", "--data", "@data", "--recommender", "@sasrec.safetensors"})
	if code := Main(args, full, os.Stderr); code != 1 {
		t.Errorf("exit code %d", code)
	}
}
