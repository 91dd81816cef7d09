package grammar_test

import (
	"fmt"
	"log"

	"github.com/recinterpreter/recinterpreter/core/grammar"
)

// runes is a vocabulary with a token for each rune. A full stop ends an answer.
type runes struct{}

func (runes) Special() (bos, eos, eot int32, err error) { return -1, '.', -1, nil }

func (runes) Tokenize(text string, _ bool) ([]int32, error) { return []rune(text), nil }

func (runes) Detokenize(tokens []int32, _ bool) (string, error) { return string(tokens), nil }

func (runes) Chat(user string) (string, error) { return user, nil }

// After "Heat" an answer ends or continues as another title of the catalogue.
func Example() {
	g, err := grammar.Titles(runes{}, []string{"Heat", "Heathers", "Fargo"}, 1)
	if err != nil {
		log.Fatal(err)
	}
	at := g.Start()
	for _, token := range "Heat" {
		for _, step := range g.Next(at) {
			if step.Token == token {
				at = step.To
				break
			}
		}
	}
	for _, step := range g.Next(at) {
		fmt.Printf("%c, which ends the answer: %v\n", step.Token, step.Ends)
	}
	// Output:
	// h, which ends the answer: false
	// ., which ends the answer: true
}
