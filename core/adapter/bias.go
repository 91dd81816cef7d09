package adapter

// bias is a control: soft tokens that are trained like those of the other kinds but do not depend
// on the state (arXiv 2602.10352). Where it does as well, the answers do not come from states.
var bias = Entry{
	Name:    "bias",
	Blind:   true,
	Help:    "a control: the same trained soft tokens for every state",
	Modules: "nn.Parameter",
}
