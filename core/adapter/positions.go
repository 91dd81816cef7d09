package adapter

// positions applies mlp to the state after each item.
var positions = Entry{
	Name:    "positions",
	Native:  string(mlp.Name),
	Help:    "reads the state after each item, each with soft tokens of its own",
	Reads:   EachState,
	Hidden:  true,
	Modules: mlp.Modules,
	Export:  mlp.Export,
}
