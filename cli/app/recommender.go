package app

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/ranks"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

func recommenderCommand() *cli.Command {
	return &cli.Command{
		Name:  "recommender",
		Usage: "train, evaluate and use sequential recommenders",
		Subcommands: []*cli.Command{
			{
				Name:  "train",
				Usage: "train a recommender; repeat the command to resume",
				Description: "Uses the splits of the data set and keeps the weights of the epoch with the best validation HR@10. Next to FILE.safetensors it\n" +
					"writes FILE.log.jsonl, with one line per epoch, and during training FILE.checkpoint.safetensors. The defaults depend on the\n" +
					"model and were chosen on the validation part of MovieLens-100K.",
				Flags: append([]cli.Flag{
					dataFlag(),
					&cli.StringFlag{Name: "model", Value: strings.ToLower(models.Default), Usage: "`MODEL`: " + lowered(models.Names())},
					&cli.StringFlag{Name: "out", Usage: "write the weights to `FILE`.safetensors (required)"},
					&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "random seed, a `NUMBER`"},
				}, append(settingFlags(), jsonFlag)...),
				Action: onRanks(recommenderTrain),
			},
			{
				Name:   "evaluate",
				Usage:  "rank the true next item of held-out sequences among the whole catalogue",
				Flags:  []cli.Flag{dataFlag(), recommenderFlag(), jsonFlag},
				Action: recommenderEvaluate,
			},
			recommendCommand(), statesCommand(), importCommand(), exportCommand(),
		},
	}
}

func recommenderFlag() cli.Flag {
	return &cli.StringFlag{Name: "recommender", Usage: "the recommender's weights, `FILE`.safetensors (required)"}
}

// recommenderOr is recommenderFlag for commands that also accept another flag instead.
func recommenderOr(other string) cli.Flag {
	return &cli.StringFlag{Name: "recommender", Usage: "the recommender's weights, `FILE`.safetensors (or give --" + other + ")"}
}

func statesFlag() cli.Flag {
	return &cli.PathFlag{Name: "states", Usage: "use the states of any other recommender: `FILE`.parquet, .safetensors or a folder of parts"}
}

// oneSource checks that exactly one of two flags is given, and all required ones.
func oneSource(c *cli.Context, required ...string) error {
	if err := onlyFlags(c, required...); err != nil {
		return err
	}
	if (c.String("recommender") == "") == (c.String("states") == "") {
		return usage(c, "say where states come from, either --recommender or --states")
	}
	return nil
}

// trainingFlag is a flag for a field that all recommenders have.
type trainingFlag struct {
	name, usage string
	field       func(c *recommender.Config) any // points to the field
	of          func(e models.Entry) bool       // the recommenders that have it; nil: all
}

func (f trainingFlag) has(e models.Entry) bool { return f.of == nil || f.of(e) }

// scores reports whether a recommender scores its states.
func scores(e models.Entry) bool { return e.Diffusion == nil }

// forward reports whether, in addition, no state sees later items in training.
func forward(e models.Entry) bool { return scores(e) && e.Masked == nil }

var trainingFlags = []trainingFlag{
	{"epochs", "train for at most `N` epochs", func(c *recommender.Config) any { return &c.MaxEpochs }, nil},
	{"patience", "stop after `N` epochs without a better one", func(c *recommender.Config) any { return &c.Patience }, nil},
	{"learning-rate", "learning `RATE` of AdamW", func(c *recommender.Config) any { return &c.LearningRate }, nil},
	{"weight-decay", "decoupled weight `DECAY` of matrices", func(c *recommender.Config) any { return &c.WeightDecay }, nil},
	{"dropout", "dropout `PROBABILITY`", func(c *recommender.Config) any { return &c.Dropout }, nil},
	{"batch", "`SEQUENCES` per step", func(c *recommender.Config) any { return &c.BatchSize }, nil},
	{"micro-batch", "`SEQUENCES` of a step that one rank computes at a time (0: all)", func(c *recommender.Config) any { return &c.MicroBatch }, nil},
	{"width", "embedding width, a `NUMBER`", func(c *recommender.Config) any { return &c.Width }, nil},
	{"all-positions", "train on the next item at every position, not only the last",
		func(c *recommender.Config) any { return &c.AllPositions }, forward},
	{"negatives", "binary cross-entropy with `N` sampled negatives per target, instead of the full softmax",
		func(c *recommender.Config) any { return &c.Negatives }, scores},
	{"calibration", "with --negatives: gBCE calibration `T`, 0 (none) to 1 (full)",
		func(c *recommender.Config) any { return &c.Calibration }, scores},
	{"sampled", "sampled softmax with `N` negatives per batch and log-Q correction; 0: full softmax",
		func(c *recommender.Config) any { return &c.Sampled }, scores},
}

