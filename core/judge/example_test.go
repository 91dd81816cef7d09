package judge_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/judge"
)

// first is a judge that prefers the item that it sees first.
type first struct{}

func (first) Name() string { return "first" }

func (first) Ask(context.Context, string) (judge.Reply, error) { return judge.Reply{Text: "1"}, nil }

// The judge sees every case in both orders, which exposes a judge that prefers a place.
func Example() {
	dir, err := os.MkdirTemp("", "judge")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cases := []judge.Case{
		{ID: "1", History: []string{"Alien", "Aliens"}, Oracle: "Alien 3", Item: "Fargo"},
		{ID: "2", History: []string{"Heat", "Casino"}, Oracle: "Goodfellas", Item: "Bambi"},
	}
	fmt.Println(strings.Contains(cases[0].Question(judge.OracleFirst), "Alien 3"))
	result, err := judge.Compare(context.Background(), cases, first{}, judge.Options{Path: filepath.Join(dir, "judged.jsonl"),
		Against: "SASRec"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("preferred %.0f %%, first place %.0f %%, consistent %.0f %%\n", 100*result.Preferred.Value, 100*result.First.Value,
		100*result.Consistent.Value)
	// Output:
	// true
	// preferred 50 %, first place 100 %, consistent 0 %
}
