package adapter

import (
	"encoding/json"
	"testing"
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
