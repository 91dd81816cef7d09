package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx"
	"github.com/recinterpreter/recinterpreter/core/states"
)

func recommendCommand() *cli.Command {
	return &cli.Command{
		Name:  "recommend",
		Usage: "recommend next items",
		Description: "Never recommends items of the history. A recommender that generates oracles (vectors for the ideal next item) recommends the\n" +
			"items whose embeddings are closest to its oracle.",
		Flags: []cli.Flag{
			dataFlag(), recommenderFlag(),
			userFlag(), historyFlag(1),
			&cli.IntFlag{Name: "top", Value: 10, Usage: "number of `ITEMS` to recommend"},
			jsonFlag,
		},
		Action: recommend,
	}
}

// suggestion is one recommended item.
type suggestion struct {
	ID    string  `json:"id"`
	Title string  `json:"title"`
	Score float32 `json:"score"`
}

func recommend(c *cli.Context) error {
	if err := onlyFlags(c, "recommender"); err != nil {
		return err
	}
	if !oneOf(c, "user", "history") {
		return usage(c, "say for whom, either --user or --history")
	}
	if c.Int("top") < 1 {
		return usage(c, "--top is %d; ask for at least 1", c.Int("top"))
	}
	return withRecommender(c, func(_ *cgo.Engine, r recommender.Live, d *dataset.Dataset, _ dataset.Split) error {
		history, err := history(c, d, r.Positions())
		if err != nil {
			return err
		}
		best, err := recommender.Recommend(c.Context, r, [][]int32{history}, c.Int("top"))
		if err != nil {
			return err
		}
		suggestions := make([]suggestion, len(best[0]))
		for i, s := range best[0] {
			suggestions[i] = suggestion{d.Items[s.Item].ID, d.Items[s.Item].Title, s.Score}
		}
		titles := make([]string, len(history))
		for i, item := range history {
			titles[i] = d.Items[item].Title
		}
		if c.Bool("json") {
			return printJSON(c, map[string]any{"history": titles, "items": suggestions})
		}
		fmt.Fprintf(c.App.Writer, "after %s:\n", strings.Join(titles, ", "))
		w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "  \titem\tscore")
		for i, s := range suggestions {
			fmt.Fprintf(w, "  %d\t%s\t%.3f\n", i+1, oneLine(s.Title), s.Score)
		}
		return w.Flush()
	})
}

func statesCommand() *cli.Command {
	return &cli.Command{
		Name:  "states",
		Usage: "write the hidden states after every item of all sequences to a file",
		Description: "Writes Parquet, or safetensors if FILE ends so, with one row per state (see docs/states.md). recint align and others read the\n" +
			"file with --states instead of --recommender.",
		Flags: []cli.Flag{
			dataFlag(), recommenderFlag(),
			&cli.StringFlag{Name: "part", DefaultText: "all", Usage: "write only the sequences of this `PART`: train, validation or test"},
			&cli.BoolFlag{Name: "oracles", DisableDefaultText: true, Usage: "also write oracles (column oracle), for recommenders that generate them"},
			&cli.StringFlag{Name: "out", Usage: "write to `FILE`.parquet or .safetensors (required)"},
		},
		Action: writeStates,
	}
}

func writeStates(c *cli.Context) error {
	if err := onlyFlags(c, "recommender", "out"); err != nil {
		return err
	}
	parts := []string{"train", "validation", "test"}
	if c.IsSet("part") {
		if !slices.Contains(parts, c.String("part")) {
			return usage(c, "no part is called %q; known are train, validation, test", c.String("part"))
		}
		parts = []string{c.String("part")}
	}
	if err := newFile(c.String("out")); err != nil {
		return err
	}
	return withRecommender(c, func(_ *cgo.Engine, r recommender.Live, d *dataset.Dataset, split dataset.Split) error {
		var more []states.Extra
		if c.Bool("oracles") {
			drawing, ok := r.(*recommender.Recommender)
			if !ok || !r.Generates() {
				return fmt.Errorf("%s draws no oracles; leave --oracles out", r.Name())
			}
			more = append(more, states.Extra{Name: "oracle", Width: drawing.Config().Width,
				Compute: func(ctx context.Context, dst []float32, histories [][]int32) error {
					return drawing.Oracles(ctx, dst, histories, drawing.Config().Seed)
				}})
		}
		rows, err := states.Write(c.Context, c.String("out"), r, d, split, parts, more...)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.App.ErrWriter, "%d states of %d numbers: %s\n", rows, r.StateWidth(), c.String("out"))
		return nil
	})
}

