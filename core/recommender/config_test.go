package recommender

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

func TestValidateNamesTheField(t *testing.T) {
	for _, model := range models.Names() {
		if err := defaultOf(t, model, 1682).Validate(); err != nil {
			t.Fatal(err)
		}
	}
	for field, change := range map[string]func(*Config){
		"items": func(c *Config) { c.Items = 0 }, "width": func(c *Config) { c.Width = -1 },
		"positions": func(c *Config) { c.Positions = 0 }, "blocks": func(c *Config) { c.Settings["blocks"] = 65 },
		"heads": func(c *Config) { c.Settings["heads"] = 3 }, "batch_size": func(c *Config) { c.BatchSize = 0 },
		"max_epochs": func(c *Config) { c.MaxEpochs = 0 }, "patience": func(c *Config) { c.Patience = 0 },
		"dropout": func(c *Config) { c.Dropout = 1 }, "learning_rate": func(c *Config) { c.LearningRate = math.NaN() },
		"weight_decay": func(c *Config) { c.WeightDecay = -1 }, "max_norm": func(c *Config) { c.MaxNorm = math.Inf(1) },
		`"GRU"`: func(c *Config) { c.Model = "GRU" }, `"mine"`: func(c *Config) { c.Layout = "mine" },
		"inner": func(c *Config) { c.Settings["inner"] = -1 }, "negatives": func(c *Config) { c.Negatives = -1 },
		"calibration 0.5 is of a loss": func(c *Config) { c.Calibration = 0.5 },
		"0 to 1":                       func(c *Config) { c.Negatives, c.Calibration = 4, 1.5 },
		"half the width":               func(c *Config) { c.Settings["rotary"], c.Width = true, 5 },
		"norm_first is true; it must be false in the layout recbole": func(c *Config) { c.Settings["norm_first"], c.Layout = true, models.RecBole },
		"hidden": func(c *Config) { c.Model, c.Settings["layers"] = models.GRU4Rec, 1 }, "layers": func(c *Config) { c.Model, c.Settings["hidden"] = models.GRU4Rec, 1 },
		"heights": func(c *Config) { c.Model = models.Caser }, "each 1 to the number of positions, 10": func(c *Config) {
			*c, _ = Default(models.Caser, 1)
			c.Settings["heights"] = []int{11}
		},
		"diffusion": func(c *Config) { c.Model = models.DreamRec }, "even": func(c *Config) { dream(c, "heads", 1); c.Width = 5 },
		"neither negatives": func(c *Config) { dream(c, "heads", 1); c.Negatives = 1 },
		`"steep"`:           func(c *Config) { dream(c, "diffusion.schedule", "steep") },
		`"mlp3"`:            func(c *Config) { dream(c, "diffusion.denoiser", "mlp3") },
		"steps":             func(c *Config) { dream(c, "diffusion.steps", 1) },
		"ddim_steps":        func(c *Config) { dream(c, "diffusion.ddim_steps", 201) },
		"drop":              func(c *Config) { dream(c, "diffusion.drop", 1.0) },
		"strength":          func(c *Config) { dream(c, "diffusion.strength", math.NaN()) },
	} {
		c := defaultOf(t, models.SASRec, 1682)
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func defaultOf(t *testing.T, model string, items int) Config {
	t.Helper()
	c, err := Default(model, items)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dream makes it a DreamRec's configuration with another value of a setting.
func dream(c *Config, name string, value any) {
	*c, _ = Default(models.DreamRec, 12)
	c.Settings[name] = value
}

func TestParseConfig(t *testing.T) {
	for _, model := range models.Names() {
		want := defaultOf(t, model, 7)
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseConfig(string(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := Default("GRU", 7); err == nil || !strings.Contains(err.Error(), "GRU4Rec") {
		t.Errorf("an unknown model: %v", err)
	}
	for _, bad := range []string{"", "{", `{"itemz":3}`, `{} {}`, `{"items":"3"}`} {
		if _, err := parseConfig(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// What is read as a configuration and found valid can be built, whatever it says; nothing else is
// let through.
func FuzzConfig(f *testing.F) {
	for _, model := range models.Names() {
		c, err := Default(model, 7)
		if err != nil {
			f.Fatal(err)
		}
		text, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`{"model":"DreamRec","items":1,"width":4,"positions":1,"blocks":1,"heads":1,"diffusion":{"steps":2,"schedule":"sqrt","denoiser":"mlp2"}}`)
	f.Add(`{"model":"Caser","heights":[1,-1]}`)
	f.Add(`{"model":"SASRec","items":3,"width":6,"positions":2,"blocks":2,"heads":3,"rotary":true,"norm_first":true}`)
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { engine.Close() })
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConfig(text)
		if err != nil || c.Validate() != nil {
			return
		}
		if c.Items > 1000 || c.Width > 64 || c.Positions > 64 {
			t.Skip("too large for a test")
		}
		for _, name := range []string{"inner", "hidden", "horizontal", "vertical"} {
			if c.Settings.Int(name) > 64 {
				t.Skip("too large for a test")
			}
		}
		model, err := c.build(engine)
		if err != nil {
			t.Fatalf("valid, but it cannot be built: %v", err)
		}
		model.Close()
	})
}
