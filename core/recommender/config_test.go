package recommender

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestValidateNamesTheField(t *testing.T) {
	if err := DefaultSASRec(1682).Validate(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Config){
		"items": func(c *Config) { c.Items = 0 }, "width": func(c *Config) { c.Width = -1 },
		"positions": func(c *Config) { c.Positions = 0 }, "blocks": func(c *Config) { c.Blocks = 65 },
		"heads": func(c *Config) { c.Heads = 3 }, "batch_size": func(c *Config) { c.BatchSize = 0 },
		"max_epochs": func(c *Config) { c.MaxEpochs = 0 }, "patience": func(c *Config) { c.Patience = 0 },
		"dropout": func(c *Config) { c.Dropout = 1 }, "learning_rate": func(c *Config) { c.LearningRate = math.NaN() },
		"weight_decay": func(c *Config) { c.WeightDecay = -1 }, "max_norm": func(c *Config) { c.MaxNorm = math.Inf(1) },
		`"GRU"`: func(c *Config) { c.Model = "GRU" },
	} {
		c := DefaultSASRec(1682)
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestParseConfig(t *testing.T) {
	want := DefaultSASRec(7)
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseConfig(string(text)); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "{", `{"itemz":3}`, `{} {}`, `{"items":"3"}`} {
		if _, err := parseConfig(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
