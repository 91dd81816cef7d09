package adapter

// Default is the kind of a run that asks for none.
const Default = Kind("memory")

var entries = []Entry{memory, mlp, linear, mixture, retrieval, positions, bias}