// settingFlags are the flags of training, followed by those of the models' own settings. Their
// defaults depend on the model.
func settingFlags() []cli.Flag {
	var flags []cli.Flag
	for _, f := range trainingFlags {
		usage, values, large, having := f.usage, []any{}, []any{}, []string{}
		for _, e := range models.All() {
			if !f.has(e) {
				continue
			}
			c, _ := recommender.Default(e.Name, 1) // a model of the list has a default
			values, having = append(values, reflect.ValueOf(f.field(&c)).Elem().Interface()), append(having, e.Name)
			c, _ = recommender.Default(e.Name, dataset.LargeCatalogue+1)
			large = append(large, reflect.ValueOf(f.field(&c)).Elem().Interface())
		}
		if f.of != nil {
			usage = lowered(having) + ": " + usage
		}
		if !slices.Equal(values, large) {
			usage = fmt.Sprintf("%s; above %d items %v by default", usage, dataset.LargeCatalogue, large[0])
		}
		flags = append(flags, flagOf(f.name, usage, values))
	}
	for _, own := range ownSettings() {
		var values []any
		for _, e := range models.All() {
			if s, ok := e.Setting(own.Name); ok {
				values = append(values, s.Default)
			}
		}
		flags = append(flags, flagOf(own.Flag, lowered(own.models)+": "+own.Help, values))
	}
	return flags
}

// ownSetting is a setting with a flag, and the models that have it.
type ownSetting struct {
	models.Setting
	models []string
}

// ownSettings lists the models' settings that have flags, each once.
func ownSettings() (all []ownSetting) {
	for _, e := range models.All() {
		for _, s := range e.Settings {
			i := slices.IndexFunc(all, func(known ownSetting) bool { return known.Flag == s.Flag })
			switch {
			case s.Flag == "":
			case i < 0:
				all = append(all, ownSetting{s, []string{e.Name}})
			default:
				all[i].models = append(all[i].models, e.Name)
			}
		}
	}
	return all
}

func lowered(names []string) string { return strings.ToLower(strings.Join(names, ", ")) }

// flagOf makes a flag of the type of its values, which are the defaults of the models that have it.
func flagOf(name, usage string, values []any) cli.Flag {
	text := fmt.Sprint(values[0])
	if slices.ContainsFunc(values, func(value any) bool { return value != values[0] }) {
		text = "the model's"
	}
	switch values[0].(type) {
	case int:
		return &cli.IntFlag{Name: name, Usage: usage, DefaultText: text}
	case float64:
		return &cli.Float64Flag{Name: name, Usage: usage, DefaultText: text}
	case string:
		return &cli.StringFlag{Name: name, Usage: usage, DefaultText: text}
	}
	return &cli.BoolFlag{Name: name, Usage: usage, DisableDefaultText: true}
}

// configOf is the configuration from the flags.
func configOf(c *cli.Context, items int) (recommender.Config, error) {
	entry, ok := models.Find(c.String("model"))
	if !ok {
		return recommender.Config{}, usage(c, "no model is called %q; known are %s", c.String("model"), lowered(models.Names()))
	}
	config, err := recommender.Default(entry.Name, items)
	if err != nil {
		return config, err
	}
	config.Seed = c.Uint64("seed")
	for _, f := range trainingFlags {
		if !c.IsSet(f.name) {
			continue
		}
		if !f.has(entry) {
			return config, usage(c, "%s has no --%s", entry.Name, f.name)
		}
		reflect.ValueOf(f.field(&config)).Elem().Set(reflect.ValueOf(c.Value(f.name)))
	}
	if c.Int("negatives") > 0 && !c.IsSet("sampled") { // the other loss
		config.Sampled = 0
	}
	for _, own := range ownSettings() {
		if !c.IsSet(own.Flag) {
			continue
		}
		if !slices.Contains(own.models, entry.Name) {
			return config, usage(c, "%s has no --%s", entry.Name, own.Flag)
		}
		config.Settings[own.Name] = c.Value(own.Flag)
	}
	if err := config.Validate(); err != nil {
		return config, refused(c, err)
	}
	return config, nil
}

// loadSplit opens a data set and splits it by its own kind of split.
func loadSplit(c *cli.Context) (*dataset.Dataset, dataset.Split, error) {
	dir, err := datasetPath(c, c.String("data"))
	if err != nil {
		return nil, dataset.Split{}, err
	}
	d, err := dataset.Load(dir)
	if err != nil {
		return nil, dataset.Split{}, err
	}
	split, err := d.Split(dataset.DefaultProtocol())
	return d, split, err
}