func importCommand() *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "import weights trained by another project, or an ONNX encoder",
		ArgsUsage: "FILE.safetensors|FILE.safetensors.index.json|FILE.onnx",
		Description: "A safetensors file holds a PyTorch state dict. Its layout is recognised by the names of its tensors:\n" + layoutList() +
			"Export any other encoder to ONNX with the inputs items [B, T] and, optionally, length [B] or mask [B, T], and the outputs\n" +
			"states [B, D] or [B, T, D] and, optionally, scores [B, ids] (see docs/recommenders.md).\n" +
			"Without --item-ids, its items are those of the data set in the order of items.tsv.",
		Flags: []cli.Flag{
			dataFlag(),
			&cli.StringFlag{Name: "item-ids", Usage: "`FILE` with the original item id of each row of the item table, one per line, without the padding row"},
			&cli.StringFlag{Name: "layout", DefaultText: "by the names of the tensors",
				Usage: "`LAYOUT`: " + strings.Join(models.Layouts(), ", ")},
			&cli.IntFlag{Name: "heads", DefaultText: "2 for RecBole, else 1", Usage: "number of attention `HEADS`, which the file does not contain"},
			&cli.IntFlag{Name: "positions", DefaultText: "all that the file has, or the model's own",
				Usage: "longest history in `ITEMS` (pmixer: --maxlen; RecBole: MAX_ITEM_LIST_LENGTH; required for ONNX models of variable length)"},
			&cli.IntFlag{Name: "padding-id", Usage: "ONNX: the padding `ID`; items have the remaining ids from 0 on, in order; -1: no padding"},
			&cli.StringFlag{Name: "padding-side", Value: "right", Usage: "ONNX: padding `SIDE`, right or left"},
			&cli.StringFlag{Name: "out", Usage: "write the recommender to `FILE`.safetensors, or `FILE`.onnx for an ONNX encoder (required)"},
			jsonFlag,
		},
		Action: importWeights,
	}
}

// layoutList lists the layouts, one per line, with the models that have them.
func layoutList() string {
	var list strings.Builder
	for _, layout := range models.Layouts() {
		var having []string
		for _, e := range models.All() {
			if slices.Contains(e.LayoutNames(), layout) {
				having = append(having, e.Name)
			}
		}
		fmt.Fprintf(&list, "  %s: %s\n", layout, strings.Join(having, ", "))
	}
	return list.String()
}

func importWeights(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return usage(c, "name one file of weights to import")
	}
	if c.String("out") == "" {
		return usage(c, "--out is missing")
	}
	if err := newFile(c.String("out")); err != nil {
		return err
	}
	if onnx.Is(c.Args().First()) {
		return importONNX(c)
	}
	if c.IsSet("padding-id") || c.IsSet("padding-side") {
		return usage(c, "--padding-id and --padding-side are for ONNX; the layout of weights says both")
	}
	d, split, err := loadSplit(c)
	if err != nil {
		return err
	}
	opts := recommender.ImportOptions{Layout: c.String("layout"), Heads: c.Int("heads"), Positions: c.Int("positions"), Dataset: d.Hash(),
		Note: func(text string) { fmt.Fprintf(c.App.ErrWriter, "note: %s\n", text) }}
	ids := c.String("item-ids")
	if ids != "" {
		if opts.Places, opts.Rows, err = places(ids, d); err != nil {
			return err
		}
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		r, err := recommender.Import(engine, c.Args().First(), opts)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.TrainedOn(d); err != nil {
			return fmt.Errorf("%w; or say with --item-ids which item each row is", err)
		}
		if err := r.Save(c.String("out")); err != nil {
			return err
		}
		config := r.Config()
		fmt.Fprintf(c.App.ErrWriter, "%s of the layout %s, %d items, states of %d numbers: %s\n", config.Model, config.Layout,
			config.Items, r.StateWidth(), c.String("out"))
		rows, err := rank(c, recommender.Of(r, d), split, config.Model)
		if err != nil {
			return err
		}
		return showRanking(c, rows)
	})
}

