package adapter

// The default kinds: for one question about an item's title, for one about the titles of a whole
// history, and for all other questions.
const (
	DefaultForTitle   = Kind("memory")
	DefaultForHistory = Kind("retrieval")
	Default           = Kind("mlp")
)

var entries = []Entry{memory, mlp, linear, mixture, retrieval, positions, bias}
