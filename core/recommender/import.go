package recommender

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// ImportOptions say what a file of another project's weights does not.
type ImportOptions struct {
	Layout    string            // one of models.Layouts; "": told by the names of the tensors
	Heads     int               // attention heads, which no shape tells; 0: as its metadata says, or the layout's default
	Positions int               // items of the longest history; 0: as its shapes or its metadata say, or the model's default
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

// Import reads weights that another project has trained, as safetensors of its state dict, in one
// file or in several with their index. It puts the rows of its items into our order: padding last.
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
	if opts.Layout != "" && !slices.Contains(models.Layouts(), opts.Layout) {
		return nil, unknown("layout", opts.Layout, models.Layouts())
	}
	_, ours := file.Metadata[keyConfig]
	c, err := configOfTensors(file, opts.Layout)
	if err == nil && ours {
		c, err = configOf(file)
	}
	if err != nil {
		return nil, err
	}
	if ours && c.paddingFirst() {
		return nil, fmt.Errorf("these weights have been imported already; use them as they are")
	}
	entry, _ := models.Find(c.Model)
	layout, _ := entry.Layout(c.Layout)
	c.Layout = layout.Name
	if opts.Heads != 0 {
		if _, ok := entry.Setting("heads"); !ok {
			return nil, fmt.Errorf("a %s has no attention heads", c.Model)
		}
		c.Settings["heads"] = opts.Heads
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := c.shorten(layout, file, opts); err != nil {
		return nil, err
	}
	rows, err := c.rows(opts)
	if err != nil {
		return nil, err
	}
	known := c.Items
	c.Items = len(rows) - 1
	if err := c.Validate(); err != nil { // places may be none
		return nil, err
	}
	r := &Recommender{config: c, origin: Origin{Dataset: opts.Dataset}}
	err = r.fill(engine, file, func(infos []cgo.TensorInfo) error { return arrange(file, infos, layout, rows, known) })
	if err != nil {
		return nil, err
	}
	for _, t := range file.Tensors {
		if isBuffer(t) {
			opts.note("%s, of type %s, holds no weights and is ignored", t.Name, t.DType)
		}
	}
	return r, nil
}

// stripPrefix takes away what wrappers put before the names of all weights: DistributedDataParallel
// "module.", Lightning often "model.", and torch.compile "_orig_mod.", anywhere in a name.
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
	for _, e := range models.All() {
		for _, t := range file.Tensors {
			prefix := prefixOf(e, t.Name)
			if told, _, _ := models.Recognise(file, prefix); prefix == "" || told.Name != e.Name {
				continue
			}
			for i, t := range file.Tensors {
				name, begins := strings.CutPrefix(t.Name, prefix)
				if !begins && !isBuffer(t) {
					return fmt.Errorf("its tensors %q… are those of a %s, but %q is not one of them; "+
						"remove it from the file if the model does not use it", prefix, e.Name, t.Name)
				}
				file.Tensors[i].Name = name
			}
			opts.note("the prefix %q is taken away from the names of its tensors", prefix)
			return nil
		}
	}
	return nil
}

// prefixOf is the prefix of a name by which one of a recommender's layouts is known, ending in a
// point; "" if none does.
func prefixOf(e models.Entry, name string) string {
	for _, l := range e.Layouts {
		if prefix, ends := strings.CutSuffix(name, l.Known[0]); ends && strings.HasSuffix(prefix, ".") {
			return prefix
		}
	}
	return ""
}

// shorten makes histories as long as the options say. Of a table of positions the first rows stay.
func (c *Config) shorten(layout models.Layout, file *artifact.File, opts ImportOptions) error {
	shapes, err := layout.Shapes(file)
	if err != nil {
		return err
	}
	switch {
	case opts.Positions == 0:
		if _, said := file.Metadata[keyPositions]; layout.Note != nil && !said {
			if text := layout.Note(c.Positions); text != "" {
				opts.note("%s", text)
			}
		}
		return nil
	case layout.FixedPositions:
		return fmt.Errorf("the weights of this %s span %d items; no other number of positions fits", c.Model, c.Positions)
	case opts.Positions < 0 || shapes.Positions != 0 && opts.Positions > c.Positions:
		return fmt.Errorf("positions is %d; its table of positions allows 1 to %d", opts.Positions, c.Positions)
	}
	c.Positions = opts.Positions
	return nil
}

