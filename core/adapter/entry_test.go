package adapter

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Files with the names of before still load, and are written with the names of today.
func TestKind_oldNames(t *testing.T) {
	for was, want := range map[string]string{"dictionary": "memory", "recall": "retrieval", "mlp": "mlp", "x": "x"} {
		var kind Kind
		if err := json.Unmarshal([]byte(`"`+was+`"`), &kind); err != nil {
			t.Fatal(err)
		}
		if now, err := json.Marshal(kind); err != nil || string(now) != `"`+want+`"` {
			t.Errorf("%s: read and written again as %s, want %q; %v", was, now, want, err)
		}
		if kind.Known() != (want != "x") {
			t.Errorf("%s: known: %t", kind, kind.Known())
		}
	}
}

func TestLabel(t *testing.T) {
	for kind, want := range map[Kind]string{"memory": "memory (lookup)", "retrieval": "retrieval (lookup)", "mlp": "mlp"} {
		if got := kind.Label(); got != want {
			t.Errorf("%s is labelled %q, want %q", kind, got, want)
		}
	}
}

// Lookups refuse a large catalogue and name a kind that does not.
func TestSuits(t *testing.T) {
	for _, kind := range Kinds {
		for items, fits := range map[int]bool{dataset.LargeCatalogue: true, dataset.LargeCatalogue + 1: !kind.Entry().Entries} {
			err := kind.Suits(items)
			if (err == nil) != fits || err != nil && (!strings.Contains(err.Error(), "20001 items") || !strings.Contains(err.Error(), "choose mlp")) {
				t.Errorf("%s, %d items: %v", kind, items, err)
			}
		}
	}
}
