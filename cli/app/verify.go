package app

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/verify"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "recompute reference results of another implementation and compare every number",
		ArgsUsage: "FILE.safetensors…",
		Description: "A case is a file written by another implementation: the weights of a recommender, with inputs and outputs in\n" +
			"NAME.expected.safetensors, or a batch through an LLM. Its kind is recognised by its content. The exit code is 1 if a number is\n" +
			"outside its tolerance.",
		Flags: []cli.Flag{
			llmFlag(),
			&cli.StringFlag{Name: "out", Usage: "write the computed results to `FOLDER`/NAME.computed.safetensors"},
			jsonFlag,
		},
		Action: verifyAction,
	}
}

// verified is the result of one file.
type verified struct {
	File    string          `json:"file"`
	Figures []verify.Figure `json:"figures"`
	Error   string          `json:"error,omitempty"`
	OK      bool            `json:"ok"`
}

func verifyAction(c *cli.Context) error {
	if !c.Args().Present() {
		return usage(c, "name at least one file to verify")
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		var all []verified
		ok := true
		for _, path := range cases(c.Args().Slice()) {
			v, err := verifyFile(c, engine, path)
			if err != nil {
				return err
			}
			ok = ok && v.OK
			all = append(all, v)
			if c.Bool("json") {
				continue
			}
			if err := showVerified(c, v); err != nil {
				return err
			}
		}
		if c.Bool("json") {
			if err := printJSON(c, all); err != nil {
				return err
			}
		}
		if !ok {
			return errSaid
		}
		return nil
	})
}

// cases skips the inputs and outputs of weights that are also named, so that a whole folder can be
// given.
func cases(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		name, found := strings.CutSuffix(path, ".expected.safetensors")
		return found && slices.Contains(paths, name+".safetensors")
	})
}

// verifyFile recomputes one case; only the end of the context is an error; other failures are part
// of the result.
func verifyFile(c *cli.Context, engine *cgo.Engine, path string) (verified, error) {
	v := verified{File: path}
	opts := verify.Options{OutDir: c.String("out"), Model: func() (string, error) { return modelPath(c, c.String("llm")) }}
	figures, err := verify.Verify(c.Context, engine, path, opts)
	if c.Context.Err() != nil {
		return v, c.Context.Err()
	}
	v.Figures, v.OK = figures, err == nil
	if err != nil {
		v.Error = err.Error()
	}
	for _, f := range figures {
		v.OK = v.OK && f.OK
	}
	return v, nil
}

func showVerified(c *cli.Context, v verified) error {
	if v.Error != "" {
		_, err := fmt.Fprintf(c.App.Writer, "%s\n  FAILED  %s\n", v.File, v.Error)
		return err
	}
	fmt.Fprintln(c.App.Writer, v.File)
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  \tfigure\tcomputed\texpected\tdifference\tallowed\t")
	for _, f := range v.Figures {
		fmt.Fprintf(w, "  %s\t%s\t%.6g\t%.6g\t%.2e\t%.1e\t%s\n", word(f.OK, "ok", "FAILED"), f.Name, f.Computed, f.Expected,
			f.Difference, f.Tolerance, f.Measure)
	}
	return w.Flush()
}
