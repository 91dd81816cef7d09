package states

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
)

// Extra is a further column of vectors that Write computes of histories.
type Extra struct {
	Name    string
	Width   int
	Compute func(ctx context.Context, dst []float32, histories [][]int32) error
}

// written is a row to be written.
type written struct {
	sequence string
	position int
	history  []int32 // up to its item, as the encoder takes it
	item     int32
	part     part
	user     int32 // -1: not known
	time     int64
}

// atOnce is how many rows are computed at a time.
const atOnce = 4096

// Write writes the states of an encoder of items after every item of a data set's sequences:
// Parquet, or safetensors where the path ends so. The rows of the parts, "train", "validation" and
// "test", say which part they are of.
func Write(ctx context.Context, path string, encoder adapter.Source, d *dataset.Dataset, split dataset.Split, parts []string, more ...Extra) (rows int, err error) {
	columns := append([]Extra{{columnState, encoder.StateWidth(), encoder.States}}, more...)
	all := timelines(encoder, d, split, parts)
	if len(all) == 0 {
		return 0, fmt.Errorf("states: no sequence of data set %s belongs to %s", d.Name, strings.Join(parts, ", "))
	}
	said := metadata{Dataset: d.Hash(), Positions: strconv.Itoa(encoder.Positions())}
	about := map[string]string{}
	for key, value := range said.keys() {
		about[key] = *value
	}
	to := writer(&parquet{path: path, about: about})
	if strings.HasSuffix(path, ".safetensors") {
		to = &tensors{path: path, about: about, texts: map[string]map[string]int32{}}
	}
	if err := to.begin(columns); err != nil {
		return 0, err
	}
	defer to.end()
	for batch := range slices.Chunk(all, atOnce) {
		histories := make([][]int32, len(batch))
		for i := range batch {
			histories[i] = batch[i].history
		}
		values := make([][]float32, len(columns))
		for c, column := range columns {
			values[c] = make([]float32, len(batch)*column.Width)
			if err := column.Compute(ctx, values[c], histories); err != nil {
				return 0, err
			}
		}
		for i, w := range batch {
			row := make([][]float32, len(columns))
			for c, column := range columns {
				row[c] = values[c][i*column.Width : (i+1)*column.Width]
			}
			if err := to.row(w, d, row); err != nil {
				return 0, err
			}
		}
	}
	return len(all), to.save(ctx)
}

// timelines gives the rows of users in the order of their ids, or of the sequences that a data set
// came as.
func timelines(encoder adapter.Source, d *dataset.Dataset, split dataset.Split, parts []string) (rows []written) {
	add := func(name string, user int32, first dataset.Sequence, follow []dataset.Sequence, in []part) {
		items, history := slices.Clone(first.History), slices.Clone(encoder.Past(first, false))
		for _, s := range follow {
			past := encoder.Past(s, true)
			items, history = append(items, s.Next), append(history, past[len(past)-1])
		}
		if !slices.ContainsFunc(in, func(p part) bool { return slices.Contains(parts, partNames[p]) }) {
			return
		}
		for at := range items {
			w := written{sequence: name, position: at, history: history[:at+1], item: items[at], user: user}
			if target := at - len(first.History); target >= 0 {
				w.time = follow[target].Time
				if slices.Contains(parts, partNames[in[target]]) {
					w.part = in[target]
				}
			}
			rows = append(rows, w)
		}
	}
	type target struct {
		dataset.Sequence
		in part
	}
	of := map[int32][]target{}
	for in, sequences := range [][]dataset.Sequence{nil, split.Train, split.Validation, split.Test} {
		for i, s := range sequences {
			if d.Kind() == dataset.Given {
				add(fmt.Sprintf("%s-%d", partNames[in], i), -1, s, []dataset.Sequence{s}, []part{part(in)})
			} else {
				of[s.User] = append(of[s.User], target{s, part(in)})
			}
		}
	}
	for _, user := range slices.Sorted(maps.Keys(of)) {
		targets := of[user]
		var follow []dataset.Sequence
		var in []part
		for _, t := range targets {
			follow, in = append(follow, t.Sequence), append(in, t.in)
		}
		add(d.Users[user], user, targets[0].Sequence, follow, in)
	}
	return rows
}

