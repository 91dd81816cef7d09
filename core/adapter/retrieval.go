package adapter

// retrieval does the naming itself: from the sum of a history's states it finds the items, whose
// titles the LLM then reads.
var retrieval = Entry{
	Name:    "retrieval",
	Was:     "recall",
	Help:    "a lookup of several entries, chosen by the sum of a history's states",
	Reads:   SumOfStates,
	Hidden:  true,
	Entries: true,
	LookUps: true,
	Modules: "nn.Sequential(nn.Linear, nn.GELU(), nn.Linear), whose best scores choose rows of entries; each soft token is " +
		"then multiplied by turn, plus bias",
	Export: map[string]string{"w1": "0.weight", "b1": "0.bias", "keys": "2.weight", "key_bias": "2.bias"},
}
