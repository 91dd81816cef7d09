package adapter

// positions applies mlp to the state after each item.
var positions = Entry{
	Name:    "positions",
	Native:  string(mlp.Name),
	Help:    "reads the state after each item and gives each its own soft tokens",
	Reads:   EachState,
	Hidden:  true,
	Modules: mlp.Modules,
	Export:  mlp.Export,
}
