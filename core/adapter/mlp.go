package adapter

var mlp = Entry{
	Name:    "mlp",
	Help:    "one hidden layer",
	Hidden:  true,
	Modules: `nn.Sequential(nn.Linear, nn.GELU(approximate="tanh"), nn.Linear)`,
	Export:  map[string]string{"w1": "0.weight", "b1": "0.bias", "w2": "2.weight", "b2": "2.bias"},
}
