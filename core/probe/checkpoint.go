package probe

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/checkpoint"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// Metadata of a checkpoint.
const (
	keyFormat        = "format"
	keyFigures       = "figures"
	keyCursor        = "cursor"
	keyResult        = "result"
	checkpointFormat = "recint probe checkpoint 1"
)

// cursor is where the training of one probe stands.
type cursor struct {
	Rate  int `json:"rate"`  // learning rates that were tried to the end
	Epoch int `json:"epoch"` // epochs of the present try that were trained and validated
	Step  int `json:"step"`  // batches of the present epoch
}

// keeper keeps a measurement in a file that is named after its examples and seed, so that only the
// same measurement finds it. A nil keeper keeps nothing.
type keeper struct {
	path    string
	figures []Figure       // of the probes that are finished
	file    *artifact.File // of an interrupted measurement, until its probe has resumed
	clock   checkpoint.Clock
	group   *ranks.Group // whose rank 0 writes
}

// openKeeper reads the checkpoint of a measurement, if the folder has one.
func openKeeper(folder string, d Data, o Options) (*keeper, error) {
	k := &keeper{path: filepath.Join(folder, "probe-"+d.fingerprint(o)[:32]+".safetensors")}
	k.clock.Restart()
	file, err := artifact.ReadSafetensors(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	} else if err != nil {
		return nil, fmt.Errorf("%w; remove it to start again", err)
	}
	if format := file.Metadata[keyFormat]; format != checkpointFormat {
		return nil, fmt.Errorf("probe: %s has the format %q, not %q; remove it to start again", k.path, format, checkpointFormat)
	}
	if err := file.TakeJSON(map[string]any{keyFigures: &k.figures}); err != nil {
		return nil, fmt.Errorf("probe: %s: %w; remove it to start again", k.path, err)
	}
	k.file = file
	return k, nil
}

// fingerprint hashes the examples, the seed and the size of micro-batches.
func (d Data) fingerprint(o Options) string {
	sum := sha256.New() // writing to a hash never fails
	_ = binary.Write(sum, binary.LittleEndian, o.Seed)
	if o.MicroBatch > 0 {
		_ = binary.Write(sum, binary.LittleEndian, int64(o.MicroBatch))
	}
	for _, e := range []Examples{d.Train, d.Validation, d.Test} {
		_ = binary.Write(sum, binary.LittleEndian, uint64(len(e.Targets)))
		_ = binary.Write(sum, binary.LittleEndian, e.Inputs)
		_ = binary.Write(sum, binary.LittleEndian, e.Targets)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// saveIfDue writes the checkpoint if it is due.
func (k *keeper) saveIfDue(p *probe) error {
	if k == nil || !k.clock.Due(0) {
		return nil
	}
	return k.save(p)
}

// save writes the checkpoint.
func (k *keeper) save(p *probe) error {
	if k == nil || !k.group.Writes() {
		return nil
	}
	file := &artifact.File{Metadata: map[string]string{keyFormat: checkpointFormat}, Tensors: p.best}
	if err := file.PutJSON(map[string]any{keyFigures: k.figures, keyCursor: p.at, keyResult: p.result}); err != nil {
		return err
	}
	if err := checkpoint.Put(file, p.model); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o777); err != nil {
		return err
	}
	k.clock.Restart()
	return artifact.WriteSafetensors(k.path, file)
}

// resume brings a probe to where the checkpoint has left it, if there is one.
func (k *keeper) resume(p *probe) (err error) {
	if k == nil || k.file == nil {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("probe: %s: %w; remove it to start again", k.path, err)
		}
	}()
	file := k.file
	k.file = nil
	if err := file.TakeJSON(map[string]any{keyCursor: &p.at, keyResult: &p.result}); err != nil {
		return err
	}
	if p.result.Epoch > 0 {
		if err := p.best.Take(file, p.model); err != nil {
			return err
		}
	}
	return checkpoint.Take(file, p.model)
}

// remove deletes the checkpoint of a finished measurement.
func (k *keeper) remove() error {
	if k == nil || !k.group.Writes() {
		return nil
	}
	if err := os.Remove(k.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
