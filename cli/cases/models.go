package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
)

// modelCases are about weights of recommenders, GGUFs, and JSON files next to them.
var modelCases = map[string]check{
	"ckpt-bool-buffer":      func(c *Case) { importWeights(c) },
	"ckpt-f64":              func(c *Case) { importWeights(c) },
	"ckpt-prefix-model":     func(c *Case) { c.Says(importWeights(c).Stderr, `"model."`) },
	"ckpt-prefix-module":    func(c *Case) { c.Says(importWeights(c).Stderr, `"module."`) },
	"ckpt-pmixer-maxlen-50": func(c *Case) { importWeights(c, "--positions", "50") },
	"ckpt-gru-with-bias": func(c *Case) {
		importWeights(c)
		got := c.OK("recommender", "recommend", "--data", "../small", "--recommender", weights(c), "--user", "3", "--top", "4", "--json").Stdout
		last := -1
		for _, item := range []string{"127", "130", "119", "139"} { // in this order
			at := strings.Index(got, `"`+item+`"`)
			if at <= last {
				c.Errorf("item %s is not where it belongs in %s", item, got)
			}
			last = at
		}
	},
	"gguf-no-bos-token": func(c *Case) {
		first, _, _ := strings.Cut(strings.TrimLeft(c.OK(c.Args()...).Stdout, "\n"), "\n")
		if strings.Contains(first, `"\v"`) {
			c.Errorf("the prompt begins with %s", first)
		}
	},
	"gguf-rope-yarn": func(c *Case) {
		c.Refuses([]string{"models", "info", "m.gguf"}, "yarn")
		c.Refuses(plan(c, "m.gguf"), "yarn")
	},
	"gguf-split-both": func(c *Case) {
		c.OK("models", "info", "m-00002-of-00002.gguf")
		c.OK(plan(c, "m-00001-of-00002.gguf")...)
	},
	"prompt-bom": func(c *Case) { c.OK(append(c.Args(), "--llm", "../gguf-no-bos-token/m.gguf")...) },
	"small-data": func(c *Case) {
		c.OK("data", "import", "events-39.csv", "--items", "items-39.csv", "--to", "OUT")
		c.Refuses([]string{"recommender", "import", "../ckpt-f64/w.safetensors", "--data", c.Out(), "--item-ids", "ids-pad.txt",
			"--out", weights(c)}, "one too many; is the first one padding?")
	},
	"bench": func(c *Case) {
		compare := func(after string, more ...string) string {
			return c.OK(append([]string{"bench", "compare"}, append(more, "before.json", after)...)...).Stdout
		}
		c.Says(compare("after-llm.json"), "a.gguf", "other.gguf", "ml-100k", "ml-1m")
		c.Says(compare("after-cpu.json"), "machine.cpu")
		c.Says(compare("before-two.json"), "train, recovery")
		c.Says(compare("unfinished.json"), "unfinished")
		if text := compare("zero.json", "--json"); !json.Valid([]byte(text)) {
			c.Errorf("no JSON: %s", text)
		}
	},
}

// weights is where a case imports weights to.
func weights(c *Case) string { return filepath.Join(c.Temp, "weights.safetensors") }

// importWeights runs the command in the READMEs of checkpoints.
func importWeights(c *Case, more ...string) Result {
	return c.OK(append([]string{"recommender", "import", "w.safetensors", "--data", "../small", "--item-ids", "../small-data/ids.txt",
		"--out", weights(c)}, more...)...)
}

// recommenderOf trains a small recommender on the small data set and gives its path.
func recommenderOf(c *Case) string {
	path := filepath.Join(c.Temp, "small.safetensors")
	c.OK("recommender", "train", "--data", "../small", "--width", "8", "--epochs", "1", "--out", path)
	return path
}

func plan(c *Case, llm string) []string {
	return []string{"plan", "--data", "../small", "--recommender", recommenderOf(c), "--llm", llm, "--samples", "64"}
}
