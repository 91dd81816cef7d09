package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/onnx"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// ErrBusy is found in the error of a question for which the queue has no room.
var ErrBusy = errors.New("service: the queue of questions is full; ask again a little later")

// ErrClosed is found in the error of a call on a service that is closed.
var ErrClosed = errors.New("service: it is closed")

// InvalidError says what is wrong with a request and how to correct it.
type InvalidError struct{ error }

// Unwrap gives the cause.
func (e *InvalidError) Unwrap() error { return e.error }

func invalid(format string, args ...any) error {
	return &InvalidError{fmt.Errorf("service: "+format, args...)}
}

// Options configure a service. The zero value is a good start.
type Options struct {
	// Engine computes the LLM. Services may share one and then take turns; each keeps its own LLM.
	// nil: a new engine, on a GPU if there is one.
	Engine *cgo.Engine

	Slots     int           // sequences answered side by side, at least 5 and at most cgo.MaxSlots; 0: 32
	Queue     int           // the most questions that wait, at least 2; 0: twice the slots
	Linger    time.Duration // the longest a question waits for others to share its prompt's pass; 0: 100 ms; negative: not at all
	MaxTokens int           // an answer is cut here; 0: the longest answer of the training part, and a little more
}

// Service answers questions about one run. It is safe for concurrent use.
type Service struct {
	run     *run.Run
	encoder *recommender.Encoder // nil: states come from a file
	info    Info
	search  index
	line    line
	chart   func() (*Map, error)
	// familiarity recognises unlike states; nil if it cannot, as for an adapter that reads the
	// state after each item.
	familiarity func() *run.Familiarity
	engines     []*cgo.Engine // its own
	count       counters
	close       sync.Once
	closed      error
	done        chan struct{} // closed when the last question is answered
}

// Info describes a service and its run.
type Info struct {
	Asks        prompt.Asked `json:"asks" doc:"The question of the run's prompt."`
	Question    string       `json:"question" doc:"The same, in words."`
	Closed      bool         `json:"closed" doc:"Answers come from a closed set."`
	Title       bool         `json:"title" doc:"The answer is the title of an item, and titles can be ranked."`
	Recommender string       `json:"recommender" doc:"The recommender's model, or that states come from a file."`
	Adapter     adapter.Kind `json:"adapter" doc:"The adapter's kind."`
	Dataset     string       `json:"dataset" doc:"The data set's name."`
	Items       int          `json:"items" doc:"V, of the catalogue."`
	StateWidth  int          `json:"state_width" doc:"W, the numbers in a state."`
	ItemWidth   int          `json:"item_width" doc:"D, the numbers in an item's vector."`
	Positions   int          `json:"positions" doc:"T: the last items of a history that count."`
	Shortest    int          `json:"shortest" doc:"The smallest number of items in a history."`
	Oracles     bool         `json:"oracles" doc:"There are oracles, and the run's prompt can put them into words."`
	MaxTokens   int          `json:"max_tokens" doc:"Answers are cut at this length."`
	Hash        string       `json:"hash" doc:"Of the adapter's file."`
}

// Judge compares an answer about a history with the true one and reports which of its lines the
// answer names.
func (s *Service) Judge(history []int32, answer string) (truth task.Question, named []bool) {
	truth = s.run.Question(-1, history)
	return truth, s.run.Task.Named(answer, truth.Answer)
}

// Open opens a trained run and starts answering.
func Open(dir string, opts Options) (*Service, error) {
	if opts.Slots == 0 {
		opts.Slots = 32
	}
	if opts.Queue == 0 {
		opts.Queue = 2 * opts.Slots
	}
	if opts.Linger == 0 {
		opts.Linger = 100 * time.Millisecond
	}
	if opts.Slots < run.Places || opts.Slots > cgo.MaxSlots || opts.Queue < 2 {
		return nil, fmt.Errorf("service: %d slots and room for %d questions; slots are %d to %d, questions at least 2", opts.Slots,
			opts.Queue, run.Places, cgo.MaxSlots)
	}
	s := &Service{done: make(chan struct{})}
	s.line.init(opts.Queue, opts.Linger, &s.count.givenUp)
	if err := s.open(dir, opts); err != nil {
		return nil, errors.Join(err, s.release())
	}
	session, err := s.run.Interpreter.Session()
	if err != nil {
		return nil, errors.Join(err, s.release())
	}
	go s.work(session)
	return s, nil
}

func (s *Service) open(dir string, opts Options) error {
	encoding, err := s.engine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		return err
	}
	if opts.Engine == nil {
		if opts.Engine, err = s.engine(cgo.EngineParams{}); err != nil {
			return err
		}
	}
	s.run, err = run.OpenApart(encoding, opts.Engine, dir, interpret.Options{Slots: opts.Slots, MaxTokens: opts.MaxTokens})
	if err != nil {
		return err
	}
	if _, err := s.run.Grammar(); err != nil { // made here, because a run is not safe for concurrent use; later it is only read
		return err
	}
	s.search = newIndex(s.run.Data)
	s.familiarity = sync.OnceValue(func() *run.Familiarity { // at the first question: it reads thousands of states
		f, err := s.run.Familiarity(context.Background())
		if err != nil {
			return nil
		}
		return f
	})
	source, model := s.run.Source, "a file of states"
	if s.run.Live != nil {
		model = s.run.Live.Name()
	}
	if r := s.run.Recommender; r != nil {
		s.encoder = r.Encoder()
		s.chart = sync.OnceValues(func() (*Map, error) { return newMap(r) })
	}
	s.info = Info{
		Asks: s.run.Spec.Template.Asks, Question: s.run.Task.Usage, Closed: s.run.Task.Closed, Title: s.run.Task.Title, Recommender: model, Adapter: s.run.Spec.Adapter, Dataset: s.run.Data.Name,
		Items: len(s.run.Data.Items), StateWidth: source.StateWidth(), ItemWidth: source.ItemWidth(), Positions: source.Positions(), Shortest: prompt.Shortest(s.run.Prompts[0].SlotNames()),
		MaxTokens: s.run.Interpreter.MaxTokens(), Hash: s.run.Hash(),
	}
	s.info.Oracles = s.run.Recommender != nil && s.run.Recommender.Generates() && s.run.Task.Title
	return nil
}

