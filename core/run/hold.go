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

// choosingShare is the part of the held-out items by which training chooses an adapter. No
// evaluation asks about them, so that what is measured on the others was not chosen by it.
const choosingShare = 0.2

// heldOut draws the share of the items that training is kept from, and the part of these that
// choose an adapter. The draw follows from the seed and the number of items.
func heldOut(d *dataset.Dataset, share float64, seed uint64) (held, choosing map[int32]bool) {
	hash := fnv.New64a()
	binary.Write(hash, binary.LittleEndian, seed)
	items := rand.New(rand.NewPCG(hash.Sum64(), streamHeldOut)).Perm(len(d.Items))
	items = items[:int(share*float64(len(items)))]
	return sameTitles(d, items), sameTitles(d, items[:int(choosingShare*float64(len(items)))])
}

// sameTitles gives items and all others that have a title of theirs, which would be learned from
// those.
func sameTitles(d *dataset.Dataset, items []int) map[int32]bool {
	all := map[int32]bool{}
	if len(items) == 0 {
		return all
	}
	catalogue, titles := d.Catalogue(), map[int32]bool{}
	for _, item := range items {
		titles[catalogue.TitleID(int32(item))] = true
	}
	for item := range d.Items {
		if titles[catalogue.TitleID(int32(item))] {
			all[int32(item)] = true
		}
	}
	return all
}

// streamHeldOut tells the random numbers of the draw from others of the same seed.
const streamHeldOut = 7

// recordHeldOut writes the ids of the items that are held out, or refuses a folder that says
// otherwise.
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
