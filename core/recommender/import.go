package recommender

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// ImportOptions say what a file of another project's weights does not.
type ImportOptions struct {
	Layout    string            // one of Layouts; "": told by the names of the tensors, of pmixer's the present default
	Heads     int               // attention heads, which no shape tells; 0: 1, of RecBole's SASRec its default, 2
	Positions int               // items of the longest history; 0: as many as its table of positions or its metadata has, of RecBole's GRU4Rec 10
	Places    []int             // of each item, its place among the file's items, padding not counted; nil: they have the file's order
	Rows      int               // how many items there are to which Places point; 0: not checked
	Dataset   string            // content hash of the data set that the items are those of; "": not recorded
	Note      func(text string) // receives assumptions and what was ignored; may be nil
}

func (o ImportOptions) note(format string, args ...any) {
	if o.Note != nil {
		o.Note(fmt.Sprintf(format, args...))
	}
}

// Import reads weights that another project has trained, as safetensors of its state dict, in one file or in several with
// their index. It puts the rows of its items into our order: padding last. A RecBole Caser is imported with the mean user.
func Import(engine *cgo.Engine, path string, opts ImportOptions) (*Recommender, error) {
	file, err := readWeights(path)
	if err != nil {
		return nil, err
	}
	r, err := importFile(engine, file, opts)
	if err != nil {
		if shard.MatchString(path) {
			err = fmt.Errorf("%w; this is one of several files: give their index, which ends in .safetensors.index.json", err)
		}
		return nil, fmt.Errorf("recommender: %s: %w", path, err)
	}
	return r, nil
}

// shard knows one of several files of a checkpoint by its name.
var shard = regexp.MustCompile(`-\d{5}-of-\d{5}\.safetensors$`)

func importFile(engine *cgo.Engine, file *artifact.File, opts ImportOptions) (*Recommender, error) {
	if err := stripPrefix(file, opts); err != nil {
		return nil, err
	}
	c, err := configOfTensors(file)
	if _, ours := file.Metadata[keyConfig]; ours {
		c, err = configOf(file)
		c.Layout = cmp.Or(c.Layout, Authors)
	}
	if err != nil {
		return nil, err
	}
	if file.Metadata[keyConfig] != "" && !c.ownRows() {
		return nil, fmt.Errorf("these weights have been imported already; use them as they are")
	}
	if err := c.complete(file, opts); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := c.shorten(file, opts); err != nil {
		return nil, err
	}
	if err := reorder(file, &c, opts); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil { // places may be none
		return nil, err
	}
	r := &Recommender{config: c, origin: Origin{Dataset: opts.Dataset}}
	if err := r.fill(engine, file); err != nil {
		return nil, err
	}
	for _, t := range file.Tensors {
		if isBuffer(t) {
			opts.note("%s, of type %s, holds no weights and is ignored", t.Name, t.DType)
		}
	}
	return r, nil
}

// stripPrefix takes away what wrappers put before the names of all weights: DistributedDataParallel "module.", Lightning
// often "model.", and torch.compile "_orig_mod.", anywhere in a name.
func stripPrefix(file *artifact.File, opts ImportOptions) error {
	const compiled = "_orig_mod."
	found := false
	for i := range file.Tensors {
		t := &file.Tensors[i]
		found = found || strings.Contains(t.Name, compiled)
		t.Name = strings.ReplaceAll(t.Name, compiled, "")
	}
	if found {
		opts.note("%q is taken away from the names of its tensors", compiled)
	}
	if Knows(file) {
		return nil
	}
	for _, s := range signatures {
		for _, t := range file.Tensors {
			prefix, ends := strings.CutSuffix(t.Name, s.tensors[0])
			if model, _ := modelOf(file, prefix); !ends || !strings.HasSuffix(prefix, ".") || model != s.model {
				continue
			}
			for i, t := range file.Tensors {
				name, begins := strings.CutPrefix(t.Name, prefix)
				if !begins && !isBuffer(t) {
					return fmt.Errorf("its tensors %q… are those of a %s, but %q is not one of them; "+
						"remove it from the file if the model does not use it", prefix, s.model, t.Name)
				}
				file.Tensors[i].Name = name
			}
			opts.note("the prefix %q is taken away from the names of its tensors", prefix)
			return nil
		}
	}
	return nil
}

// complete adds what the options say.
func (c *Config) complete(file *artifact.File, opts ImportOptions) error {
	if opts.Layout != "" && !slices.Contains(Layouts, opts.Layout) {
		return unknown("layout", opts.Layout, Layouts)
	}
	if opts.Layout != "" && opts.Layout != c.Layout {
		if !strings.HasPrefix(opts.Layout, Pmixer) || c.Layout != Pmixer {
			return fmt.Errorf("its tensors are those of the layout %q, not %q", c.Layout, opts.Layout)
		}
		c.Layout = opts.Layout
	}
	if c.Layout == PmixerOriginal {
		c.Positions++ // the others have a row for padding
	}
	switch {
	case c.Model != SASRec && c.Model != DreamRec:
		if opts.Heads != 0 {
			return fmt.Errorf("a %s has no attention heads", c.Model)
		}
	case opts.Heads != 0:
		c.Heads = opts.Heads
	case c.Layout == RecBole && file.Metadata[keyHeads] == "":
		c.Heads = 2
	}
	return nil
}