func recommenderTrain(c *cli.Context) error {
	if err := onlyFlags(c, "out"); err != nil {
		return err
	}
	if out := c.String("out"); !strings.HasSuffix(out, ".safetensors") {
		return usage(c, "--out is %q; it must end in .safetensors", out)
	}
	if _, err := configOf(c, 1); err != nil { // before anything is loaded, or an earlier run's log is emptied
		return err
	}
	d, split, err := loadSplit(c)
	if err != nil {
		return err
	}
	config, err := configOf(c, len(d.Items))
	if err != nil {
		return err
	}

	out := c.String("out")
	stem := strings.TrimSuffix(out, ".safetensors")
	checkpoint := stem + ".checkpoint.safetensors"
	writes := ranks.Of(c.Context).Writes()
	if writes && !exists(checkpoint) {
		if err := newFile(out); err != nil {
			return err
		}
	}
	if writes {
		lock, err := artifact.Claim(out)
		if err != nil {
			return err
		}
		defer lock.Release()
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		if exists(checkpoint) {
			fmt.Fprintf(c.App.ErrWriter, "going on from %s\n", checkpoint)
		}
		bar := newProgress(c.App.ErrWriter, "training "+config.Model)
		trained, err := recommender.Train(c.Context, engine, config, split, recommender.Options{
			Dataset: d.Hash(), Events: d.Events, CheckpointPath: checkpoint, LogPath: stem + ".log.jsonl",
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
		defer trained.Close()
		if !writes {
			return nil
		}
		if err := trained.Best.Save(out); err != nil {
			return err
		}
		best, last := trained.Best.Origin().Epoch, trained.Last.Origin().Epoch
		fmt.Fprintf(c.App.ErrWriter, "weights of epoch %d of %d: %s\n", best, last, out)
		rows, err := rank(c, recommender.Of(trained.Best, d), split, fmt.Sprintf("best epoch (%d)", best))
		if err == nil && last != best {
			var more []ranking
			more, err = rank(c, recommender.Of(trained.Last, d), split, fmt.Sprintf("last epoch (%d)", last))
			rows = append(rows, more...)
		}
		if err != nil {
			return err
		}
		if err := showRanking(c, rows); err != nil {
			return err
		}
		return os.Remove(checkpoint) // only now, because it also holds the last epoch
	})
}

// withRecommender calls a function with an engine, the recommender that the flag names, as an
// encoder of its data set's sequences, the data set and the split.
func withRecommender(c *cli.Context, body func(*cgo.Engine, recommender.Live, *dataset.Dataset, dataset.Split) error) error {
	d, split, err := loadSplit(c)
	if err != nil {
		return err
	}
	return withEngine(c, func(engine *cgo.Engine) error {
		r, err := recommender.Open(engine, c.String("recommender"))
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.TrainedOn(d); err != nil {
			return err
		}
		return body(engine, recommender.Of(r, d), d, split)
	})
}

func recommenderEvaluate(c *cli.Context) error {
	if err := onlyFlags(c, "recommender"); err != nil {
		return err
	}
	return withRecommender(c, func(_ *cgo.Engine, r recommender.Live, _ *dataset.Dataset, split dataset.Split) error {
		rows, err := rank(c, r, split, r.Name())
		if err != nil {
			return err
		}
		return showRanking(c, rows)
	})
}

// ranking are the metrics of one part.
type ranking struct {
	Weights string `json:"weights"`
	Part    string `json:"part"`
	recommender.Metrics
}

// rank measures a recommender on the held-out parts.
func rank(c *cli.Context, r recommender.Live, split dataset.Split, name string) ([]ranking, error) {
	var rows []ranking
	for _, part := range []struct {
		name      string
		sequences []dataset.Sequence
	}{{"validation", split.Validation}, {"test", split.Test}} {
		bar := newProgress(c.App.ErrWriter, "ranking "+part.name)
		metrics, err := recommender.Evaluate(c.Context, r, part.sequences,
			func(done, total int) { bar.to(done, total, "sequences") })
		bar.end()
		if err != nil {
			return nil, err
		}
		rows = append(rows, ranking{name, part.name, metrics})
	}
	return rows, nil
}

func showRanking(c *cli.Context, rows []ranking) error {
	if c.Bool("json") {
		return printJSON(c, rows)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t\tn\tHR@1\tHR@5\tHR@10\t95 % interval\tHR@20\tNDCG@5\tNDCG@10\tNDCG@20\tMRR\t\n")
	for _, m := range rows {
		fmt.Fprintf(w, "%s\t%s\t%d\t%.4f\t%.4f\t%.4f\t%.4f–%.4f\t%.4f\t%.4f\t%.4f\t%.4f\t%.4f\t\n", m.Weights, m.Part, m.N,
			m.HR[1], m.HR[5], m.HR[10], m.CI[0], m.CI[1], m.HR[20], m.NDCG[5], m.NDCG[10], m.NDCG[20], m.MRR)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(c.App.Writer, "ranked among all items of the catalogue; ties count half; NDCG@1 is HR@1\n")
	return err
}
