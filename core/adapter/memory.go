package adapter

// memory does the naming itself: from a state it finds the item, whose title the LLM then reads.
var memory = Entry{
	Name:    "memory",
	Was:     "dictionary",
	Help:    "a lookup: a hidden layer attends to one entry per item",
	Hidden:  true,
	Entries: true,
	Modules: `nn.Sequential(nn.Linear, nn.GELU(approximate="tanh"), nn.Linear, nn.Softmax, nn.Linear without a bias), ` +
		"then each soft token times turn, plus bias",
	Export: map[string]string{"w1": "0.weight", "b1": "0.bias", "keys": "2.weight", "key_bias": "2.bias", "entries": "4.weight"},
}
