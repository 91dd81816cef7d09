package onnx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Names of a model's inputs and outputs.
const (
	inputItems   = "items"
	inputLength  = "length"
	inputMask    = "mask"
	outputStates = "states"
	outputScores = "scores"
)

// Is says whether a file of that name holds an ONNX model.
func Is(path string) bool { return strings.HasSuffix(path, ".onnx") }

// Config is what an imported model needs to know.
type Config struct {
	Name      string `json:"name"`              // of the file that was imported
	Dataset   string `json:"dataset"`           // content hash
	IDs       []int  `json:"ids"`               // of the data set's items in the model
	Padding   int    `json:"padding"`           // id of padding
	Left      bool   `json:"left,omitempty"`    // padding stands before the items
	Positions int    `json:"positions"`         // T, the most items of a history that count
	Width     int    `json:"width"`             // D, the numbers in a state
	Each      bool   `json:"each,omitempty"`    // states are [B, T, D]
	Lengths   string `json:"lengths,omitempty"` // the input that tells items from padding; "": none
	Bool      bool   `json:"bool,omitempty"`    // the mask is of that type
	Scored    int    `json:"scored,omitempty"`  // ids that have scores; 0: there are no scores
}

// Encoder is an imported model. It may be used by many goroutines.
type Encoder struct {
	config  Config
	hash    string
	session *ort.DynamicAdvancedSession
}