// writer writes rows to a file of one format.
type writer interface {
	begin(vectors []Extra) error
	row(w written, d *dataset.Dataset, vectors [][]float32) error
	save(ctx context.Context) error
	end() // releases what is left
}

// parquet writes a Parquet file.
type parquet struct {
	path  string
	about map[string]string
	db    *duckdb.Database
	table *duckdb.Table
}

func (p *parquet) begin(vectors []Extra) (err error) {
	if p.db, err = duckdb.Open(); err != nil {
		return err
	}
	columns := []string{columnSequence + " VARCHAR", columnPosition + " BIGINT", columnItem + " VARCHAR", columnSplit + " VARCHAR",
		columnUser + " VARCHAR", columnTime + " BIGINT"}
	for _, v := range vectors {
		columns = append(columns, v.Name+" FLOAT[]")
	}
	p.table, err = p.db.NewTable("states", columns...)
	return err
}

func (p *parquet) row(w written, d *dataset.Dataset, vectors [][]float32) error {
	row := []any{w.sequence, int64(w.position), d.Items[w.item].ID, nil, nil, w.time}
	if w.part != nowhere {
		row[3] = partNames[w.part]
	}
	if w.user >= 0 {
		row[4] = d.Users[w.user]
	}
	for _, v := range vectors {
		row = append(row, v)
	}
	return p.table.Append(row...)
}

func (p *parquet) save(ctx context.Context) error {
	temporary := p.path + ".part"
	if err := p.table.Save(ctx, temporary, p.about); err != nil {
		os.Remove(temporary)
		return cmp.Or(ctx.Err(), fmt.Errorf("states: %s cannot be written: %w", p.path, err))
	}
	return os.Rename(temporary, p.path)
}

func (p *parquet) end() {
	if p.db != nil {
		p.db.Close()
	}
}

// tensors writes safetensors (see openTensors).
type tensors struct {
	path    string
	about   map[string]string
	vectors []artifact.Tensor
	numbers map[string][]int64
	texts   map[string]map[string]int32 // of each column the place of each text
	lists   map[string][]string
}

func (t *tensors) begin(vectors []Extra) error {
	t.numbers, t.lists = map[string][]int64{}, map[string][]string{}
	for _, v := range vectors {
		t.vectors = append(t.vectors, artifact.Tensor{Name: v.Name, DType: "F32", Shape: []int{0, v.Width}})
	}
	return nil
}

func (t *tensors) row(w written, d *dataset.Dataset, vectors [][]float32) error {
	text := func(column, value string, there bool) {
		if !there {
			t.numbers[column] = append(t.numbers[column], -1)
			return
		}
		if t.texts[column] == nil {
			t.texts[column] = map[string]int32{}
		}
		at, ok := t.texts[column][value]
		if !ok {
			at = int32(len(t.lists[column]))
			t.texts[column][value] = at
			t.lists[column] = append(t.lists[column], value)
		}
		t.numbers[column] = append(t.numbers[column], int64(at))
	}
	text(columnSequence, w.sequence, true)
	text(columnItem, d.Items[w.item].ID, true)
	text(columnSplit, partNames[w.part], w.part != nowhere)
	user := ""
	if w.user >= 0 {
		user = d.Users[w.user]
	}
	text(columnUser, user, w.user >= 0)
	t.numbers[columnPosition] = append(t.numbers[columnPosition], int64(w.position))
	t.numbers[columnTime] = append(t.numbers[columnTime], w.time)
	for i := range t.vectors {
		t.vectors[i].F32 = append(t.vectors[i].F32, vectors[i]...)
		t.vectors[i].Shape[0]++
	}
	return nil
}

func (t *tensors) save(context.Context) error {
	file := &artifact.File{Metadata: t.about, Tensors: t.vectors}
	for name, values := range t.numbers {
		file.Tensors = append(file.Tensors, artifact.Tensor{Name: name, DType: "I64", Shape: []int{len(values)}, I64: values})
	}
	lists := map[string]any{}
	for name, texts := range t.lists {
		lists[name] = texts
	}
	if err := file.PutJSON(lists); err != nil {
		return err
	}
	return artifact.WriteSafetensors(t.path, file)
}

func (t *tensors) end() {}
