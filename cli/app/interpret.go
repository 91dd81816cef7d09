package app

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/states"
)

func interpretCommand() *cli.Command {
	return &cli.Command{
		Name:        "interpret",
		Subcommands: []*cli.Command{mergeAnswersCommand(), partsCommand()},
		Usage:       "describe in words what the recommender's states hold about a user",
		Description: "If the run asks for the last item, walks through the user's history: for each item, the LLM sees only the recommender's states\n" +
			"before and after it, and names the item. If the run asks about the history, the LLM sees the state after it. Only the last\n" +
			"items of a long history count, as many as the recommender takes. Answers are marked where the states are unlike the training\n" +
			"states (see recint evaluate abstention). --titles instead scores all titles of the catalogue, for the last item only, or with\n" +
			"--among those of the items that the recommender ranks highest before it: each title costs the LLM some tokens.\n" +
			"--in answers many rows: JSON lines or Parquet, each with a history (item ids), a user, or states ({\"states\": [[…], […]]} or a\n" +
			"column for each slot of the prompt), and optionally an id; or a state file, row by row. Each row gets a line of JSON in\n" +
			"--out, in order; the line of a bad row says why it is bad. Repeat the command to resume.",
		Flags: append([]cli.Flag{
			runFlag(), taskFlag(),
			userFlag(), historyFlag(2),
			&cli.StringFlag{Name: "in", Usage: "answer every row of `FILE`; -: JSON lines from standard input"},
			&cli.StringFlag{Name: "out", Usage: "with --in: write the answers to `FILE`; -: standard output"},
			&cli.StringFlag{Name: "shard", Usage: "with --in: answer only `PART` of the rows, e.g. 2/4; recint interpret merge merges the files"},
			sideBySideFlag(),
			&cli.IntFlag{Name: "titles", Usage: "list the `NUMBER` likeliest titles of the catalogue"},
			&cli.IntFlag{Name: "among", DefaultText: "all items", Usage: "with --titles: score only the last item and the `NUMBER` that the recommender ranks highest before it"},
			jsonFlag,
		}, samplingFlags()...),
		Action: interpretAction,
	}
}

// reading is the LLM's answer about one choice.
type reading struct {
	Chosen      string  `json:"chosen"`
	Said        string  `json:"said"`
	Right       bool    `json:"right"`
	Probability float64 `json:"probability"`      // of the whole answer, under the LLM
	Unlike      bool    `json:"unlike,omitempty"` // the states are unlike those of training, so that the answer means little
}

func interpretAction(c *cli.Context) error {
	if err := onlyFlags(c, "run"); err != nil {
		return err
	}
	if c.IsSet("in") || c.IsSet("out") {
		return interpretRows(c)
	}
	if !oneOf(c, "user", "history") {
		return usage(c, "say whose states to interpret, either --user or --history, or --in for many")
	}
	sampling := samplingOf(c)
	if err := sampling.Validate(); err != nil {
		return usage(c, "%w", err)
	}
	if c.IsSet("titles") && (c.Int("titles") < 1 || sampling.Temperature > 0) {
		return usage(c, "--titles lists the likeliest titles, at least 1, and draws nothing: give it no --temperature")
	}
	if c.IsSet("among") && (c.Int("among") < 1 || !c.IsSet("titles")) {
		return usage(c, "--among is %d; it must be 1 or more, and goes with --titles", c.Int("among"))
	}
	return withEngine(c, func(engine *cgo.Engine) (err error) {
		r, err := run.OpenAsking(engine, engine, c.String("run"), run.Asking{Task: c.String("task")}, interpret.Options{Sampling: sampling})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		past, err := past(c, r)
		if err != nil {
			return err
		}
		history := r.ItemsOf(past)
		if !r.Task.Last && !c.IsSet("titles") {
			return showRecovered(c, r, sampling, history, past)
		}
		if len(history) < 2 {
			return fmt.Errorf("the history has one item; a choice is read from the states before and after it, so name at least two")
		}
		if c.IsSet("titles") {
			return showTitles(c, r, history, past)
		}
		var prefixes, pasts [][]int32
		for n := 2; n <= len(history); n++ {
			prefixes, pasts = append(prefixes, history[:n]), append(pasts, past[:n])
		}
		answers, err := r.Interpret(c.Context, pasts)
		if err != nil {
			return err
		}
		unlike, err := unlikeTraining(c, r, pasts)
		if err != nil {
			return err
		}
		titles := r.Titles(history)
		readings := make([]reading, len(answers))
		for i, a := range answers {
			truth := r.Question(-1, prefixes[i]).Answer
			chosen, right := titles[i+1], !slices.Contains(r.Task.Named(a.Text, truth), false)
			if !r.Task.Title {
				chosen += ": " + strings.Join(truth, ", ")
				right = right && len(evaluate.Lines(a.Text, truth)) == len(truth)
			}
			readings[i] = reading{chosen, a.Text, right, math.Exp(a.LogProb), unlike[i]}
		}
		if c.Bool("json") {
			return printJSON(c, map[string]any{"first": titles[0], "choices": readings, "sampling": drawn(sampling)})
		}
		fmt.Fprintf(c.App.Writer, "%s, after %q:\n", whose(c), titles[0])
		w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "  read from the states\tprobability\tactual\t")
		for _, r := range readings {
			fmt.Fprintf(w, "  %s\t%.3f\t%s\t%s\n", oneLine(r.Said), r.Probability, r.Chosen,
				word(r.Right, "✓", "")+word(r.Unlike, " unlike the states of training: the answer means little", ""))
		}
		return w.Flush()
	})
}

