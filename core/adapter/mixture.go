package adapter

var mixture = Entry{
	Name:    "mixture",
	Help:    "one matrix on a learned mixture of the states after each item, as in the authors' recovery code",
	Reads:   StatesSideBySide,
	Cold:    "a mix of states stands for no single title",
	Modules: "mix, a number for each position; nn.Linear on the mixed state",
}
