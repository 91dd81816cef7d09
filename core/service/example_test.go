package service_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/service"
)

// A service opens a run once and answers any number of callers.
func Example() {
	s, err := service.Open(service.Residual(), service.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	var history []int32
	for _, title := range []string{"The Silent Harbour", "Orchard, Golden, The"} {
		if item, ok := s.Title(title); ok {
			history = append(history, item)
		} else {
			found, _ := s.Search("golden orchard", 1)
			history = append(history, found...)
		}
	}
	for _, item := range history {
		fmt.Println(s.Describe(item).ID, s.Describe(item).Title)
	}
	best, err := s.Recommend(context.Background(), nil, history, 10)
	fmt.Println(len(best), "recommendations", err)
	// Output:
	// film-0 The Silent Harbour
	// film-7 The Golden Orchard
	// 10 recommendations <nil>
}

// Where dst has room, calls that ask only the recommender allocate nothing.
func ExampleService_Recommend() {
	s, err := service.Open(service.Residual(), service.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	state, best := make([]float32, s.Info().StateWidth), make([]recommender.Scored, 0, 3)
	for _, history := range [][]int32{{1, 8}, {1, 8, 15}} {
		if err := s.State(state, history); err != nil {
			log.Fatal(err)
		}
		if best, err = s.Recommend(context.Background(), best[:0], history, 3); err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(best), "after", len(history), "films")
	}
	// Output:
	// 3 after 2 films
	// 3 after 3 films
}

// Interpret reports each token as it is generated. The context limits how long the answer may take.
func ExampleService_Interpret() {
	s, err := service.Open(service.Residual(), service.Options{MaxTokens: 16})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var text strings.Builder
	answer, err := s.Interpret(ctx, service.Question{History: []int32{1, 8}}, func(t service.Token) { text.WriteString(t.Text) })
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.HasPrefix(answer.Text, strings.TrimSpace(text.String())))
	// Output: true
}

// Answers that name an item of the catalogue, with the probability of each.
func ExampleService_Rank() {
	s, err := service.Open(service.Residual(), service.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	answers, err := s.Rank(context.Background(), service.Question{History: []int32{1, 8}}, 5)
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range answers {
		if _, ok := s.Title(a.Text); !ok {
			fmt.Println(a.Text, "is no title")
		}
	}
	fmt.Println(len(answers), "titles")
	// Output: 5 titles
}

// When the queue is full, further questions are refused at once.
func ExampleOptions() {
	s, err := service.Open(service.Residual(), service.Options{Slots: 5, Queue: 2, MaxTokens: 16})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, err := s.Interpret(context.Background(), service.Question{History: []int32{1, 8}}, nil)
			if err != nil && !errors.Is(err, service.ErrBusy) {
				log.Print(err)
			}
		})
	}
	all.Wait()
	stats := s.Stats()
	fmt.Println(stats.Answered+stats.Refused, stats.Refused > 0, stats.Waiting, stats.Live)
	// Output: 50 true 0 0
}
