package judge

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// Case is one comparison.
type Case struct {
	ID      string   // unique in the comparison
	History []string // titles, oldest first
	Oracle  string   // the oracle in words
	Item    string   // the title it is compared with
}

// Judge answers questions; it must be safe for concurrent use.
type Judge interface {
	Name() string
	Ask(ctx context.Context, question string) (Reply, error)
}

// Reply is an answer and its cost.
type Reply struct {
	Text   string
	Tokens int // of question and answer together; 0 where the judge does not say
}

// Options are how a comparison is run.
type Options struct {
	Path     string // transcripts as JSON lines; a comparison that was interrupted continues from them
	Label    string // identifies the comparison; a file of another label is refused
	Against  string // the name of what the oracles are compared with
	Parallel int    // questions under way at once; 0: 1
	Budget   int    // tokens after which no question is begun; 0: no limit
	Progress func(done, total int)
}

// ErrBudget is the error of a comparison that ended because its tokens are spent.
var ErrBudget = errors.New("the budget of tokens is spent")

// The orders in which a pair is shown.
const (
	OracleFirst = "oracle first"
	ItemFirst   = "item first"
)

// Result is the result of a comparison.
type Result struct {
	Judge      string         `json:"judge"`
	Against    string         `json:"against"`
	Label      string         `json:"label"`
	N          int            `json:"n"`
	Win        evaluate.Share `json:"win"`        // cases in which the oracle is preferred in both orders
	Tie        evaluate.Share `json:"tie"`        // in one of them, or where there is no verdict, or both are the same
	Loss       evaluate.Share `json:"loss"`       // in neither
	Preferred  evaluate.Share `json:"preferred"`  // verdicts for the oracle, of all verdicts; the interval is a bootstrap over cases
	First      evaluate.Share `json:"first"`      // verdicts for the title shown first: half of them if place does not matter
	Consistent evaluate.Share `json:"consistent"` // cases with the same verdict in both orders, of those with two verdicts
	Same       int            `json:"same"`       // cases in which both are the same title: nothing is asked
	Unclear    int            `json:"unclear"`    // replies without a verdict
	Tokens     int            `json:"tokens"`
}

// Question is the text of a question about a case in one order.
func (c Case) Question(order string) string {
	first, second := c.Oracle, c.Item
	if order == ItemFirst {
		first, second = second, first
	}
	return "Somebody chose these, one after the other, the last one most recently:\n- " + strings.Join(c.History, "\n- ") +
		"\n\nWhich of these two would they rather choose next?\n1: " + first + "\n2: " + second + "\n\nReply with the number alone."
}

// thoughts match the text that a reasoning model writes before its answer; where its template opens
// the tag, only the end is in the reply. unfinished matches thoughts that were cut off.
var (
	thoughts = regexp.MustCompile(`(?is)^.*(?:</(?:think|thinking|thought|reasoning)>|\[/THINK\]|◁/think▷|` +
		`<\|channel\|>final(?:<\|message\|>)?)`)
	unfinished = regexp.MustCompile(`(?is)(?:<(?:think|thinking|thought|reasoning)>|\[THINK\]|◁think▷|<\|channel\|>analysis).*$`)
)

// The forms of a verdict: the number at the start of a reply, after nothing but words that announce
// it; \boxed{1}; and a sentence that names one option after a word of choice. Numbers in titles do
// not count.
var (
	startPattern    = regexp.MustCompile(`(?i)^\W*(?:(?:the|my|answer|choice|option|number|no|response|result|is|would|be)\W+)*([12])(?:\W+(and|or)\W|\W|$)`)
	bothPattern     = regexp.MustCompile(`^\W*(?:1\W+2|2\W+1)\W*$`)
	boxedPattern    = regexp.MustCompile(`(?i)\\boxed\{\W*(?:(?:text|textbf|mathbf|option|number)\W+)*([12])\b`)
	deniedPattern   = regexp.MustCompile(`(?i)(?:\bnot|n['’]t|\bnever|\bthan|\binstead of|\bover)\W+(?:\w+\W+)?$`)
	sentencePattern = regexp.MustCompile(`(?i)\b(?:option|number|answer|choice|choose|chosen|pick|select|prefer|recommend|suggest|say|` +
		`believe|think|is|be|go (?:with|for))\W+(?:(?:the|my|is|would|be|option|number|answer)\W+)*([12])\b`)
	eitherPattern = regexp.MustCompile(`(?i)^\s*(?:[,/]|or\b|and\b)\W*(?:(?:or|and|option|number)\W+)*[12]\b`) // after one option: or 2
)

