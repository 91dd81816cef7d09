package app

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestFlagsForward(t *testing.T) {
	for given, want := range map[string]string{
		"recint":                                    "recint",
		"recint verify a b --out d --json":          "recint verify --out d --json a b",
		"recint verify a --out=d b":                 "recint verify --out=d a b",
		"recint --threads 2 verify a --json":        "recint --threads 2 verify --json a",
		"recint models info a --json":               "recint models info --json a",
		"recint verify a -- --json":                 "recint verify -- a --json",
		"recint verify a --out":                     "recint verify --out a", // the library says what is missing
		"recint verify a --unknown b":               "recint verify --unknown a b",
		"recint nothing a --json":                   "recint nothing a --json",
		"recint align --minutes 2 --out x extra":    "recint align --minutes 2 --out x extra",
		"recint verify a b --backend cpu --json":    "recint --backend cpu verify --json a b",
		"recint help":                               "recint --help",
		"recint help evaluate merge":                "recint evaluate merge --help",
		"recint data help import":                   "recint data import --help",
		"recint verify help":                        "recint verify help",
		"recint --threads 2 verify a --backend=cpu": "recint --backend=cpu --threads 2 verify a",
	} {
		got := flagsForward(New(io.Discard, io.Discard), strings.Fields(given))
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s became %q, want %s", given, got, want)
		}
	}
}