// unlikeTraining reports for each history whether its states are unlike those that the adapter was
// trained on.
func unlikeTraining(c *cli.Context, r *run.Run, histories [][]int32) ([]bool, error) {
	unlike := make([]bool, len(histories))
	if r.Spec.Adapter.Entry().Reads == adapter.EachState {
		return unlike, nil
	}
	f, err := r.Familiarity(c.Context)
	if err != nil {
		return nil, err
	}
	states, err := r.States(c.Context, r.Source, histories)
	for i, s := range states {
		unlike[i] = f.Unlike(s)
	}
	return unlike, err
}

// drawn describes the sampling, if words were sampled.
func drawn(s interpret.Sampling) *interpret.Sampling {
	if s.Temperature == 0 {
		return nil
	}
	return &s
}

// whose names the user of the history.
func whose(c *cli.Context) string {
	if c.IsSet("user") {
		return "user " + c.String("user")
	}
	return "this history"
}

// scoredTitle is a title of the catalogue with its probability under the LLM.
type scoredTitle struct {
	Title       string  `json:"title"`
	LogProb     float64 `json:"log_prob"`
	Probability float64 `json:"probability"`
}

// sayCost says what the scores of titles take, if that is long, and what to do.
func sayCost(say func(string), advice string) func(interpret.Cost) {
	return func(c interpret.Cost) {
		if c.Time > 10*time.Second {
			say(fmt.Sprintf("scoring %d titles, %d tokens for the LLM, takes about %s%s", c.Titles, c.Tokens, c.Time.Round(time.Second), advice))
		}
	}
}

// showTitles lists the likeliest titles for the last choice, and the rank of the true one among
// those that are scored.
func showTitles(c *cli.Context, r *run.Run, history, past []int32) error {
	say := func(text string) { fmt.Fprintln(c.App.ErrWriter, text) }
	scores, err := r.Scores(c.Context, [][]int32{past}, run.Scoring{Among: c.Int("among"),
		Cost: sayCost(say, "; --among 1000 scores only what the recommender ranks highest")})
	if err != nil {
		return err
	}
	chosen := r.Data.Items[history[len(history)-1]].Title
	var titles []scoredTitle // each once
	known, place := map[string]bool{}, 0
	for _, s := range scores[0] {
		title := r.Data.Items[s.Item].Title
		if known[title] {
			continue
		}
		known[title] = true
		titles = append(titles, scoredTitle{title, s.LogProb, math.Exp(s.LogProb)})
		if title == chosen {
			place = len(titles)
		}
	}
	likeliest := titles[:min(c.Int("titles"), len(titles))]
	if c.Bool("json") {
		return printJSON(c, map[string]any{"chosen": chosen, "place": place, "of": len(titles), "titles": likeliest})
	}
	fmt.Fprintf(c.App.Writer, "%s, last choice %q: place %d of %d titles\n", whose(c), chosen, place, len(titles))
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  title\tprobability\tlog p\t")
	for _, t := range likeliest {
		fmt.Fprintf(w, "  %s\t%.3g\t%.2f\t%s\n", oneLine(t.Title), t.Probability, t.LogProb, word(t.Title == chosen, "✓", ""))
	}
	return w.Flush()
}

