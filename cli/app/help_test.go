package app

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// Every command's help names the command and its flags. The table holds facts: values, defaults,
// files and requirements; prose may change.
func TestHelp(t *testing.T) {
	says := map[string][]string{
		"":                      {"arXiv 2310.20487", "recint [global options] command", "--backend", "--threads"},
		"data":                  {"fetch", "stats"},
		"data fetch":            {"ml-100k"},
		"data import":           {"docs/data.md", "leave-one-out", "(required)"},
		"data stats":            {"ml-100k"},
		"models":                {"fetch", "info", "synthesize"},
		"models fetch":          {"smollm2-135m"},
		"models info":           {"FILE.gguf"},
		"models synthesize":     {"llama-7b, llama-2-7b, tinyllama-1.1b, smollm2-135m", "(required)", "default: \"bf16\""},
		"recommender":           {"train", "evaluate", "recommend", "states", "import", "export"},
		"recommender train":     {"HR@10", "FILE.log.jsonl", "(required)", "default: 64", "gru4rec", "caser", "sasrec", "dreamrec"},
		"recommender evaluate":  {"(required)"},
		"recommender recommend": {"--history", "--user"},
		"recommender states":    {"docs/states.md", "train, validation or test", "(required)"},
		"recommender import":    {"pmixer-norm-first", "(required)"},
		"recommender export":    {"(required)"},
		"probe":                 {"linear", "(or give --states)"},
		"states check":          {"FOLDER", "position"},
		"prompt show":           {"residual-varied", "{before}"},
		"plan":                  {"(or give --states)", "default: 1024"},
		"align":                 {"residual-varied", "linear", "mixture", "bf16", "run.json", "adapter.safetensors", "(required)", "default: 1024"},
		"adapter":               {"info", "export"},
		"adapter info":          {"(required)"},
		"adapter export":        {"nn.Sequential", "(required)"},
		"evaluate":              {"residual", "recovery", "merge", "--run"},
		"evaluate controls":     {"--beside", "(required)"},
		"evaluate merge":        {"SHARD.jsonl…", "(required)"},
		"evaluate recovery":     {"recovery-N-SEED.jsonl", "shard-2-of-4.jsonl"},
		"evaluate residual":     {"default: all", "residual-N-SEED.jsonl", "128"},
		"edit":                  {"--toward", "genres=Horror", "(required)"},
		"evaluate abstention":   {"Mahalanobis", "(required)"},
		"evaluate edits":        {"--items", "(required)"},
		"explain":               {"--user", "--samples", "(required)"},
		"oracle":                {"(required)"},
		"judge":                 {"OPENAI_API_KEY", "judge-N-SEED-AGAINST-NAME.jsonl", "(required)", "default: 100"},
		"serve":                 {"NAME=FOLDER", "docs/serving.md", "SIGHUP", "RECINT_API_KEYS", "127.0.0.1:8080"},
		"report":                {"RUN…", "FILE.json", "(required)"},
		"reproduce":             {"table.md", "30m", "(required)"},
		"verify":                {"FILE.safetensors…", "NAME.expected.safetensors", "NAME.computed.safetensors"},
		"bench":                 {"bench/README.md", "compare", "page"},
		"bench encoder":         {"pytorch, onnxruntime, llamacpp or all", "batch, length, threads", "FILE.png or .svg", "markdown, json, jsonl, csv", "$PYTHON"},
		"bench adapter":         {"batch, threads"},
		"bench train":           {"batch, threads", "default: 5"},
		"bench generate":        {"batch, length, threads"},
		"bench compare":         {"BEFORE.json AFTER.json"},
		"bench page":            {"RESULT.json…", "(required)"},
		"completion":            {"bash", "fish", "zsh"},
		"completion bash":       {".bashrc"},
		"completion fish":       {"config/fish/completions"},
		"completion zsh":        {".zshrc", "compinit"},
	}
	var walk func(path []string, commands []*cli.Command)
	walk = func(path []string, commands []*cli.Command) {
		for _, c := range commands {
			path := append(slices.Clone(path), c.Name)
			name := strings.Join(path, " ")
			stdout, stderr := runs(t, "", append(path, "--help")...)
			contains(t, stdout, append(says[name], c.Usage, "recint "+name)...)
			for _, f := range c.Flags {
				contains(t, stdout, "--"+f.Names()[0])
			}
			if short, _ := runs(t, "", append(path, "-h")...); short != stdout || stderr != "" {
				t.Errorf("recint %s -h says something else than --help, or stderr holds %q", name, stderr)
			}
			delete(says, name)
			walk(path, c.Subcommands)
		}
	}
	walk(nil, New(nil, nil).Commands)
	for _, args := range [][]string{nil, {"--help"}, {"-h"}} {
		stdout, _ := runs(t, "", args...)
		contains(t, stdout, says[""]...)
	}
	long, _ := runs(t, "", "evaluate", "merge", "--help")
	for _, args := range []string{"help evaluate merge", "evaluate help merge"} {
		if stdout, _ := runs(t, "", strings.Fields(args)...); stdout != long {
			t.Errorf("recint %s prints\n%s", args, stdout)
		}
	}
	if len(says) != 1 {
		t.Errorf("rows without a command: %v", says)
	}
	stdout, _ := runs(t, "", "data")
	contains(t, stdout, "fetch", "stats")
}

