// Command other is a program of another module that uses a run.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/recinterpreter/recinterpreter/core/service"
)

func main() {
	s, err := service.Open(os.Args[1], service.Options{MaxTokens: 8})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	history, _ := s.Search("", 3)
	best, err := s.Recommend(context.Background(), nil, history, 5)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := s.Interpret(context.Background(), service.Question{History: history}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(best), len(answer.Tokens) > 0)
}