// engine starts an engine that the service owns.
func (s *Service) engine(params cgo.EngineParams) (*cgo.Engine, error) {
	engine, err := cgo.NewEngine(params)
	if err == nil {
		s.engines = append(s.engines, engine)
	}
	return engine, err
}

// Close refuses further questions, waits until all accepted ones are answered or abandoned, and
// releases the run. A second Close waits, too.
func (s *Service) Close() error {
	s.close.Do(func() {
		s.line.close(ErrClosed)
		<-s.done
		s.closed = s.release()
	})
	return s.closed
}

// release closes the run and the engines.
func (s *Service) release() (err error) {
	if s.run != nil {
		err = s.run.Close()
	}
	for _, engine := range s.engines {
		err = errors.Join(err, engine.Close())
	}
	return err
}

// Err is the error of all further questions to the LLM: the LLM has failed, or the service is
// closed. nil: the service accepts questions.
func (s *Service) Err() error { return s.line.reason() }

// Info describes the service and its run.
func (s *Service) Info() Info { return s.info }

// State writes the state after the last item of a history to dst [W]. With a recommender that has
// weights, it allocates nothing.
func (s *Service) State(dst []float32, history []int32) error {
	if err := cmp.Or(s.live(), s.checkHistory(history, 1)); err != nil {
		return err
	}
	if len(dst) != s.info.StateWidth {
		return invalid("room for %d numbers; a state has %d", len(dst), s.info.StateWidth)
	}
	if s.encoder == nil {
		return s.run.Live.States(context.Background(), dst, [][]int32{history})
	}
	return closing(s.encoder.State(dst, history))
}

// Recommend appends to dst the k items with the highest scores after a history, best first, without
// those of the history. If dst has room, it allocates nothing. A recommender that generates draws
// an oracle, which takes milliseconds.
func (s *Service) Recommend(ctx context.Context, dst []recommender.Scored, history []int32, k int) ([]recommender.Scored, error) {
	if err := cmp.Or(ctx.Err(), s.live(), s.checkHistory(history, 1), s.checkCount(k)); err != nil {
		return dst, err
	}
	if s.encoder == nil || s.run.Live.Generates() {
		best, err := recommender.Recommend(ctx, s.run.Live, [][]int32{history}, k)
		if errors.Is(err, onnx.ErrNoScores) {
			return dst, invalid("%w", err)
		}
		if err != nil {
			return dst, closing(err)
		}
		return append(dst, best[0]...), nil
	}
	dst, err := s.encoder.Recommend(dst, history, k)
	return dst, closing(err)
}

// RecommendState returns the k items with the highest scores for a state [W], or for an oracle [D],
// without the excluded ones.
func (s *Service) RecommendState(state []float32, without []int32, k int) ([]recommender.Scored, error) {
	if err := cmp.Or(s.weights(), s.checkVector("the state", state, s.info.StateWidth), s.checkItems(without), s.checkCount(k)); err != nil {
		return nil, err
	}
	scores := make([]float32, s.info.Items)
	if err := s.run.Recommender.ScoreStates(scores, state); errors.Is(err, cgo.ErrNumeric) {
		return nil, invalid("the scores of the state are not finite; give smaller numbers")
	} else if err != nil {
		return nil, closing(err)
	}
	return recommender.Highest(scores, k, without), nil
}

// live is an error for runs without a recommender.
func (s *Service) live() error {
	if s.run.Live == nil {
		return invalid("this run's states come from a file, which has only its own sequences; name a user, or give states")
	}
	return nil
}

// weights is an error for runs without a recommender's weights.
func (s *Service) weights() error {
	if s.run.Recommender == nil {
		return invalid("this run's states come from %s, and this needs a recommender's weights; train a run with weights", s.info.Recommender)
	}
	return nil
}

// closing returns ErrClosed for errors of calls during Close.
func closing(err error) error {
	if errors.Is(err, cgo.ErrClosed) {
		return fmt.Errorf("%w (%w)", ErrClosed, err)
	}
	return err
}

func (s *Service) checkCount(k int) error {
	if k < 1 || k > s.info.Items {
		return invalid("%d items are asked for; ask for 1 to %d", k, s.info.Items)
	}
	return nil
}

func (s *Service) checkHistory(history []int32, least int) error {
	if len(history) < least {
		return invalid("the history has %d items; at least %s needed", len(history), []string{"one is", "two are"}[least-1])
	}
	return s.checkItems(history)
}

func (s *Service) checkItems(items []int32) error {
	for _, item := range items {
		if item < 0 || int(item) >= s.info.Items {
			return invalid("there is no item %d; items are 0 to %d", item, s.info.Items-1)
		}
	}
	return nil
}

func (s *Service) checkVector(name string, vector []float32, width int) error {
	if len(vector) != width {
		return invalid("%s has %d numbers; it needs %d", name, len(vector), width)
	}
	for i, x := range vector {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return invalid("%s is not finite at number %d", name, i)
		}
	}
	return nil
}
