package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// From DreamRec's training to its oracles in words.
func TestOracle(t *testing.T) {
	dir := tinyCopy(t, "data", "tiny.gguf", "sasrec.safetensors")
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
	contains(t, stdout, "n = 6", "adapter memory (lookup) trained on 8 samples", "are a title of the catalogue", "fits it best", "came next",
		"among the likeliest", "sanity", "95 % interval")
	contains(t, stderr, "reading oracles: 6 of 6 oracles")
	var result run.OracleResult
	parses(t, &result, dir, "oracle", "--run", "@run", "--samples", "6", "--json")
	if result.N != 6 || len(result.Oracles) != 6 || result.Oracles[0].Next == "" {
		t.Errorf("%+v", result)
	}
	truth := []string{"oracle", "--run", "@run", "--samples", "6", "--against", "@sasrec.safetensors"}
	var table control.Table
	parses(t, &table, dir, with(truth, "--json")...)
	if len(table.Rows) != 1 || table.Rows[0].Control != "title" || table.Rows[0].N != 6 { // of its items neither genres nor years are known
		t.Errorf("%+v", table)
	}
	stdout, _ = runs(t, dir, truth...)
	contains(t, stdout, "what came next, against sasrec.safetensors, n = 6", "recommendation", "McNemar")
	fails(t, 2, []string{"--against", "--samples"}, dir, "oracle", "--run", "@run", "--user", "103", "--against", "@sasrec.safetensors")
	var verdict judge.Result
	against := []string{"judge", "--run", "@run", "--against", "@sasrec.safetensors", "--samples", "5"}
	parses(t, &verdict, dir, with(against, "--llm", "@tiny.gguf", "--json")...)
	if verdict.N != 5 || verdict.Judge != "tiny.gguf" || verdict.Win.Hits+verdict.Tie.Hits+verdict.Loss.Hits != 5 || verdict.Tokens == 0 {
		t.Errorf("%+v", verdict)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"choices":[{"message":{"content":"1"}}],"usage":{"total_tokens":3}}`)
	}))
	defer server.Close()
	endpoint := with(against, "--endpoint", server.URL+"/v1", "--model", "some/judge")
	fails(t, 1, []string{"budget of tokens is spent", "continue"}, dir, with(endpoint, "--budget", "6", "--parallel", "1")...)
	stdout, _ = runs(t, dir, endpoint...)
	contains(t, stdout, "judged by some/judge", "the oracle wins", "tie", "50.53", "verdicts for the title shown first", "100.00 %", "30 tokens")
	if !exists(filepath.Join(dir, "run", "judge-5-1-sasrec-some_judge.jsonl")) {
		t.Error("no transcripts were kept")
	}
	runs(t, dir, endpoint...) // nothing is left to ask
	server.Close()
	fails(t, 1, []string{"the judge does not answer", "is a server running there?"}, dir, endpoint...)
	fails(t, 2, []string{"must begin with http://"}, dir, with(against, "--endpoint", "127.0.0.1:9", "--model", "m")...)
	runs(t, dir, "report", "@run", "--out", "@page.html")
	contains(t, read(t, filepath.Join(dir, "page.html")), "Oracles in words", "judged by some/judge", "judged by tiny.gguf", "50.53 %")
	fails(t, 2, []string{"say who judges"}, dir, against...)
	fails(t, 2, []string{"say who judges"}, dir, with(endpoint, "--llm", "@tiny.gguf")...)
	fails(t, 2, []string{"--parallel is 0"}, dir, with(endpoint, "--parallel", "0")...)
	fails(t, 2, []string{"one of --user, --history and --samples"}, dir, "oracle", "--run", "@run")
	fails(t, 2, []string{"one of --user, --history and --samples"}, dir, "oracle", "--run", "@run", "--user", "103", "--samples", "3")
	fails(t, 2, []string{"--samples is 0"}, dir, "oracle", "--run", "@run", "--samples", "0")
	fails(t, 1, []string{"SASRec draws no oracles"}, tinyCopy(t, "data", "sasrec.safetensors", "tiny.gguf", "run"), "oracle", "--run", "@run", "--user", "103")
}
