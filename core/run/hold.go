package run

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// HeldOutFile is the file of a run's folder with the ids of the items that training was kept from.
const HeldOutFile = "held-out-items.json"

// heldOut draws the share of the items. The draw follows from the seed and the number of items.
func heldOut(d *dataset.Dataset, share float64, seed uint64) map[int32]bool {
	hash := fnv.New64a()
	binary.Write(hash, binary.LittleEndian, seed)
	items := rand.New(rand.NewPCG(hash.Sum64(), streamHeldOut)).Perm(len(d.Items))
	held := map[int32]bool{}
	for _, item := range items[:int(share*float64(len(items)))] {
		held[int32(item)] = true
	}
	if catalogue := d.Catalogue(); len(held) > 0 { // a title that another item has too would be learned from that one
		titles := map[int32]bool{}
		for item := range held {
			titles[catalogue.TitleID(item)] = true
		}
		for item := range items {
			if titles[catalogue.TitleID(int32(item))] {
				held[int32(item)] = true
			}
		}
	}
	return held
}

// streamHeldOut tells the random numbers of the draw from others of the same seed.
const streamHeldOut = 7

// recordHeldOut writes the ids of the items that are held out, or refuses a folder that says otherwise.
func recordHeldOut(dir string, d *dataset.Dataset, held map[int32]bool) error {
	if len(held) == 0 {
		return nil
	}
	var ids []string
	for item := range held {
		ids = append(ids, d.Items[item].ID)
	}
	slices.Sort(ids)
	path := filepath.Join(dir, HeldOutFile)
	var there []string
	err := artifact.ReadJSON(path, &there, artifact.KnownKeys)
	switch {
	case err == nil && slices.Equal(there, ids):
		return nil
	case err == nil:
		return fmt.Errorf("run: %s names other items than those that are held out now; use another folder", path)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("run: %w", err)
	}
	return artifact.WriteAtomic(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(ids) })
}

// tells says whether a question tells of items that are held out: asks for one, or is about one.
func (p *Parts) tells(t task.Task, q task.Question) bool {
	named := q.Items
	if t.Last {
		named = append(slices.Clip(named), q.History[len(q.History)-1])
	}
	return slices.ContainsFunc(named, func(item int32) bool { return p.held[item] })
}