// rows are the rows of the file's table of items in our order: the items at the places, or all, and
// padding.
func (c Config) rows(opts ImportOptions) ([]int, error) {
	if opts.Rows != 0 && opts.Rows != c.Items {
		err := fmt.Errorf("its table has rows for %d items and one for padding, but there are %d item ids", c.Items, opts.Rows)
		switch opts.Rows {
		case c.Items + 1:
			err = fmt.Errorf("%w: one too many; is the first one padding?", err)
		case c.Items - 1:
			err = fmt.Errorf("%w: one too few", err)
		}
		return nil, err
	}
	places := opts.Places
	if places == nil {
		for i := range c.Items {
			places = append(places, i)
		}
	}
	for i, place := range places {
		if place < 0 || place >= c.Items {
			return nil, fmt.Errorf("item %d is said to be its item %d; it has items 0 to %d", i, place, c.Items-1)
		}
	}
	rows := append(slices.Clone(places), c.Items)
	if c.paddingFirst() {
		for i := range places {
			rows[i]++
		}
		rows[len(places)] = 0
	}
	return rows, nil
}

// arrange brings the tensors of a file for so many known items into our form: the rows of items,
// the rows of positions that are needed, and what else the layout does differently. Other tensors
// with rows of items have no padding. What follows items and padding in the table keeps its order.
func arrange(file *artifact.File, infos []cgo.TensorInfo, layout models.Layout, rows []int, known int) error {
	places := slices.Clone(rows[:len(rows)-1])
	if layout.PaddingFirst {
		for i := range places {
			places[i]--
		}
	}
	for _, info := range infos {
		t, err := file.Find(info.Name)
		if err != nil {
			return err
		}
		if layout.Import != nil {
			if err := layout.Import(t); err != nil {
				return err
			}
		}
		switch {
		case info.Role == cgo.RoleItems:
			all := slices.Clone(rows)
			for len(all) < info.Shape[0] {
				all = append(all, known+1+len(all)-len(rows))
			}
			err = takeRows(t, all, known+1+len(all)-len(rows))
		case info.ItemRows:
			err = takeRows(t, places, known)
		case info.Role == cgo.RolePositions && len(t.Shape) == 2 && t.Shape[0] > info.Shape[0] && t.DType == "F32":
			t.F32, t.Shape = t.F32[:info.Shape[0]*t.Shape[1]], []int{info.Shape[0], t.Shape[1]}
		}
		if err != nil {
			return err
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

// Export writes the weights as the project of their layout reads them: its order of rows and shapes
// of tensors.
func (r *Recommender) Export(path string) error {
	file, err := r.file()
	if err != nil {
		return err
	}
	infos, err := r.model.Tensors()
	if err != nil {
		return err
	}
	entry, _ := models.Find(r.config.Model)
	layout, _ := entry.Layout(r.config.Layout)
	if layout.PaddingFirst {
		delete(file.Metadata, keyConfig) // its rows are no longer in our order
	}
	for i, info := range infos {
		t := &file.Tensors[i]
		switch {
		case layout.PaddingFirst && info.Role == cgo.RoleItems:
			rows := []int{r.config.Items}
			for row := range info.Shape[0] {
				if row != r.config.Items {
					rows = append(rows, row)
				}
			}
			if err := takeRows(t, rows, info.Shape[0]); err != nil {
				return err
			}
		case info.Role == cgo.RolePointwise:
			t.Shape = append(slices.Clone(t.Shape), 1)
		}
		if layout.Export != nil {
			layout.Export(t)
		}
	}
	return artifact.WriteSafetensors(path, file)
}
