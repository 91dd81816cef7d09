// Package service answers questions about a trained run for many concurrent callers.
//
// Open a run's folder once and call it from any number of goroutines:
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
// Calls that need only the recommender (State, Recommend) run on a separate engine, in the caller's
// goroutine, one history at a time: they wait neither for the LLM nor for a batch. If dst has room,
// they allocate nothing. bench/README.md says how long both take.
//
// Calls that need the LLM (Interpret, Rank, Oracle) go through a queue to one goroutine, which
// answers up to Options.Slots sequences side by side, a token at each step. Questions of all
// callers join between two steps. One prompt alone costs nearly as much as several side by side, so
// a question waits until as many others wait as are under way, but no longer than Options.Linger.
// Answering questions side by side changes the last digits of probabilities, and so the words only
// where two tokens are equally likely up to these digits.
//
// # Overload and deadlines
//
// At most Options.Queue questions wait; the next one gets ErrBusy at once, and the caller may ask
// again. So the waiting time of accepted questions is bounded: the queue's length divided by the
// LLM's throughput. A question whose context ends is abandoned between two steps and makes room for
// others. InterpretAndRank and Oracle ask two questions at a time; both are accepted or neither.
//
// Errors that the caller can correct are an *InvalidError and say how: unknown items, vectors of
// another width, numbers that are not finite or too large for the LLM. After Close, calls fail with
// ErrClosed; Close waits until all accepted questions are answered.
package service
