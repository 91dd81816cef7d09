package judge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

func cases(n int) (all []Case) {
	for i := range n {
		all = append(all, Case{ID: fmt.Sprint(i), History: []string{"Heat", "Kolya"}, Oracle: fmt.Sprintf("Oracle %d", i),
			Item: fmt.Sprintf("Item %d", i)})
	}
	return all
}

// scripted is a judge that says what a function says.
type scripted func(question string) (Reply, error)

func (s scripted) Name() string                                          { return "scripted" }
func (s scripted) Ask(_ context.Context, question string) (Reply, error) { return s(question) }

// prefers answers with the number in front of what starts with a word.
func prefers(word string) scripted {
	return func(question string) (Reply, error) {
		number := "2"
		if strings.Contains(question, "1: "+word) {
			number = "1"
		}
		return Reply{Text: number + ".", Tokens: 10}, nil
	}
}

func TestCompare_counts(t *testing.T) {
	always1 := scripted(func(string) (Reply, error) { return Reply{Text: "1", Tokens: 7}, nil })
	silent := scripted(func(string) (Reply, error) { return Reply{}, nil })
	for name, c := range map[string]struct {
		judge                               Judge
		win, tie, loss, preferred, first    int
		verdicts, consistent, both, unclear int
	}{
		"oracle": {prefers("Oracle"), 20, 1, 0, 40, 20, 40, 20, 20, 0},
		"item":   {prefers("Item"), 0, 1, 20, 0, 20, 40, 20, 20, 0},
		"first":  {always1, 0, 21, 0, 20, 40, 40, 0, 20, 0},
		"silent": {silent, 0, 21, 0, 0, 0, 0, 0, 0, 40},
	} {
		all := cases(20)
		all = append(all, Case{ID: "same", History: []string{"Heat"}, Oracle: "kolya", Item: "Kolya"})
		r, err := Compare(t.Context(), all, c.judge, Options{Parallel: 4})
		if err != nil {
			t.Fatal(err)
		}
		if r.Win.Hits != c.win || r.Tie.Hits != c.tie || r.Loss.Hits != c.loss || r.Win.N != 21 || r.Same != 1 || r.Unclear != c.unclear ||
			r.Preferred.Hits != c.preferred || r.Preferred.N != c.verdicts || r.First != evaluate.NewShare(c.first, c.verdicts) ||
			r.Consistent != evaluate.NewShare(c.consistent, c.both) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestVerdict(t *testing.T) {
	for reply, want := range map[string]int{"1": 1, " 2.\n": 2, "Option 1": 1, "**2**": 2, "": 0, "neither": 0, "1 or 2": 0, "12": 0, "11": 0,
		"1. Heat": 1, "3": 0, "Terminator 2: Judgment Day": 0, "1. Toy Story 2": 1, "1: 12 Angry Men": 1, "The answer is 2.": 2, "2 and 1": 0,
		"My choice would be option 1": 1} {
		if got := verdict(reply); got != want {
			t.Errorf("%q: %d, want %d", reply, got, want)
		}
	}
	titles := []string{"1 Night in Paris", "2 Fast 2 Furious", "12 Angry Men", "2"}
	for reply, want := range map[string]int{"2 Fast 2 Furious": 0, "2 fast 2 furious.": 0, "I choose 2 Fast 2 Furious": 0, "1: 2 Fast 2 Furious": 1,
		"1 Night in Paris": 0, "2": 2, "The answer is 2 (1 Night in Paris)": 2, "\\boxed{2 Fast 2 Furious}": 0} {
		if got := verdict(reply, titles...); got != want {
			t.Errorf("%q among titles with numbers: %d, want %d", reply, got, want)
		}
	}
}

// Stopped anywhere, killed within a line or out of tokens, a comparison continues and asks nothing
// twice.
func TestCompare_resumes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "judge.jsonl")
	all := cases(30)
	var mu sync.Mutex
	asked := map[string]int{}
	left := 13
	judge := scripted(func(question string) (Reply, error) {
		mu.Lock()
		defer mu.Unlock()
		if left == 0 {
			return Reply{}, errors.New("unplugged")
		}
		left--
		asked[question]++
		return prefers("Oracle")(question)
	})
	opts := Options{Path: path, Label: "a", Parallel: 3}
	if _, err := Compare(t.Context(), all, judge, opts); err == nil || !strings.Contains(err.Error(), "unplugged") {
		t.Fatalf("error %v", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "\n"); n != 1+13 {
		t.Fatalf("%d lines, want the header and 13", n)
	}
	torn := strings.LastIndexByte(strings.TrimSuffix(string(data), "\n"), '\n') + 9
	if err := os.WriteFile(path, data[:torn], 0o644); err != nil { // the last reply is lost, no other
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "continues it") {
		t.Errorf("read before its end: %v", err)
	}
	left = 1000
	opts.Budget = 300
	if _, err := Compare(t.Context(), all, judge, opts); !errors.Is(err, ErrBudget) || !strings.Contains(err.Error(), "of 300") {
		t.Fatalf("error %v", err)
	}
	opts.Budget = 0
	result, err := Compare(t.Context(), all, judge, opts)
	if err != nil {
		t.Fatal(err)
	}
	if result.Win.Hits != 30 || result.Tokens != 600 {
		t.Errorf("%+v", result)
	}
	twice := 0
	for _, n := range asked {
		twice += n - 1
	}
	if len(asked) != 60 || twice != 1 {
		t.Errorf("%d questions, %d of them again", len(asked), twice)
	}
	if read, err := Read(path); err != nil || *read != *result {
		t.Errorf("read: %+v, %v", read, err)
	}
	never := scripted(func(string) (Reply, error) { return Reply{}, errors.New("asked again") })
	if again, err := Compare(t.Context(), all, never, opts); err != nil || *again != *result {
		t.Errorf("from the file alone: %+v, %v", again, err)
	}
	for name, change := range map[string]func(){
		"other label": func() { opts.Label = "b" },
		"other cases": func() { opts.Label = "a"; all[3].Oracle = "Else" },
	} {
		change()
		if _, err := Compare(t.Context(), all, never, opts); err == nil || !strings.Contains(err.Error(), "move the file away") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestCompare_stops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	judge := scripted(func(question string) (Reply, error) {
		if n++; n == 4 {
			cancel()
		}
		return prefers("Item")(question)
	})
	if _, err := Compare(ctx, cases(10), judge, Options{}); !errors.Is(err, context.Canceled) || n > 6 {
		t.Errorf("%d questions, error %v", n, err)
	}
	if _, err := Compare(t.Context(), nil, judge, Options{}); err == nil {
		t.Error("nothing to compare")
	}
	if _, err := Compare(t.Context(), append(cases(1), cases(1)...), judge, Options{}); err == nil || !strings.Contains(err.Error(), `"0"`) {
		t.Errorf("a case twice: %v", err)
	}
	if _, err := Compare(t.Context(), cases(1), judge, Options{Path: filepath.Join(t.TempDir(), "absent", "file")}); err == nil ||
		!strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("no place for the file: %v", err)
	}
}

// After the budget or a failure no question begins, but answers under way are awaited and kept.
func TestCompare_keepsWhatIsUnderWay(t *testing.T) {
	for name, c := range map[string]struct {
		budget int
		broken bool
		want   string
	}{"budget": {10, false, "budget"}, "failure": {0, true, "unplugged"}} {
		path := filepath.Join(t.TempDir(), "judge.jsonl")
		var n atomic.Int32
		waiting := make(chan struct{})
		judge := patient(func(ctx context.Context, question string) (Reply, error) {
			switch n.Add(1) {
			case 1: // until others are under way
				<-waiting
				if c.broken {
					return Reply{}, errors.New("unplugged")
				}
			case 3:
				close(waiting)
				time.Sleep(20 * time.Millisecond)
			default:
				<-waiting
				time.Sleep(20 * time.Millisecond)
			}
			if ctx.Err() != nil {
				t.Errorf("%s: a question under way is cancelled", name)
			}
			return prefers("Oracle")(question)
		})
		if _, err := Compare(t.Context(), cases(20), judge, Options{Path: path, Parallel: 3, Budget: c.budget}); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Fatalf("%s: error %v", name, err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kept := int(n.Load())
		if c.broken {
			kept--
		}
		if lines := strings.Count(string(data), "\n"); lines != 1+kept || kept > 6 {
			t.Errorf("%s: %d questions begun, %d lines", name, n.Load(), lines)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "of 40 replies") {
			t.Errorf("%s: read as %v", name, err)
		}
	}
}

// patient is a judge that looks at its context.
type patient func(ctx context.Context, question string) (Reply, error)

func (patient) Name() string                                              { return "patient" }
func (p patient) Ask(ctx context.Context, question string) (Reply, error) { return p(ctx, question) }

func TestCompare_otherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(path, []byte("somebody's notes"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Compare(t.Context(), cases(1), prefers("Oracle"), Options{Path: path}); err == nil ||
		!strings.Contains(err.Error(), "a header is expected") {
		t.Errorf("error %v", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "somebody's notes" {
		t.Errorf("the file is %q now", data)
	}
}

func TestBootstrap(t *testing.T) {
	split, clear := make([][2]int, 100), make([][2]int, 100)
	for i := range split {
		split[i], clear[i] = [2]int{2, 1}, [2]int{2, 2 * (i % 2)}
	}
	if low, high := bootstrap(split); low != 0.5 || high != 0.5 {
		t.Errorf("always one each: %g to %g", low, high)
	}
	// 100 coins: 0.5 ± 1.96·0.05.
	if low, high := bootstrap(clear); math.Abs(low-0.402) > 0.02 || math.Abs(high-0.598) > 0.02 {
		t.Errorf("one half of the cases: %g to %g", low, high)
	}
}