// verdict reads a reply: 1, 2, or 0 where it is neither or both. The numbers in the titles that the
// question shows do not count: "2 Fast 2 Furious" names no option by its number.
func verdict(reply string, titles ...string) int {
	reply = unfinished.ReplaceAllString(thoughts.ReplaceAllString(reply, ""), "")
	for _, title := range titles {
		if len(title) > 1 && strings.ContainsAny(title, "12") {
			reply = regexp.MustCompile("(?i)"+regexp.QuoteMeta(title)).ReplaceAllString(reply, "")
		}
	}
	if bothPattern.MatchString(reply) {
		return 0
	}
	if match := startPattern.FindStringSubmatch(reply); match != nil {
		if match[2] != "" {
			return 0
		}
		return int(match[1][0] - '0')
	}
	for _, pattern := range []*regexp.Regexp{boxedPattern, sentencePattern} {
		found := map[string]bool{}
		for _, match := range pattern.FindAllStringSubmatchIndex(reply, -1) {
			if !deniedPattern.MatchString(reply[:match[0]]) {
				found[reply[match[2]:match[3]]] = true
			}
			if eitherPattern.MatchString(reply[match[3]:]) {
				return 0
			}
		}
		if found["1"] != found["2"] {
			return map[bool]int{true: 1, false: 2}[found["1"]]
		}
	}
	return 0
}

// Probe asks a question that any judge can answer, before tokens are spent on others. An error says
// why the judge is unusable; metered requires it to report the tokens of a reply.
func Probe(ctx context.Context, judge Judge, metered bool) error {
	reply, err := judge.Ask(ctx, "Which of these two words is an animal?\n1: cat\n2: stone\n\nReply with the number alone.")
	if err != nil {
		return fmt.Errorf("the judge does not answer: %w", err)
	}
	if verdict(reply.Text) == 0 {
		return fmt.Errorf("judge: %s was asked for one of two numbers and replied %.200q, in which there is no verdict; "+
			"choose another model, or tell it not to think aloud", judge.Name(), reply.Text)
	}
	if metered && reply.Tokens == 0 {
		return fmt.Errorf("judge: a budget of tokens cannot be kept: %s reports no usage; omit the budget", judge.Name())
	}
	return nil
}

// Compare asks about every case and counts the verdicts. Every reply is on disk before the next
// question is begun; after an error or ErrBudget the same call asks only the missing questions.
func Compare(ctx context.Context, cases []Case, judge Judge, opts Options) (result *Result, err error) {
	if err := check(cases); err != nil {
		return nil, err
	}
	different := 0
	for _, c := range cases {
		if !c.same() {
			different++
		}
	}
	t, err := openTranscript(opts.Path, transcriptHeader{Judge: judge.Name(), Against: opts.Against, Label: opts.Label, N: len(cases),
		Questions: 2 * different}, cases)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	var questions []question
	for _, c := range cases {
		for _, order := range []string{OracleFirst, ItemFirst} {
			if !c.same() && !t.has(c.ID, order) {
				questions = append(questions, question{c, order})
			}
		}
	}
	if err := askAll(ctx, questions, judge, t, opts); err != nil {
		if opts.Path != "" {
			err = artifact.Resumable(err)
		}
		return nil, err
	}
	return t.count(), nil
}

// titles returns all titles that the question shows.
func (c Case) titles() []string { return append(slices.Clone(c.History), c.Oracle, c.Item) }

// same reports whether both titles are the same.
func (c Case) same() bool { return evaluate.Exact(c.Oracle, c.Item) }

func check(cases []Case) error {
	if len(cases) == 0 {
		return errors.New("judge: there is nothing to compare")
	}
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.ID] || len(c.History) == 0 || c.Item == "" {
			return fmt.Errorf("judge: case %q is given twice, or has no history or no item", c.ID)
		}
		seen[c.ID] = true
	}
	return nil
}

// question is a case in one order.
type question struct {
	Case
	order string
}

// askAll asks questions side by side until all are answered, one fails, or the budget is spent. It
// waits for questions in progress, because they may be paid for.
func askAll(ctx context.Context, questions []question, judge Judge, t *transcript, opts Options) error {
	total := len(questions)
	next, stop := make(chan question), make(chan struct{})
	var mu sync.Mutex // guards failed and serialises Progress
	var failed error
	var workers sync.WaitGroup
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
			close(stop)
		}
	}
	for range max(1, opts.Parallel) {
		workers.Go(func() {
			for q := range next {
				text := q.Question(q.order)
				reply, err := judge.Ask(ctx, text)
				if err == nil {
					err = t.add(exchange{Case: q.ID, Order: q.order, Question: text, Reply: reply.Text, Verdict: verdict(reply.Text, q.titles()...),
						Tokens: reply.Tokens})
				}
				if err != nil {
					fail(fmt.Errorf("judge: case %s, %s: %w", q.ID, q.order, err))
					return
				}
				if opts.Progress != nil {
					mu.Lock()
					opts.Progress(t.answered(), total)
					mu.Unlock()
				}
			}
		})
	}
feeding:
	for _, q := range questions {
		if opts.Budget > 0 && t.tokens() >= opts.Budget {
			fail(fmt.Errorf("judge: %d of %d: %w; repeat with a higher budget to continue", t.tokens(), opts.Budget, ErrBudget))
			break
		}
		select {
		case <-stop:
			break feeding
		default:
		}
		select {
		case next <- q:
		case <-stop:
			break feeding
		case <-ctx.Done():
			fail(context.Cause(ctx))
			break feeding
		}
	}
	close(next)
	workers.Wait()
	return failed
}
