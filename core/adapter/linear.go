package adapter

// Projection is the paper's kind: a matrix and a bias.
const Projection = Kind("linear")

var linear = Entry{
	Name:    Projection,
	Help:    "one matrix, as in the paper",
	Coarse:  true,
	Modules: "nn.Linear",
}
