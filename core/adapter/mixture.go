package adapter

var mixture = Entry{
	Name:    "mixture",
	Help:    "a matrix on a learned mixture of the states after each item, the authors' for recovery",
	Reads:   StatesSideBySide,
	Cold:    "a mix of states stands for no single title",
	Modules: "mix, a number for each position; nn.Linear on the mixed state",
}