// A command line that cannot be understood ends with exit code 2 and says where help is; nothing is
// written to stdout.
func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		says []string
	}{
		{"fry", []string{`there is no command "fry"`, "see recint --help"}},
		{"alin", []string{`there is no command "alin" here (Did you mean "align"?)`}},
		{"align --recomender x", []string{"there is no flag --recomender (Did you mean --recommender?)"}},
		{"prompt --run x", []string{"there is no flag --run;"}},
		{"--help fry", []string{"fry"}},
		{"data fry", []string{`there is no command "fry"`, "see recint data --help"}},
		{"evaluate fry", []string{`there is no command "fry"`, "see recint evaluate --help"}},
		{"--fry", []string{"-fry", "see recint --help"}},
		{"--threads many doctor", []string{`"many"`, "-threads", "see recint --help"}},
		{"doctor --fry", []string{"-fry", "see recint doctor --help"}},
		{"data stats --fry", []string{"-fry", "see recint data stats --help"}},
		{"align --samples many", []string{`"many"`, "-samples", "see recint align --help"}},
		{"data stats fry", []string{`what is "fry"?`, "see recint data stats --help"}},
		{"version fry", []string{`what is "fry"?`, "see recint version --help"}},
		{"doctor fry", []string{`what is "fry"?`, "see recint doctor --help"}},
		{"recommender train fry", []string{`what is "fry"?`, "see recint recommender train --help"}},
		{"recommender evaluate fry", []string{`what is "fry"?`, "see recint recommender evaluate --help"}},
		{"align fry", []string{`what is "fry"?`, "see recint align --help"}},
		{"evaluate residual fry", []string{`what is "fry"?`, "see recint evaluate residual --help"}},
		{"interpret fry", []string{`what is "fry"?`, "see recint interpret --help"}},
		{"recommender train", []string{"--out is missing", "see recint recommender train --help"}},
		{"recommender evaluate", []string{"--recommender is missing"}},
		{"recommender train --out x.safetensors --model gru", []string{`no model is called "gru"; known are gru4rec`}},
		{"probe", []string{"either --recommender or --states", "see recint probe --help"}},
		{"probe fry", []string{`what is "fry"?`, "see recint probe --help"}},
		{"align", []string{"--out is missing"}},
		{"align --out y", []string{"either --recommender or --states"}},
		{"align --recommender x --out y", []string{"either --minutes or --samples"}},
		{"align --recommender x --out y --minutes 1 --samples 1", []string{"either --minutes or --samples"}},
		{"recommender train --out x.safetensors --model bert4rec --all-positions", []string{"BERT4Rec has no --all-positions"}},
		{"recommender train --out x.safetensors --model gru4rec --heads 2", []string{"GRU4Rec has no --heads"}},
		{"recommender recommend --recommender x", []string{"either --user or --history"}},
		{"recommender recommend --recommender x --user 1 --top 0", []string{"--top is 0"}},
		{"recommender states --recommender x", []string{"--out is missing"}},
		{"recommender states --recommender x --out y --part rest", []string{`no part is called "rest"`}},
		{"recommender import --out x", []string{"name one file of weights"}},
		{"recommender import x", []string{"--out is missing"}},
		{"evaluate residual", []string{"--run is missing"}},
		{"evaluate residual --run x --samples -1", []string{"--samples is -1", "1 or more"}},
		{"evaluate residual --run x --side-by-side 1021", []string{"--side-by-side is 1021", "1 to 1020"}},
		{"interpret", []string{"--run is missing"}},
		{"interpret --run x", []string{"either --user or --history"}},
		{"interpret --run x --user 1 --history y", []string{"either --user or --history"}},
		{"verify", []string{"name at least one file", "see recint verify --help"}},
		{"models info", []string{"name one GGUF file", "see recint models info --help"}},
		{"models info x y", []string{"name one GGUF file"}},
		{"models synthesize", []string{"--like is missing", "see recint models synthesize --help"}},
		{"models synthesize --like llama-7b", []string{"--out is missing"}},
		{"models synthesize --like llama-8b --out x", []string{`no shape and no file "llama-8b"`, "known are llama-7b, llama-2-7b"}},
		{"models synthesize --like llama-7b --out x --type q4_1", []string{`no type "q4_1"`, "f32, f16 or bf16"}},
		{"models fetch llama", []string{"known are smollm2-135m and onnxruntime", "see recint models fetch --help"}},
		{"data fetch", []string{"known is ml-100k", "see recint data fetch --help"}},
		{"align --recommender a --llm b --data c --out d --minutes 0", []string{"must be above 0"}},
		{"plan --recommender a --llm b --data c --minutes 1 --precision f16", []string{`no precision is called "f16"`, `"f32" and "bf16"`}},
		{"plan --recommender a --llm b --data c --minutes 1 --adapter cnn", []string{`no adapter kind is called "cnn"`, `"linear"`}},
		{"plan --recommender a --llm b --data c --minutes 1 --batch 0", []string{"--batch is 0; it must be 1 to"}},
		{"plan --recommender a --llm b --data c --minutes 1 --pass-positions -1", []string{"--pass-positions is -1"}},
		{"plan --recommender a --llm b --data c --minutes 1 --patience 2 --validate-every 0", []string{"--patience is 2"}},
	} {
		fails(t, 2, c.says, "", strings.Fields(c.args)...)
	}
}

