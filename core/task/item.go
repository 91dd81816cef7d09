package task

import "github.com/recinterpreter/recinterpreter/core/prompt"

// item asks for an item by its vector, and so for any vector in that space, such as an oracle. It
// is scored as the title of a last item.
func item() Task {
	t := residual()
	t.Vector = true
	t.Prompts = []prompt.Template{
		{Name: "item", Asks: t.Asks, Texts: []string{"Repeat the title."}, Reply: "{item}:", Examples: pairs()},
	}
	return t
}
