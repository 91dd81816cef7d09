package recommender

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/checkpoint"
	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Metadata of a checkpoint, beside keyConfig and keyDataset.
const (
	keyFormat        = "format"
	keyCursor        = "cursor"
	keyData          = "data" // fingerprint of the split
	checkpointFormat = "recint recommender checkpoint 1"
)

// cursor is how far a run has got. An epoch draws its random numbers from the seed and its number.
type cursor struct {
	Step    int64    `json:"step"` // optimiser steps made
	Epochs  []Epoch  `json:"epochs"`
	Metrics Metrics  `json:"metrics"` // of the best epoch
	Under   underWay `json:"under_way"`
}

// underWay is how far the current epoch has got; zero between epochs.
type underWay struct {
	Steps   int     `json:"steps"`
	Loss    float64 `json:"loss"` // their sum
	Seconds float64 `json:"seconds"`
	Random  []byte  `json:"random"` // state of the generator
}

// best is the best epoch so far, or nil.
func (c *cursor) best() *Epoch {
	for i := len(c.Epochs) - 1; i >= 0; i-- {
		if c.Epochs[i].Best {
			return &c.Epochs[i]
		}
	}
	return nil
}

// done reports whether the run is over.
func (c *cursor) done(config Config) bool {
	n := len(c.Epochs)
	return n >= config.MaxEpochs || n > 0 && n-c.best().Epoch >= config.Patience
}

// fits says whether another epoch like those before it ends within a time; 0 is no limit. The first
// one always does.
func (c *cursor) fits(within time.Duration) bool {
	n := len(c.Epochs)
	if within == 0 || n == 0 {
		return true
	}
	spent := c.Epochs[n-1].Seconds
	return spent+spent/float64(n) <= within.Seconds()
}

// fingerprint hashes what a split gives to training: all but its test part.
func fingerprint(split dataset.Split) string {
	sum := sha256.New() // writing to a hash never fails
	for _, part := range [][]dataset.Sequence{split.Train, split.Validation} {
		_ = binary.Write(sum, binary.LittleEndian, uint64(len(part)))
		for _, s := range part {
			_ = binary.Write(sum, binary.LittleEndian, uint64(len(s.History)))
			_ = binary.Write(sum, binary.LittleEndian, s.History)
			_ = binary.Write(sum, binary.LittleEndian, s.Next)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// saveBefore writes the checkpoint if it is due before work that takes about as long as next.
func (t *trainer) saveBefore(next time.Duration) error {
	if !t.clock.Due(next) {
		return nil
	}
	return t.save()
}

// save writes the checkpoint; the one before it stays whole until this one is.
func (t *trainer) save() error {
	if t.opts.CheckpointPath == "" || !t.group.Writes() {
		return nil
	}
	file := &artifact.File{
		Metadata: map[string]string{keyFormat: checkpointFormat, keyData: t.data, keyDataset: t.opts.Dataset},
		Tensors:  t.best,
	}
	if err := file.PutJSON(map[string]any{keyConfig: t.config, keyCursor: t.cursor}); err != nil {
		return err
	}
	if err := checkpoint.Put(file, t.model); err != nil {
		return err
	}
	t.clock.Restart()
	return artifact.WriteSafetensors(t.opts.CheckpointPath, file)
}

// restore takes up the checkpoint, if there is one, and refuses one of another run by what differs.
func (t *trainer) restore() error {
	path := t.opts.CheckpointPath
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	file, err := artifact.ReadSafetensors(path)
	if err != nil {
		return err
	}
	if err := t.resume(file); err != nil {
		return fmt.Errorf("recommender: checkpoint %s: %w; remove it to start again", path, err)
	}
	return nil
}

func (t *trainer) resume(file *artifact.File) error {
	if file.Metadata[keyFormat] != checkpointFormat {
		return fmt.Errorf("it is no checkpoint of this version")
	}
	var was Config
	if err := file.TakeJSON(map[string]any{keyConfig: &was, keyCursor: &t.cursor}); err != nil {
		return err
	}
	was.MaxEpochs, was.Patience = t.config.MaxEpochs, t.config.Patience // when to stop may differ
	if differs := artifact.Difference(was, t.config); differs != "" {
		return fmt.Errorf("it was made under another configuration: %s", differs)
	}
	if file.Metadata[keyDataset] != t.opts.Dataset {
		return &artifact.Mismatch{What: "checkpoint", On: "data set", Want: file.Metadata[keyDataset], Got: t.opts.Dataset}
	}
	if file.Metadata[keyData] != t.data {
		return fmt.Errorf("it was made from other sequences")
	}
	if len(t.cursor.Epochs) > 0 {
		if t.cursor.best() == nil {
			return fmt.Errorf("its %s names no best epoch", keyCursor)
		}
		if err := t.best.Take(file, t.model); err != nil {
			return err
		}
	}
	return checkpoint.Take(file, t.model)
}