// Open opens a model that Import has written. Computations use so many threads; 0: all.
func Open(path string, threads int) (*Encoder, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	text, err := said(content)
	if err != nil {
		return nil, fmt.Errorf("onnx: %s: %w", path, err)
	}
	if text == nil {
		return nil, fmt.Errorf("onnx: %s does not say which data set it belongs to; import it first (recint recommender import)", path)
	}
	var c Config
	if err := artifact.ParseJSON(text, &c, artifact.KnownKeys); err != nil {
		return nil, fmt.Errorf("onnx: %s: what it says of itself: %w", path, err)
	}
	e, err := open(content, c, threads)
	if err != nil {
		return nil, fmt.Errorf("onnx: %s: %w", path, err)
	}
	if e.hash, err = artifact.HashFile(path); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// open makes a session.
func open(content []byte, c Config, threads int) (_ *Encoder, err error) {
	if err := start(); err != nil {
		return nil, err
	}
	options, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer options.Destroy()
	// A thread that waits must not take the CPU from the LLM.
	err = errors.Join(options.SetIntraOpNumThreads(threads), options.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"))
	if err != nil {
		return nil, err
	}
	session, err := ort.NewDynamicAdvancedSessionWithONNXData(content, nil, nil, options)
	if err != nil {
		return nil, refused(err)
	}
	return &Encoder{config: c, session: session}, nil
}

// Close releases the model.
func (e *Encoder) Close() error { return e.session.Destroy() }

// Name says which model it is.
func (e *Encoder) Name() string { return e.config.Name }

// Hash is the content hash of the file.
func (e *Encoder) Hash() string { return e.hash }

// TrainedOn refuses a data set other than that of the import.
func (e *Encoder) TrainedOn(d *dataset.Dataset) error {
	if hash := d.Hash(); e.config.Dataset != hash {
		return &artifact.Mismatch{What: "recommender", On: "data set", Want: e.config.Dataset, Got: hash}
	}
	return nil
}

// Catalogue is V, the number of items.
func (e *Encoder) Catalogue() int { return len(e.config.IDs) }

// Generates reports that the model draws no oracles.
func (e *Encoder) Generates() bool { return false }

// StateWidth is D, the numbers in a state.
func (e *Encoder) StateWidth() int { return e.config.Width }

// ItemWidth is 0: vectors of items are not among the outputs.
func (e *Encoder) ItemWidth() int { return 0 }

// Positions is T, the most items of a history that count.
func (e *Encoder) Positions() int { return e.config.Positions }

// Past gives a sequence's history, with the next item at its end or without it.
func (e *Encoder) Past(s dataset.Sequence, next bool) []int32 {
	if next {
		return append(slices.Clip(s.History), s.Next)
	}
	return s.History
}

// Items is an error.
func (e *Encoder) Items(context.Context, []float32, [][]int32) error {
	return errors.New("onnx: the model has no vectors of items; use a prompt that shows states")
}

// States writes the state after the last item of each history to dst [len(histories), D]. Histories
// are dense item ids, oldest first, at least one each; of a longer one than Positions the last
// items count.
func (e *Encoder) States(ctx context.Context, dst []float32, histories [][]int32) error {
	return e.compute(ctx, outputStates, dst, e.config.Width, histories)
}

// AllStates writes the state after each item to dst [len(histories), T, D], zero after a history's
// end. Each is that of a history that ends there: what a model writes for an item within a history
// may follow from later ones and from where padding ends.
func (e *Encoder) AllStates(ctx context.Context, dst []float32, histories [][]int32) error {
	var ends [][]int32
	for _, history := range histories {
		history = history[max(0, len(history)-e.config.Positions):]
		for n := range history {
			ends = append(ends, history[:n+1])
		}
	}
	states := make([]float32, len(ends)*e.config.Width)
	if err := e.States(ctx, states, ends); err != nil {
		return err
	}
	each := e.config.Positions * e.config.Width
	for i, history := range histories {
		n := min(len(history), e.config.Positions) * e.config.Width
		copy(dst[i*each:], states[:n])
		clear(dst[i*each+n : (i+1)*each])
		states = states[n:]
	}
	return nil
}

// Scores writes the scores of all items to dst [len(histories), V].
func (e *Encoder) Scores(ctx context.Context, dst []float32, histories [][]int32) error {
	if e.config.Scored == 0 {
		return fmt.Errorf("onnx: %s: %w", e.config.Name, ErrNoScores)
	}
	return e.compute(ctx, outputScores, dst, len(e.config.IDs), histories)
}

// ErrNoScores is found in the error of a model that ranks nothing.
var ErrNoScores = errors.New("the model has no output scores, so that it ranks nothing; export it with the scores of all ids as the next item, " +
	"float32 [batch, ids]")

// atOnce is how many histories are computed in one call.
const atOnce = 64

// compute writes width numbers of an output for each history.
func (e *Encoder) compute(ctx context.Context, output string, dst []float32, width int, histories [][]int32) error {
	if len(dst) != len(histories)*width {
		return fmt.Errorf("onnx: dst has %d numbers; %d histories need %d for each", len(dst), len(histories), width)
	}
	for first := 0; first < len(histories); first += atOnce {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := histories[first:min(first+atOnce, len(histories))]
		items, lengths, err := e.config.pad(part)
		if err != nil {
			return fmt.Errorf("onnx: from history %d on: %w", first, err)
		}
		values, err := e.run(items, lengths, output)
		if err != nil {
			return fmt.Errorf("onnx: %s cannot compute histories %d to %d: %w", e.config.Name, first, first+len(part)-1, err)
		}
		for i := range part {
			row := dst[(first+i)*width : (first+i+1)*width]
			if output == outputScores {
				for k, id := range e.config.IDs {
					row[k] = values[i*e.config.Scored+id]
				}
			} else {
				copy(row, values[e.config.last(i, lengths[i])*width:])
			}
			if at := slices.IndexFunc(row, func(x float32) bool { return x-x != 0 }); at >= 0 {
				return fmt.Errorf("onnx: %s gives NaN or infinity at number %d of the %s after history %d; its weights are broken", e.config.Name,
					at, output, first+i)
			}
		}
	}
	return nil
}

// last is the row of a batch's states that stands for the last item of a history.
func (c Config) last(history int, length int64) int {
	switch {
	case !c.Each:
		return history
	case c.Left:
		return (history+1)*c.Positions - 1
	}
	return history*c.Positions + int(length) - 1
}

// pad lays out histories as the model takes them.
func (c Config) pad(histories [][]int32) (items, lengths []int64, err error) {
	items, lengths = make([]int64, len(histories)*c.Positions), make([]int64, len(histories))
	for i, history := range histories {
		if len(history) == 0 {
			return nil, nil, errors.New("a history is empty; at least one item is needed")
		}
		history = history[max(0, len(history)-c.Positions):]
		row := items[i*c.Positions : (i+1)*c.Positions]
		for k := range row {
			row[k] = int64(c.Padding)
		}
		if c.Left {
			row = row[c.Positions-len(history):]
		}
		for k, item := range history {
			if item < 0 || int(item) >= len(c.IDs) {
				return nil, nil, fmt.Errorf("item %d; the catalogue has items 0 to %d", item, len(c.IDs)-1)
			}
			row[k] = int64(c.IDs[item])
		}
		lengths[i] = int64(len(history))
	}
	return items, lengths, nil
}

// inputs makes the tensors of a batch, by their names. The caller releases them.
func (c Config) inputs(items, lengths []int64) (names []string, tensors []ort.Value, err error) {
	n, positions := int64(len(lengths)), int64(c.Positions)
	names = []string{inputItems}
	add := func(tensor ort.Value, failed error) {
		if err = cmp.Or(err, failed); failed == nil {
			tensors = append(tensors, tensor)
		}
	}
	add(ort.NewTensor(ort.NewShape(n, positions), items))
	if c.Lengths != "" {
		names = append(names, c.Lengths)
	}
	switch {
	case c.Lengths == inputLength:
		add(ort.NewTensor(ort.NewShape(n), lengths))
	case c.Lengths == inputMask && c.Bool:
		add(ort.NewTensor(ort.NewShape(n, positions), masks(c, lengths, true)))
	case c.Lengths == inputMask:
		add(ort.NewTensor(ort.NewShape(n, positions), masks(c, lengths, int64(1))))
	}
	return names, tensors, err
}

// masks has the value at items.
func masks[T any](c Config, lengths []int64, value T) []T {
	mask := make([]T, len(lengths)*c.Positions)
	for i, length := range lengths {
		first := i * c.Positions
		if c.Left {
			first += c.Positions - int(length)
		}
		for k := range int(length) {
			mask[first+k] = value
		}
	}
	return mask
}

// run computes an output of a batch.
func (e *Encoder) run(items, lengths []int64, output string) ([]float32, error) {
	b, err := e.session.CreateIoBinding()
	if err != nil {
		return nil, err
	}
	defer b.Destroy()
	names, tensors, err := e.config.inputs(items, lengths)
	defer func() {
		for _, t := range tensors {
			t.Destroy()
		}
	}()
	for i, t := range tensors {
		err = cmp.Or(err, b.BindInput(names[i], t))
	}
	if err != nil {
		return nil, err
	}
	result, err := ort.NewEmptyTensor[float32](e.config.shape(output, len(lengths)))
	if err != nil {
		return nil, err
	}
	tensors = append(tensors, result)
	values := result.GetData()
	return values, cmp.Or(b.BindOutput(output, result), e.session.RunWithBinding(b))
}

// shape is that of an output of n histories.
func (c Config) shape(output string, n int) ort.Shape {
	switch {
	case output == outputScores:
		return ort.NewShape(int64(n), int64(c.Scored))
	case c.Each:
		return ort.NewShape(int64(n), int64(c.Positions), int64(c.Width))
	}
	return ort.NewShape(int64(n), int64(c.Width))
}
