package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/judge/local"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/reproduce"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// judgeKey is the environment variable with the key of an endpoint.
const judgeKey = "OPENAI_API_KEY"

func judgeCommand() *cli.Command {
	return &cli.Command{
		Name:  "judge",
		Usage: "let an LLM judge oracles against another recommender's top recommendations",
		Description: "Shows the judge a history of the test split, the oracle in words, and the top recommendation of another recommender, and\n" +
			"asks which the user would choose next. Asks about every pair in both orders, because judges prefer a position. The judge is\n" +
			"an OpenAI-compatible endpoint (--endpoint and --model; the key is read from " + judgeKey + "), or a GGUF file on this\n" +
			"machine (--llm). Replies are stored in the run's folder, in judge-N-SEED-AGAINST-NAME.jsonl. Repeat the command to resume.",
		Flags: append([]cli.Flag{
			runFlag(),
			&cli.StringFlag{Name: "against", Usage: "the other recommender's weights, `FILE`.safetensors (required)"},
			&cli.IntFlag{Name: "samples", Value: 100, Usage: "use `N` random test sequences"},
			oracleSeed,
			&cli.StringFlag{Name: "llm", Usage: "judge with this GGUF `FILE`, or smollm2-135m, instead of an endpoint"},
			&cli.IntFlag{Name: "parallel", Value: 4, Usage: "send up to `QUESTIONS` at the same time"},
			&cli.IntFlag{Name: "budget", DefaultText: "no limit", Usage: "stop asking once the replies have used `TOKENS` tokens"},
			jsonFlag,
		}, endpointFlags()...),
		Action: judgeAction,
	}
}

// endpointFlags are the flags of a judge on another server.
func endpointFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "endpoint", Usage: "`URL` of an OpenAI-compatible API that judges, e.g. http://127.0.0.1:8000/v1"},
		&cli.StringFlag{Name: "model", Usage: "`NAME` of the judge's model at the endpoint"},
		&cli.Float64Flag{Name: "temperature", Usage: "sampling `TEMPERATURE`, 0 to 2; omitted if the endpoint refuses it"},
		&cli.Float64Flag{Name: "per-minute", DefaultText: "no limit", Usage: "ask the endpoint at most `QUESTIONS` per minute"},
	}
}

func judgeAction(c *cli.Context) error {
	if err := onlyFlags(c, "run", "against"); err != nil {
		return err
	}
	if c.IsSet("endpoint") == c.IsSet("llm") || c.IsSet("endpoint") != c.IsSet("model") {
		return usage(c, "say who judges: either --endpoint with --model, or --llm")
	}
	for _, name := range []string{"samples", "parallel"} {
		if c.Int(name) < 1 {
			return usage(c, "--%s is %d; it must be 1 or more", name, c.Int(name))
		}
	}
	if c.Int("budget") < 0 || c.Float64("per-minute") < 0 {
		return usage(c, "--budget and --per-minute cannot be negative")
	}
	if c.IsSet("endpoint") { // before oracles are read for minutes
		if err := tryEndpoint(c); err != nil {
			return err
		}
	}
	return withEngine(c, func(engine *cgo.Engine) (err error) {
		cases, label, err := judgeCases(c, engine)
		if err != nil {
			return err
		}
		j, closeJudge, err := openJudge(c, engine)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeJudge()) }()
		against := strings.TrimSuffix(filepath.Base(c.String("against")), ".safetensors")
		path := run.JudgedPath(c.String("run"), c.Int("samples"), c.Uint64("seed"), against, j.Name())
		bar := newProgress(c.App.ErrWriter, "judging")
		result, err := judge.Compare(c.Context, cases, j, judge.Options{
			Path: path, Label: label, Against: against, Parallel: c.Int("parallel"), Budget: c.Int("budget"),
			Progress: func(done, total int) { bar.to(done, total, "questions") },
		})
		bar.end()
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(c, result)
		}
		return showJudgement(c, result)
	})
}

// endpoint makes the judge of endpointFlags.
func endpoint(c *cli.Context) (*judge.Endpoint, error) {
	return judge.NewEndpoint(judge.EndpointParams{URL: c.String("endpoint"), Model: c.String("model"), Key: os.Getenv(judgeKey),
		PerMinute: c.Float64("per-minute"), Temperature: c.Float64("temperature")})
}

// tryEndpoint asks the judge an easy question, to find a wrong address, key or model early.
func tryEndpoint(c *cli.Context) error {
	e, err := endpoint(c)
	if err != nil {
		return usage(c, "%v", err)
	}
	return judge.Probe(c.Context, e, c.Int("budget") > 0)
}

// judgeCases pairs the run's oracles with the other recommender's choices.
func judgeCases(c *cli.Context, engine *cgo.Engine) (cases []judge.Case, label string, err error) {
	r, err := run.Open(engine, c.String("run"), interpret.Options{Slots: 64})
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	other, err := recommender.Load(engine, c.String("against"))
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, other.Close()) }()
	oracles, err := testOracles(c, r)
	if err != nil {
		return nil, "", err
	}
	cases, err = reproduce.Cases(c.Context, r, oracles, other)
	return cases, fmt.Sprintf("%s, against %s", oracles.Label, other.Hash()), err
}

// openJudge makes the judge that the flags name, and returns a function that releases it.
func openJudge(c *cli.Context, engine *cgo.Engine) (judge.Judge, func() error, error) {
	if c.IsSet("endpoint") {
		e, err := endpoint(c)
		return e, func() error { return nil }, err
	}
	path, err := modelPath(c, c.String("llm"))
	if err != nil {
		return nil, nil, err
	}
	gguf, err := cgo.OpenGGUF(path)
	if err != nil {
		return nil, nil, err
	}
	l, err := local.New(engine, gguf, filepath.Base(path))
	if err != nil {
		return nil, nil, errors.Join(err, gguf.Close())
	}
	return l, func() error { return errors.Join(l.Close(), gguf.Close()) }, nil
}

func showJudgement(c *cli.Context, r *judge.Result) error {
	fmt.Fprintf(c.App.Writer, "oracles against the first recommendations of %s, n = %d, judged by %s in both orders\n", r.Against, r.N, r.Judge)
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\t\t95 % interval\t")
	for _, line := range []struct {
		what  string
		share evaluate.Share
		note  string
	}{
		{"the oracle wins", r.Win, "preferred in both orders"},
		{"tie", r.Tie, fmt.Sprintf("%d of them with two equal titles, which are not asked about", r.Same)},
		{"the recommendation wins", r.Loss, ""},
		{"verdicts for the oracle", r.Preferred, "the paper, on MovieLens: 50.53 %"},
		{"verdicts for the title shown first", r.First, "half of them if the place does not count"},
		{"the same verdict in both orders", r.Consistent, "never, if the judge looks at the place alone"},
	} {
		fmt.Fprintf(w, "%s\t%.2f %%\t%.2f–%.2f\t%s\n", line.what, 100*line.share.Value, 100*line.share.Low, 100*line.share.High, line.note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.App.Writer, "%d replies without a verdict, %d tokens\n", r.Unclear, r.Tokens)
	return err
}