// importONNX binds an ONNX encoder to a data set.
func importONNX(c *cli.Context) error {
	side := c.String("padding-side")
	switch {
	case !onnx.Is(c.String("out")):
		return usage(c, "--out must end in .onnx, as the model does")
	case c.IsSet("heads") || c.IsSet("layout"):
		return usage(c, "--heads and --layout are for weights; an ONNX model holds its own formulas")
	case side != "left" && side != "right":
		return usage(c, "--padding-side is %q; it must be left or right", side)
	}
	d, split, err := loadSplit(c)
	if err != nil {
		return err
	}
	opts := onnx.Options{Dataset: d.Hash(), Items: len(d.Items), Padding: c.Int("padding-id"), Left: side == "left", Positions: c.Int("positions")}
	if ids := c.String("item-ids"); ids != "" {
		if opts.Places, opts.Rows, err = places(ids, d); err != nil {
			return err
		}
	}
	out := c.String("out")
	if err := onnx.Import(c.Args().First(), out, opts); err != nil {
		return err
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		r, err := recommender.Open(engine, out)
		if err != nil {
			return err
		}
		defer r.Close()
		fmt.Fprintf(c.App.ErrWriter, "an ONNX encoder, %d items, histories of %d, states of %d numbers: %s\n", r.Catalogue(), r.Positions(),
			r.StateWidth(), out)
		rows, err := rank(c, r, split, r.Name())
		if errors.Is(err, onnx.ErrNoScores) {
			fmt.Fprintln(c.App.ErrWriter, "note: it has no output scores: its states can be put into words, and nothing can be ranked")
			return nil
		}
		if err != nil {
			return err
		}
		return showRanking(c, rows)
	})
}

// places reads original item ids, one per line, and returns the index of each item of the data set
// among them, and their number.
func places(path string, d *dataset.Dataset) (places []int, rows int, err error) {
	text, err := artifact.ReadText(path)
	if err != nil {
		return nil, 0, err
	}
	at := map[string]int{}
	all := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(text))
	for line := range strings.Lines(strings.TrimRight(all, "\n\t ")) {
		id := strings.TrimSpace(line)
		if before, twice := at[id]; twice {
			return nil, 0, fmt.Errorf("%s: lines %d and %d have the same item id, %q; each row of the table has one of its own",
				path, before+1, rows+1, id)
		}
		at[id] = rows
		rows++
	}
	places = make([]int, len(d.Items))
	for i, item := range d.Items {
		place, ok := at[item.ID]
		if !ok {
			return nil, 0, fmt.Errorf("%s has no line with the item id %q (%s) of data set %s; import a data set with the items that the "+
				"weights know", path, item.ID, item.Title, d.Name)
		}
		places[i] = place
	}
	return places, rows, nil
}

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:  "export",
		Usage: "export weights in the format of the project that they come from",
		Description: "Writes safetensors with the tensor names, shapes and row order of a PyTorch state dict: the paper authors' for weights trained\n" +
			"by recint, otherwise those of the project that the weights were imported from.",
		Flags: []cli.Flag{
			recommenderFlag(),
			&cli.StringFlag{Name: "out", Usage: "write to `FILE`.safetensors (required)"},
		},
		Action: exportWeights,
	}
}

func exportWeights(c *cli.Context) error {
	if err := onlyFlags(c, "recommender", "out"); err != nil {
		return err
	}
	if err := newFile(c.String("out")); err != nil {
		return err
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		r, err := recommender.Load(engine, c.String("recommender"))
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.Export(c.String("out")); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.App.ErrWriter, "%s as %s's project reads it: %s\n", c.String("recommender"), r.Config().Model,
			c.String("out"))
		return err
	})
}
