package app

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/gguf"
)

func synthesizeCommand() *cli.Command {
	return &cli.Command{
		Name:  "synthesize",
		Usage: "write an LLM of a known shape with random weights, for speed tests without a download",
		Description: "The model produces noise; it is for throughput and memory only. It takes tokenizer and chat template from another model and\n" +
			"drops the rarest tokens if the shape's vocabulary is smaller.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "like", Usage: "the `SHAPE`: " + strings.Join(shapeNames(), ", ") + ", or a GGUF file's (required)"},
			&cli.StringFlag{Name: "type", Value: "bf16", Usage: "`TYPE` of the matrices: f32, f16 or bf16"},
			&cli.StringFlag{Name: "tokenizer", Value: smollm2, Usage: "take the tokenizer from a GGUF `FILE`, or from " + smollm2},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "random `SEED` of the weights; the same seed gives the same file"},
			&cli.BoolFlag{Name: "empty", DisableDefaultText: true, Usage: "leave all weights zero, which takes no room: for recint plan before a download"},
			&cli.StringFlag{Name: "out", Usage: "write `FILE`.gguf (required)"},
		},
		Action: synthesize,
	}
}

func shapeNames() (names []string) {
	for _, shape := range gguf.Known {
		names = append(names, shape.Name)
	}
	return names
}

func synthesize(c *cli.Context) error {
	if err := onlyFlags(c, "like", "out"); err != nil {
		return err
	}
	kind, err := gguf.ParseType(c.String("type"))
	if err != nil {
		return usage(c, "%v", err)
	}
	shape, err := llmShape(c)
	if err != nil {
		return err
	}
	out := c.String("out")
	if err := newFile(out); err != nil {
		return err
	}
	tokenizer, err := modelPath(c, c.String("tokenizer"))
	if err != nil {
		return err
	}
	keys, err := gguf.Tokenizer(tokenizer)
	if err != nil {
		return err
	}
	file, err := shape.Random(kind, c.Uint64("seed"), keys)
	if err != nil {
		return err
	}
	size, err := file.Size()
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "%s: %.1f million random weights in %s, %.2f GB\n", shape.Name, float64(file.Weights())/1e6, kind,
		float64(size)/1e9)
	p := newProgress(c.App.ErrWriter, "writing")
	defer p.end()
	const mega = 1_000_000
	if c.Bool("empty") {
		err = file.SaveEmpty(out)
	} else {
		err = file.Save(c.Context, out, func(done, total int64) { p.to(int(done/mega), int(total/mega), "MB") })
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, out)
	return err
}

// llmShape is the shape of --like.
func llmShape(c *cli.Context) (gguf.LLM, error) {
	like := c.String("like")
	for _, shape := range gguf.Known {
		if shape.Name == like {
			return shape, nil
		}
	}
	if !exists(like) {
		return gguf.LLM{}, usage(c, "there is no shape and no file %q; known are %s", like, strings.Join(shapeNames(), ", "))
	}
	model, _, err := openModel(c, like)
	if err != nil {
		return gguf.LLM{}, err
	}
	defer model.Close()
	return gguf.Like(model)
}
