package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

func recommenderCommand() *cli.Command {
	d := recommender.DefaultSASRec(1)
	return &cli.Command{
		Name:  "recommender",
		Usage: "train sequential recommenders and measure them",
		Subcommands: []*cli.Command{
			{
				Name:  "train",
				Usage: "train a recommender; the same command goes on after an interruption",
				Description: "Sequences are split by time 8:1:1. The weights of the epoch with the best HR@10 on validation are kept.\n" +
					"Beside FILE.safetensors lie FILE.log.jsonl, one line for each epoch, and while it trains FILE.checkpoint.safetensors.",
				Flags: []cli.Flag{
					dataFlag(),
					&cli.StringFlag{Name: "model", Value: "sasrec", Usage: "`MODEL`: sasrec"},
					&cli.StringFlag{Name: "out", Usage: "write the weights to `FILE`.safetensors (required)"},
					&cli.IntFlag{Name: "epochs", Value: d.MaxEpochs, Usage: "at most `N`"},
					&cli.IntFlag{Name: "patience", Value: d.Patience, Usage: "stop after `N` epochs without a better one"},
					&cli.IntFlag{Name: "width", Value: d.Width, Usage: "`NUMBERS` in a state"},
					&cli.IntFlag{Name: "blocks", Value: d.Blocks, Usage: "attention `BLOCKS`"},
					&cli.IntFlag{Name: "heads", Value: d.Heads, Usage: "`HEADS` of each block"},
					&cli.Float64Flag{Name: "dropout", Value: d.Dropout, Usage: "`PROBABILITY` of dropping a number while training"},
					&cli.Float64Flag{Name: "learning-rate", Value: d.LearningRate, Usage: "`RATE` of AdamW"},
					&cli.IntFlag{Name: "batch", Value: d.BatchSize, Usage: "`SEQUENCES` of one step"},
					&cli.Uint64Flag{Name: "seed", Value: d.Seed, Usage: "`NUMBER` that all random numbers follow from"},
					jsonFlag,
				},
				Action: recommenderTrain,
			},
			{
				Name:  "evaluate",
				Usage: "rank the next item of held-out sequences among the whole catalogue",
				Flags: []cli.Flag{
					dataFlag(),
					&cli.StringFlag{Name: "recommender", Usage: "its weights, `FILE`.safetensors (required)"},
					jsonFlag,
				},
				Action: recommenderEvaluate,
			},
		},
	}
}

// loadSplit opens a data set and splits it as everything here does.
func loadSplit(c *cli.Context) (*dataset.Dataset, dataset.Split, error) {
	dir, err := datasetPath(c, c.String("data"))
	if err != nil {
		return nil, dataset.Split{}, err
	}
	d, err := dataset.Load(dir)
	if err != nil {
		return nil, dataset.Split{}, err
	}
	split, err := dataset.SplitChronological(d, dataset.DefaultProtocol())
	return d, split, err
}

func recommenderTrain(c *cli.Context) (err error) {
	if err := onlyFlags(c, "out"); err != nil {
		return err
	}
	if c.String("model") != "sasrec" {
		return usage(c, "no model is called %q; known is sasrec", c.String("model"))
	}
	d, split, err := loadSplit(c)
	if err != nil {
		return err
	}
	config := recommender.DefaultSASRec(len(d.Items))
	config.MaxEpochs, config.Patience, config.Width = c.Int("epochs"), c.Int("patience"), c.Int("width")
	config.Blocks, config.Heads, config.BatchSize = c.Int("blocks"), c.Int("heads"), c.Int("batch")
	config.Dropout, config.LearningRate, config.Seed = c.Float64("dropout"), c.Float64("learning-rate"), c.Uint64("seed")
	if err := config.Validate(); err != nil { // before an earlier run's log is emptied
		return err
	}

	out := c.String("out")
	stem := strings.TrimSuffix(out, ".safetensors")
	if err := os.MkdirAll(filepath.Dir(out), 0o777); err != nil {
		return fmt.Errorf("the folder of %s cannot be made: %w; choose one that you may write to", out, err)
	}
	checkpoint := stem + ".checkpoint.safetensors"
	mode := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if exists(checkpoint) {
		mode = os.O_CREATE | os.O_WRONLY | os.O_APPEND
		fmt.Fprintf(c.App.ErrWriter, "going on from %s\n", checkpoint)
	}
	log, err := os.OpenFile(stem+".log.jsonl", mode, 0o666)
	if err != nil {
		return fmt.Errorf("the log cannot be written: %w; choose a folder that you may write to", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return withEngine(c, func(engine *cgo.Engine) error {
		bar := newProgress(c.App.ErrWriter, "training SASRec")
		r, err := recommender.Train(c.Context, engine, config, split, recommender.Options{
			Dataset: d.Hash(), CheckpointPath: checkpoint, Log: log,
			Progress: func(p recommender.Progress) {
				detail := fmt.Sprintf("steps, epoch %d of at most %d, loss %.3f", p.Epoch, p.MaxEpochs, p.Loss)
				if p.Best != nil {
					detail += fmt.Sprintf(", best validation HR@10 %.4f (epoch %d)", p.Best.HR10, p.Best.Epoch)
				}
				bar.to((p.Epoch-1)*p.Steps+p.Step, p.MaxEpochs*p.Steps, detail)
			},
		})
		bar.end()
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.Save(out); err != nil {
			return err
		}
		if err := os.Remove(checkpoint); err != nil {
			return err
		}
		fmt.Fprintf(c.App.ErrWriter, "weights of epoch %d: %s\n", r.Origin().Epoch, out)
		return showRanking(c, r, split)
	})
}

func recommenderEvaluate(c *cli.Context) error {
	if err := onlyFlags(c, "recommender"); err != nil {
		return err
	}
	d, split, err := loadSplit(c)
	if err != nil {
		return err
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		r, err := recommender.Load(engine, c.String("recommender"))
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.TrainedOn(d); err != nil {
			return err
		}
		return showRanking(c, r, split)
	})
}

// showRanking measures a recommender on the held-out parts.
func showRanking(c *cli.Context, r *recommender.Recommender, split dataset.Split) error {
	type part struct {
		name      string
		sequences []dataset.Sequence
		metrics   recommender.Metrics
	}
	parts := []part{{name: "validation", sequences: split.Validation}, {name: "test", sequences: split.Test}}
	for i := range parts {
		bar := newProgress(c.App.ErrWriter, "ranking "+parts[i].name)
		var err error
		parts[i].metrics, err = recommender.Evaluate(c.Context, r, parts[i].sequences,
			func(done, total int) { bar.to(done, total, "sequences") })
		bar.end()
		if err != nil {
			return err
		}
	}
	if c.Bool("json") {
		return printJSON(c, map[string]recommender.Metrics{"validation": parts[0].metrics, "test": parts[1].metrics})
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\tn\tHR@1\tHR@5\tHR@10\t95 % interval\tHR@20\tNDCG@10\tMRR\t\n")
	for _, p := range parts {
		m := p.metrics
		fmt.Fprintf(w, "%s\t%d\t%.4f\t%.4f\t%.4f\t%.4f–%.4f\t%.4f\t%.4f\t%.4f\t\n", p.name, m.N, m.HR[1], m.HR[5], m.HR[10],
			m.CI[0], m.CI[1], m.HR[20], m.NDCG[10], m.MRR)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(c.App.Writer, "ranked among all items of the catalogue; ties count half\n")
	return err
}
