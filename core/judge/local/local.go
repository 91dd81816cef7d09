package local

import (
	"context"
	"fmt"
	"sync"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/judge"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Judge replies with the likelier of the two numbers.
type Judge struct {
	name      string
	gguf      *cgo.GGUF
	mu        sync.Mutex // of the generator
	generator *cgo.Generator
	context   int
	numbers   []int32 // the tokens of 1 and 2
}

// New makes a judge with the given name from an LLM. It keeps using engine and gguf.
func New(engine *cgo.Engine, gguf *cgo.GGUF, name string) (*Judge, error) {
	info, err := gguf.Describe()
	if err != nil {
		return nil, err
	}
	l := &Judge{name: name, gguf: gguf, context: min(int(info.Context), 2048)}
	for _, digit := range []string{"1", "2"} {
		tokens, err := gguf.Tokenize(digit, false)
		if err != nil {
			return nil, err
		}
		if len(tokens) == 0 {
			return nil, fmt.Errorf("judge: %s has no token for %q", name, digit)
		}
		l.numbers = append(l.numbers, tokens[len(tokens)-1])
	}
	l.generator, err = cgo.NewGenerator(engine, gguf, cgo.GeneratorParams{Slots: 1, Context: l.context})
	return l, err
}

// Close releases the generator. A second Close does nothing.
func (l *Judge) Close() error { return l.generator.Close() }

// Name is the name given to New.
func (l *Judge) Name() string { return l.name }

// Ask compares the probabilities of the two numbers as the reply's first token.
func (l *Judge) Ask(ctx context.Context, question string) (judge.Reply, error) {
	if err := ctx.Err(); err != nil {
		return judge.Reply{}, err
	}
	tokens, err := prompt.Question(l.gguf, question)
	if err != nil {
		return judge.Reply{}, err
	}
	if len(tokens) > l.context {
		return judge.Reply{}, fmt.Errorf("the question has %d tokens; %s has room for %d", len(tokens), l.name, l.context)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.generator.Reset(0); err != nil {
		return judge.Reply{}, err
	}
	logProbs := make([]float32, 2)
	batch := cgo.DecodeBatch{Slots: []int32{0}, Counts: []int32{int32(len(tokens))}, Tokens: tokens, AskedCounts: []int32{2},
		Asked: l.numbers}
	if err := l.generator.Decode(batch, cgo.Decoded{Asked: logProbs}); err != nil {
		return judge.Reply{}, err
	}
	reply := judge.Reply{Text: "1", Tokens: len(tokens) + 1}
	if logProbs[1] > logProbs[0] {
		reply.Text = "2"
	}
	return reply, nil
}