func TestVersion(t *testing.T) {
	var v struct{ Recint, Llama_cpp_commit, Ggml, Go string }
	parses(t, &v, "", "version", "--json")
	if v.Recint != Version || len(v.Llama_cpp_commit) != 40 || v.Ggml == "" || !strings.HasPrefix(v.Go, "go") {
		t.Errorf("%+v", v)
	}
	stdout, stderr := runs(t, "", "version")
	contains(t, stdout, "recint "+Version, v.Llama_cpp_commit[:12], v.Ggml, v.Go)
	if strings.Count(stdout, "\n") != 1 || stderr != "" {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
}

func TestDoctor(t *testing.T) {
	var f facts
	parses(t, &f, "", "doctor", "--json")
	if f.Version != Version || f.System.CPUs < 1 || len(f.System.Devices) < 1 || f.System.Devices[0].MemoryTotal <= 0 {
		t.Errorf("%+v", f)
	}
	lacks := strings.Join(f.Missing, "\n")
	contains(t, lacks, "recint data fetch ml-100k", "recint models fetch smollm2-135m")
	if f.Engine == nil || f.Engine.Backend != "cpu" || f.Engine.Threads != 1 {
		t.Errorf("computes on %+v", f.Engine)
	}
	stdout, _ := runs(t, "", "doctor")
	contains(t, stdout, append(f.Missing, "cpu: "+f.Engine.Device, Version, f.System.LlamaCommit, f.System.Compiler, "backend cpu", f.Home)...)
}

// What the flags ask for and is not there is something that is missing.
func TestDoctorWithoutBackend(t *testing.T) {
	var f facts
	parses(t, &f, "", "--backend", "abacus", "doctor", "--json")
	if f.Engine != nil || !strings.Contains(strings.Join(f.Missing, "\n"), "no abacus backend was found") {
		t.Errorf("%+v", f)
	}
	f = facts{}
	parses(t, &f, "", "--backend", "auto", "--strict-device", "doctor", "--json")
	switch missing := strings.Join(f.Missing, "\n"); {
	case f.Engine != nil && f.Engine.Backend == "cpu":
		t.Error("the CPU stands in for a GPU")
	case f.Engine == nil && !strings.Contains(missing, "lets no CPU stand in for it"):
		t.Error(missing)
	}
}

// parses runs a command and reads what it writes to stdout as one JSON value without unknown keys.
func parses(t *testing.T, value any, dir string, args ...string) {
	t.Helper()
	stdout, _ := runs(t, dir, args...)
	decoder := json.NewDecoder(strings.NewReader(stdout))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil || decoder.More() {
		t.Fatalf("recint %v: %v in\n%s", args, err, stdout)
	}
}
