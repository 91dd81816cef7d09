// Package probe measures what a recommender's states hold of the item that was chosen last. A probe
// is a classifier that is trained to name this item from the state after it, or from the states
// before and after it: softmax regression, or a network with one hidden layer (Alain and Bengio
// 2016, arXiv 1610.01644).
//
// An adapter reads the same states and learns from the same sequences, but must put what it reads
// into words through a frozen LLM. So what the better probe names on the test part is the honest
// ceiling of what an adapter's answers can be expected to name. It is a lower bound of what the
// states hold: a larger probe, or longer training, may find more.
package probe
