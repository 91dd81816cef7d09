package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Every model goes from training to ranking, recommending and states.
func TestEveryModel(t *testing.T) {
	dir := tinyCopy(t, "data")
	for model, extra := range map[string][]string{
		"gru4rec": {"--hidden", "16"}, "caser": {"--filters", "4"}, "dreamrec": {"--steps", "20", "--denoiser", "mlp2"},
	} {
		weights := "@" + model + ".safetensors"
		table, stderr := runs(t, dir, slices.Concat([]string{"recommender", "train", "--data", "@data", "--model", model, "--out", weights,
			"--width", "16", "--batch", "16", "--epochs", "2", "--learning-rate", "0.01"}, extra)...)
		contains(t, table, "validation", "test", "best epoch (", "NDCG@20")
		contains(t, strings.ToLower(stderr), "training "+model)
		from := []string{"--data", "@data", "--recommender", weights}
		var said struct {
			History []string
			Items   []suggestion
		}
		parses(t, &said, dir, slices.Concat([]string{"recommender", "recommend", "--user", "103", "--top", "3", "--json"}, from)...)
		if len(said.History) != 10 || len(said.Items) != 3 || slices.Contains(said.History, said.Items[0].Title) {
			t.Errorf("%s recommends %+v", model, said)
		}
		stdout, _ := runs(t, dir, slices.Concat([]string{"recommender", "recommend", "--history", "The Silent Harbour"}, from)...)
		if contains(t, stdout, "after The Silent Harbour:", "item", "score"); strings.Count(stdout, "\n") != 2+10 {
			t.Errorf("%s says\n%s", model, stdout)
		}
		more := map[string][]string{"dreamrec": {"--oracles"}}[model]
		runs(t, dir, slices.Concat([]string{"recommender", "states", "--part", "test", "--out", "@" + model + "/states.safetensors"}, more, from)...)
		file, err := artifact.ReadSafetensors(filepath.Join(dir, model, "states.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		width := map[string]int{"gru4rec": 16, "caser": 3*4 + 16, "dreamrec": 16}[model]
		state, err := file.Find("state")
		if err != nil || state.Shape[1] != width {
			t.Fatalf("states %+v, %v", state, err)
		}
		if _, err := file.Float32("oracle", state.Shape[0], 16); (err == nil) != (model == "dreamrec") {
			t.Errorf("%s: oracles: %v", model, err)
		}
		checked, _ := runs(t, dir, "states", "check", "--data", "@data", "@"+model+"/states.safetensors")
		contains(t, checked, fmt.Sprintf("states of %d numbers", width), "0 to train, 0 to validate, 27 to test")
	}
}

// What is exported can be imported, in another order of items too.
func TestExportImport(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors")
	runs(t, dir, "recommender", "export", "--recommender", "@sasrec.safetensors", "--out", "@out.safetensors")
	ids := make([]string, 30)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	write(t, filepath.Join(dir, "ids.txt"), []byte(strings.Join(ids, "\n")+"\n"))
	table, _ := runs(t, dir, "recommender", "evaluate", "--data", "@data", "--recommender", "@sasrec.safetensors")
	bring := []string{"recommender", "import", "--data", "@data", "@out.safetensors"}
	for out, more := range map[string][]string{"@1.safetensors": nil, "@2.safetensors": {"--item-ids", "@ids.txt"}} {
		again, stderr := runs(t, dir, with(bring, with(more, "--out", out)...)...)
		contains(t, stderr, "SASRec of the layout authors, 30 items, states of 16 numbers")
		if again != table {
			t.Errorf("imported it ranks\n%s\nbefore\n%s", again, table)
		}
	}
	for _, over := range [][]string{with(bring, "--out", "@1.safetensors"),
		{"recommender", "export", "--recommender", "@1.safetensors", "--out", "@1.safetensors"},
		{"recommender", "states", "--data", "@data", "--recommender", "@1.safetensors", "--out", "@data/items.tsv"}} {
		fails(t, 1, []string{"is there already", "choose another --out"}, dir, over...)
	}
	// Turned round, no item is what it was.
	slices.Reverse(ids)
	write(t, filepath.Join(dir, "ids.txt"), []byte(strings.Join(ids, "\n")))
	if again, _ := runs(t, dir, with(bring, "--item-ids", "@ids.txt", "--out", "@3.safetensors")...); again == table {
		t.Error("the order of --item-ids changes nothing")
	}
	for name, c := range map[string]struct {
		ids  string
		says []string
	}{
		"twice":   {"1\n2\n1\n", []string{"lines 1 and 3", `item id, "1"`}},
		"missing": {"1\n2\n", []string{`no line with the item id "0" (The Silent Harbour)`}},
	} {
		write(t, filepath.Join(dir, "ids.txt"), []byte(c.ids))
		t.Log(name)
		fails(t, 1, c.says, dir, with(bring, "--item-ids", "@ids.txt", "--out", "@4.safetensors")...)
	}
}

// A recommender that reads times is trained, measured, exported, imported and written to states; a
// history of items alone is refused.
func TestTimesCommands(t *testing.T) {
	dir := tinyCopy(t, "data")
	runs(t, dir, "recommender", "train", "--data", "@data", "--model", "hstu", "--times", "--out", "@hstu.safetensors", "--width", "16",
		"--batch", "16", "--epochs", "1")
	of := []string{"--data", "@data", "--recommender", "@hstu.safetensors"}
	table, _ := runs(t, dir, with([]string{"recommender", "evaluate"}, of...)...)
	runs(t, dir, "recommender", "export", "--recommender", "@hstu.safetensors", "--out", "@out.safetensors")
	if again, _ := runs(t, dir, "recommender", "import", "--data", "@data", "--out", "@in.safetensors", "@out.safetensors"); again != table {
		t.Errorf("imported it ranks\n%s\nbefore\n%s", again, table)
	}
	runs(t, dir, with([]string{"recommender", "states", "--out", "@states.parquet"}, of...)...)
	checked, _ := runs(t, dir, "states", "check", "--data", "@data", "@states.parquet")
	contains(t, checked, "states of 16 numbers")
	fails(t, 1, []string{"reads the times of items", "recint recommender states"}, dir, with([]string{"recommender", "recommend", "--user", "103"}, of...)...)
}

func TestImportRefusesAPickle(t *testing.T) {
	dir := tinyCopy(t, "data")
	if err := os.WriteFile(filepath.Join(dir, "model.pth"), []byte("PK\x03\x04…"), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, 1, []string{"never read here", "import torch, safetensors.torch", "safetensors.torch.save_file"}, dir,
		"recommender", "import", "--data", "@data", "--out", "@in.safetensors", "@model.pth")
}

func TestExplainCommand(t *testing.T) {
	dir := tinyCopy(t, "data", "sasrec.safetensors")
	of := []string{"explain", "--data", "@data", "--recommender", "@sasrec.safetensors"}
	var x explained
	parses(t, &x, dir, with(of, "--user", "103", "--json")...)
	if len(x.History) != 10 || len(x.Before) != 1 || len(x.Changes) == 0 || len(x.After) != 1 || x.Before[0] == x.After[0] {
		t.Errorf("%+v", x)
	}
	stdout, _ := runs(t, dir, with(of, "--user", "103")...)
	contains(t, stdout, "the recommender names "+x.Before[0], strings.Join(x.Changes, " and ")+" it would name "+x.After[0])
	stdout, _ = runs(t, dir, with(of, "--samples", "3")...)
	contains(t, stdout, "top", "median ms", "10 ")
	fails(t, 2, []string{"--user", "--samples"}, dir, with(of, "--user", "103", "--samples", "3")...)
	fails(t, 2, []string{"--top"}, dir, with(of, "--user", "103", "--top", "0")...)
	runs(t, dir, "recommender", "train", "--data", "@data", "--model", "dreamrec", "--out", "@dreamrec.safetensors", "--width", "16", "--batch", "16",
		"--epochs", "1", "--steps", "20")
	fails(t, 1, []string{"oracle"}, dir, "explain", "--data", "@data", "--recommender", "@dreamrec.safetensors", "--user", "103")
}