// shorten makes histories as long as the options say. Of a table of positions the first rows stay.
func (c *Config) shorten(file *artifact.File, opts ImportOptions) error {
	table := slices.IndexFunc(file.Tensors, func(t artifact.Tensor) bool { return slices.Contains(positionTables, t.Name) })
	switch {
	case opts.Positions == 0:
		if _, said := file.Metadata[keyPositions]; c.Model == GRU4Rec && c.Layout == RecBole && !said {
			opts.note("histories of up to %d items are assumed, but RecBole's default is 50: give its MAX_ITEM_LIST_LENGTH as the number of positions",
				c.Positions)
		}
		if c.Layout == Pmixer && c.Positions == 200 {
			opts.note("histories of up to 200 items are assumed, but the project makes a table of 201 positions whatever its --maxlen is: " +
				"give that as the number of positions")
		}
		return nil
	case c.Model == GRU4Rec:
	case c.Model == Caser:
		return fmt.Errorf("the filters of this Caser span %d items; no other number of positions fits", c.Positions)
	case opts.Positions < 0 || opts.Positions > c.Positions:
		return fmt.Errorf("positions is %d; its table of positions allows 1 to %d", opts.Positions, c.Positions)
	default:
		t := &file.Tensors[table]
		rows := t.Shape[0] - c.Positions + opts.Positions
		t.F32, t.Shape = t.F32[:rows*t.Shape[1]], []int{rows, t.Shape[1]}
	}
	c.Positions = opts.Positions
	return nil
}

// reorder puts the rows of items in our order, padding last: those at the places, or all.
func reorder(file *artifact.File, c *Config, opts ImportOptions) error {
	places := opts.Places
	if opts.Rows != 0 && opts.Rows != c.Items {
		err := fmt.Errorf("its table has rows for %d items and one for padding, but there are %d item ids", c.Items, opts.Rows)
		switch opts.Rows {
		case c.Items + 1:
			err = fmt.Errorf("%w: one too many; is the first one padding?", err)
		case c.Items - 1:
			err = fmt.Errorf("%w: one too few", err)
		}
		return err
	}
	if places == nil {
		for i := range c.Items {
			places = append(places, i)
		}
	}
	for i, place := range places {
		if place < 0 || place >= c.Items {
			return fmt.Errorf("item %d is said to be its item %d; it has items 0 to %d", i, place, c.Items-1)
		}
	}
	rows := append(slices.Clone(places), c.Items)
	if !c.ownRows() { // padding comes first there
		for i := range places {
			rows[i]++
		}
		rows[len(places)] = 0
	}
	known := c.Items
	c.Items = len(places)
	for i := range file.Tensors {
		t := &file.Tensors[i]
		switch {
		case slices.Contains(itemTables, t.Name):
			if err := takeRows(t, rows, known+1); err != nil {
				return err
			}
		case strings.HasPrefix(t.Name, "s_fc."):
			if err := takeRows(t, places, known); err != nil {
				return err
			}
		case c.Model == Caser && t.Name == "user_embedding.weight":
			if err := meanUser(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeRows makes a tensor's rows those named, out of as many as there must be.
func takeRows(t *artifact.Tensor, rows []int, of int) error {
	if t.DType != "F32" || len(t.Shape) == 0 || t.Shape[0] != of || of < 1 {
		return fmt.Errorf("tensor %q is %s %v, expected F32 with %d rows", t.Name, t.DType, t.Shape, of)
	}
	width := len(t.F32) / of
	values := make([]float32, 0, len(rows)*width)
	for _, row := range rows {
		values = append(values, t.F32[row*width:(row+1)*width]...)
	}
	t.F32, t.Shape = values, append([]int{len(rows)}, t.Shape[1:]...)
	return nil
}

// meanUser replaces a table of users, whose first row is padding, by their mean: histories here have no user.
func meanUser(t *artifact.Tensor) error {
	if t.DType != "F32" || len(t.Shape) != 2 || t.Shape[0] < 2 {
		return fmt.Errorf("tensor %q is %s %v, expected a table of at least one user beside padding", t.Name, t.DType, t.Shape)
	}
	users, width := t.Shape[0]-1, t.Shape[1]
	sums := make([]float64, width)
	for i, x := range t.F32[width:] {
		sums[i%width] += float64(x)
	}
	t.F32, t.Shape = make([]float32, width), []int{1, width}
	for i, sum := range sums {
		t.F32[i] = float32(sum / float64(users))
	}
	return nil
}

// Export writes the weights as the project of their layout reads them: its order of rows and shapes of tensors. Of RecBole's
// Caser the only user beside padding is the mean one.
func (r *Recommender) Export(path string) error {
	file, err := r.file()
	if err != nil {
		return err
	}
	if !r.config.ownRows() {
		delete(file.Metadata, keyConfig) // its rows are no longer in our order
	}
	for i := range file.Tensors {
		t := &file.Tensors[i]
		switch {
		case !r.config.ownRows() && slices.Contains(itemTables, t.Name):
			rows := []int{r.config.Items}
			for item := range r.config.Items {
				rows = append(rows, item)
			}
			if err := takeRows(t, rows, r.config.Items+1); err != nil {
				return err
			}
		case r.config.Model == Caser && t.Name == "user_embedding.weight":
			t.F32, t.Shape = append(make([]float32, r.config.Width), t.F32...), []int{2, r.config.Width}
		case isPointwise(t):
			t.Shape = append(slices.Clone(t.Shape), 1)
		}
	}
	return artifact.WriteSafetensors(path, file)
}

// isPointwise knows the matrices that other projects store as convolutions of width 1.
func isPointwise(t *artifact.Tensor) bool {
	if len(t.Shape) != 2 {
		return false
	}
	for _, name := range []string{"feed_forward.w_1.", "feed_forward.w_2.", ".conv1.", ".conv2."} {
		if strings.Contains(t.Name, name) {
			return true
		}
	}
	return false
}
