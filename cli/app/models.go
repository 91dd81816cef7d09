package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/fetch"
)

func modelsCommand() *cli.Command {
	return &cli.Command{
		Name:  "models",
		Usage: "fetch and describe LLMs, or write random ones for speed tests",
		Subcommands: []*cli.Command{
			{
				Name:      "fetch",
				Usage:     "download an LLM, or the library that runs ONNX encoders, and show its licence",
				ArgsUsage: smollm2 + "|" + onnxRuntime,
				Flags:     []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "write it to `FOLDER` (default: recint's own folder)"}},
				Action: func(c *cli.Context) error {
					take := map[string]func(context.Context, string, io.Writer) (string, error){smollm2: fetch.SmolLM2, onnxRuntime: fetch.ONNXRuntime}[c.Args().First()]
					if c.Args().Len() != 1 || take == nil {
						return usage(c, "name what to fetch; known are %s and %s", smollm2, onnxRuntime)
					}
					if dir := c.String("dir"); dir != "" {
						_, err := take(c.Context, dir, c.App.Writer)
						return err
					}
					dir, err := home()
					if err != nil {
						return err
					}
					path, err := take(c.Context, filepath.Join(dir, "models"), c.App.ErrWriter)
					if err == nil {
						fmt.Fprintln(c.App.Writer, path)
					}
					return err
				},
			},
			{
				Name:      "info",
				Usage:     "describe a GGUF file and say whether adapters can be trained through it",
				ArgsUsage: "FILE.gguf",
				Flags:     []cli.Flag{jsonFlag},
				Action:    modelInfo,
			},
			synthesizeCommand(),
		},
	}
}

// openModel opens the GGUF with a name or at a path. The caller closes it.
func openModel(c *cli.Context, name string) (gguf *cgo.GGUF, path string, err error) {
	if path, err = modelPath(c, name); err != nil {
		return nil, "", err
	}
	gguf, err = cgo.OpenGGUF(path)
	return gguf, path, err
}

func modelInfo(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return usage(c, "name one GGUF file, or %s", smollm2)
	}
	gguf, path, err := openModel(c, c.Args().First())
	if err != nil {
		return err
	}
	defer gguf.Close()
	i, err := gguf.Describe()
	if err != nil {
		return err
	}
	unusable := gguf.CheckTraining()
	if unusable != nil {
		unusable = fmt.Errorf("align refuses this model: %w", unusable)
	}
	if c.Bool("json") {
		return errors.Join(printJSON(c, i), unusable)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "model\t%s\n", strings.TrimSpace(i.Name+" "+path))
	fmt.Fprintf(w, "architecture\t%s\n", i.Architecture)
	fmt.Fprintf(w, "weights\t%.1f million, mostly %s, %.1f MB\n", float64(i.Parameters)/1e6, i.FileType, float64(i.Bytes)/1e6)
	fmt.Fprintf(w, "layers\t%d, %d wide, feed-forward %d\n", i.Layers, i.Embd, i.FF)
	fmt.Fprintf(w, "attention\t%d heads of %d, %d for keys and values\n", i.Heads, i.HeadDim, i.HeadsKV)
	fmt.Fprintf(w, "vocabulary\t%d tokens, %s, chat template %s\n", i.Vocab, word(i.TiedHead, "head tied to it", "own head"),
		word(i.ChatTemplate, "present", word(i.OddTemplate, "present, but llama.cpp cannot apply it: prompts are written without it", "absent")))
	fmt.Fprintf(w, "context\t%d positions%s, RoPE base %g\n", i.Context,
		word(i.Context < i.ContextNamed, fmt.Sprintf(" can be used of the file's %d", i.ContextNamed), ""), i.RopeBase)
	fmt.Fprintf(w, "RMS of an embedding\t%.4f\n", i.EmbdRMS)
	return errors.Join(w.Flush(), unusable)
}

func word(yes bool, ifYes, ifNo string) string {
	if yes {
		return ifYes
	}
	return ifNo
}
