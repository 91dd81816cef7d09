package adapter

// The kinds of runs for which nobody chooses one: for one item's title, for the titles of a whole
// history, and for all else.
const (
	OfTitle  = Kind("memory")
	OfTitles = Kind("retrieval")
	Default  = Kind("mlp")
)

var entries = []Entry{memory, mlp, linear, mixture, retrieval, positions, bias}
