// Package service answers questions about a trained run inside a program with many concurrent users.
//
// Open a run's folder once, and ask from any number of goroutines:
//
//	s, err := service.Open("run", service.Options{})
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	best, err := s.Recommend(ctx, nil, history, 10)
//	answer, err := s.Interpret(ctx, service.Question{History: history}, nil)
//
// Histories are dense item ids, oldest first; Item finds the dense id of a data set's own id, and
// Search finds items by words of their titles.
//
// # Two speeds
//
// What asks only the recommender (State, Recommend) runs on an engine of its own, in the caller's
// goroutine, one history at a time: it waits neither for the LLM nor for others to make up a batch.
// With a dst that has room, nothing is allocated. bench/README.md says how long both take.
//
// What asks the LLM (Interpret, Rank, Oracle) goes through a queue to one goroutine, which answers
// up to Options.Slots sequences side by side, a token at each step. Questions of all callers join
// between two steps: a prompt by itself costs nearly as much as several side by side, so a question
// waits until as many others wait as are under way, but no longer than Options.Linger. Questions
// answered side by side change the last digits of probabilities, and so the words only where two
// tokens are equally likely up to these.
//
// # Too much, too late
//
// At most Options.Queue questions wait; the next one gets ErrBusy at once, and it is the caller's
// choice to ask again. So what is accepted has a bound: the queue's length over the LLM's
// throughput. A question whose context ends is given up between two steps, wherever it is, and
// makes room for others. InterpretAndRank and Oracle ask two questions at a time, of which both are
// accepted or none.
//
// Errors that the caller can put right are an *InvalidError, and say how: unknown items, vectors of
// another width, numbers that are not finite or too large for the LLM. After Close, calls fail with
// ErrClosed; Close itself waits until what was accepted is answered.
package service