// showRecovered lists the titles that the LLM reads from the state after a history, next to the
// true ones.
func showRecovered(c *cli.Context, r *run.Run, sampling interpret.Sampling, history, past []int32) error {
	user := int32(-1)
	if c.IsSet("user") {
		if known, ok := r.Data.User(c.String("user")); ok {
			user = known
		}
	}
	q := r.Question(user, history)
	past = past[len(past)-len(q.History):]
	answers, err := r.Interpret(c.Context, [][]int32{past})
	if err != nil {
		return err
	}
	unlike, err := unlikeTraining(c, r, [][]int32{past})
	if err != nil {
		return err
	}
	titles := q.Answer
	lines := evaluate.Lines(answers[0].Text, titles)
	if c.Bool("json") {
		return printJSON(c, map[string]any{"history": titles, "said": lines, "probability": math.Exp(answers[0].LogProb), "unlike": unlike[0],
			"sampling": drawn(sampling)})
	}
	fmt.Fprintf(c.App.Writer, "%s:%s\n", whose(c), word(unlike[0], " (the state is unlike those of training: the answer means little)", ""))
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  read from the state\t\tactual")
	for i := range max(len(titles), len(lines)) {
		var line evaluate.Line
		var truth string
		if i < len(lines) {
			line = lines[i]
		}
		if i < len(titles) {
			truth = titles[i]
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", oneLine(line.Text), word(line.Right, "✓", ""), truth)
	}
	return w.Flush()
}

// oneLine prepares an LLM's text for a table on a terminal: its lines with commas between, without
// tabs and control characters.
func oneLine(text string) string {
	printable := func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(text, "\uFFFD")) {
		if words := strings.Fields(strings.Map(printable, line)); len(words) > 0 {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	return strings.Join(lines, ", ")
}

// past returns the history that the flags name, in the form that the run's source of states takes.
func past(c *cli.Context, r *run.Run) ([]int32, error) {
	if !c.IsSet("history") {
		return r.Latest(c.String("user"))
	}
	if r.Live == nil {
		return nil, states.ErrUnknownHistory
	}
	return r.Data.Catalogue().ParseHistory(c.String("history"))
}

func userFlag() cli.Flag {
	return &cli.StringFlag{Name: "user", Usage: "a user `ID` of the data set"}
}

// historyFlag is the flag of a history for commands that need a number of items.
func historyFlag(least int) cli.Flag {
	usage := "`TITLES` separated by commas, oldest first"
	if least > 1 {
		usage += ", at least two"
	}
	return &cli.StringFlag{Name: "history", Usage: usage}
}

// oneOf reports whether exactly one of the flags is given.
func oneOf(c *cli.Context, names ...string) bool {
	given := 0
	for _, name := range names {
		if c.IsSet(name) {
			given++
		}
	}
	return given == 1
}

// history gives the items that the flags name, at most the last `most` of them.
func history(c *cli.Context, d *dataset.Dataset, most int) ([]int32, error) {
	if c.IsSet("history") {
		return d.Catalogue().ParseHistory(c.String("history"))
	}
	if len(d.Users) == 0 {
		return nil, fmt.Errorf("data set %s came as sequences and names no users; give --history", d.Name)
	}
	user, ok := d.User(c.String("user"))
	if !ok {
		return nil, fmt.Errorf("data set %s has no user %q; its users are %s to %s", d.Name, c.String("user"), d.Users[0],
			d.Users[len(d.Users)-1])
	}
	return d.History(user, most), nil
}
