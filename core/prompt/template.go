package prompt

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// The slots of templates. Soft tokens of recommender states replace each.
const (
	SlotState  = "state"  // the state after the whole history
	SlotBefore = "before" // the state before the last item
	SlotAfter  = "after"  // the state after the last item
	SlotItem   = "item"   // the last item's own vector, in the recommender's space of item embeddings; the only slot of its template

	// Slots of comparing templates show states after parts of the history, each as a separate
	// history.
	SlotEarlier = "earlier" // its first half
	SlotLater   = "later"   // its second half
	SlotOne     = "one"     // of its last two items the one with the lower number
	SlotOther   = "other"   // and the other one
)

var slotNames = []string{SlotState, SlotBefore, SlotAfter, SlotItem, SlotEarlier, SlotLater, SlotOne, SlotOther}

// About gives the items of a history that a slot is about; none if the history is too short.
func About(slot string, history []int32) []int32 {
	switch slot {
	case SlotBefore:
		return history[:max(0, len(history)-1)]
	case SlotEarlier:
		return history[:len(history)/2]
	case SlotLater:
		return history[len(history)/2:]
	case SlotOne, SlotOther:
		if len(history) < 2 {
			return nil
		}
		last := slices.Sorted(slices.Values(history[len(history)-2:]))
		if slot == SlotOne {
			return last[:1]
		}
		return last[1:]
	}
	return history
}

// Shortest is the number of items that a history needs for slots.
func Shortest(slots []string) int {
	for _, slot := range slots {
		if len(About(slot, make([]int32, 1))) == 0 {
			return 2
		}
	}
	return 1
}

// Compares reports whether a slot shows the state after a part of the history, which only a
// recommender can compute.
func Compares(slot string) bool {
	return slices.Contains([]string{SlotEarlier, SlotLater, SlotOne, SlotOther}, slot)
}

// Asked names what a template asks for; package task defines its meaning.
type Asked string

// Template is a question to the LLM as data: a user message in one or more wordings, and the start
// of the reply, after which the answer follows. Named slots in braces are in the message or in the
// start of the reply, the same slots in the same order in each wording. Each pass of training draws
// one of the wordings; later questions use the first. Everything up to the first slot is computed
// once and shared by all samples. Tokens after it are computed for every sample, so slots belong at
// the end.
//
// Examples are histories of titles, the oldest first, that show how a question is answered. Each is
// a start of the reply, in which the first tokens of a title take the place of the soft tokens of
// its state, as the warm start teaches them, and the answer. They are part of the constant prefix
// and precede the start of the reply, which must then hold all slots.
type Template struct {
	Name  string   `json:"name"`
	Asks  Asked    `json:"asks"`
	Texts []string `json:"texts"`
	// Untrained are wordings that training never draws. They show whether an answer depends on the
	// wording.
	Untrained []string   `json:"untrained,omitempty"`
	Reply     string     `json:"reply,omitempty"`
	Examples  [][]string `json:"examples,omitempty"`
}

// ReadTemplate reads a template from a JSON file with the keys "name", "asks" and "texts", and
// optionally "reply" and "examples".
func ReadTemplate(path string) (Template, error) {
	text, err := artifact.ReadText(path)
	if err != nil {
		return Template{}, fmt.Errorf("prompt: %w", err)
	}
	t, err := ParseTemplate(text)
	if err != nil {
		return Template{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ParseTemplate reads a template from JSON and validates it. Unknown keys are an error.
func ParseTemplate(data []byte) (Template, error) {
	var t Template
	var keys map[string]json.RawMessage
	if json.Unmarshal(data, &keys) == nil && keys["text"] != nil {
		return Template{}, fmt.Errorf(`prompt: template: the key "text" is now "texts", a list: "texts": ["…"]`)
	}
	if err := artifact.ParseJSON(data, &t, artifact.KnownKeys); err != nil {
		return Template{}, fmt.Errorf("prompt: template, %w; its keys are name and asks (texts in quotes), texts (a list of them), reply, "+
			"and examples (a list of lists)", err)
	}
	return t, t.Validate()
}

// Validate returns an error for an invalid template.
func (t Template) Validate() error {
	if t.Name == "" {
		return fmt.Errorf("prompt: the template has no name")
	}
	if t.Asks == "" {
		return fmt.Errorf("prompt: template %q asks for %q; its asks must say what, such as \"last item\"", t.Name, t.Asks)
	}
	slots, err := t.Slots()
	if err != nil {
		return err
	}
	switch {
	case slices.Contains(slots, SlotItem):
		if len(slots) > 1 {
			return fmt.Errorf("prompt: template %q: {%s} must be the only slot, since it says nothing of other items", t.Name, SlotItem)
		}
	case !slices.ContainsFunc(slots, func(slot string) bool { return slices.Contains([]string{SlotState, SlotAfter, SlotLater}, slot) }):
		return fmt.Errorf("prompt: template %q shows neither {%s} nor {%s}, so nothing of the last item", t.Name, SlotState, SlotAfter)
	}
	if len(t.Examples) == 0 {
		return nil
	}
	if inReply, err := t.slots(t.Reply); err != nil || len(inReply) != len(slots) {
		return fmt.Errorf("prompt: template %q has examples, but not all of its slots in the reply", t.Name)
	}
	for i, titles := range t.Examples {
		if len(titles) < 2 || slices.Contains(titles, "") {
			return fmt.Errorf("prompt: template %q: example %d is %q; it needs two titles or more", t.Name, i+1, titles)
		}
	}
	return nil
}

var (
	slotPattern = regexp.MustCompile(`\{([A-Za-z_]+)\}`)
	nearSlot    = regexp.MustCompile(`(?i)\{\s*(` + strings.Join(slotNames, "|") + `)\s*\}`) // probably meant as a slot
)

// Slots gives the names of the template's slots in the order of its texts, which is the order in
// which a sample's states are given.
func (t Template) Slots() ([]string, error) {
	if len(t.Texts) == 0 {
		return nil, fmt.Errorf("prompt: template %q has no texts", t.Name)
	}
	first, err := t.slots(t.Texts[0] + t.Reply)
	if err != nil {
		return nil, err
	}
	for i, text := range slices.Concat(t.Texts[1:], t.Untrained) {
		slots, err := t.slots(text + t.Reply)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(slots, first) {
			return nil, fmt.Errorf("prompt: template %q: text %d has the slots %v, text 1 has %v; all need the same in one order",
				t.Name, i+2, slots, first)
		}
	}
	return first, nil
}

// slots gives the names of one text's slots.
func (t Template) slots(text string) ([]string, error) {
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("prompt: template %q has an empty text", t.Name)
	}
	for _, near := range nearSlot.FindAllString(text, -1) {
		if !slotPattern.MatchString(near) || strings.ToLower(near) != near {
			return nil, fmt.Errorf("prompt: template %q: %s is no slot; write it in lower case and without spaces", t.Name, near)
		}
	}
	var slots []string
	for _, match := range slotPattern.FindAllStringSubmatch(text, -1) {
		name := match[1]
		if !slices.Contains(slotNames, name) {
			return nil, fmt.Errorf("prompt: template %q: no slot is called {%s}; known are {%s}", t.Name, name, strings.Join(slotNames, "}, {"))
		}
		if slices.Contains(slots, name) {
			return nil, fmt.Errorf("prompt: template %q: slot {%s} occurs twice in a text", t.Name, name)
		}
		slots = append(slots, name)
	}
	if len(slots) == 0 {
		return nil, fmt.Errorf("prompt: template %q has a text without a slot; put one of {%s} where the state belongs",
			t.Name, strings.Join(slotNames, "}, {"))
	}
	return slots, nil
}

// split cuts text at the slots, each of which must occur once and in this order, into len(slots)+1
// segments.
func split(text string, slots []string) ([]string, error) {
	segments := make([]string, 0, len(slots)+1)
	for _, slot := range slots {
		before, after, found := strings.Cut(text, "{"+slot+"}")
		if !found || strings.Contains(after, "{"+slot+"}") {
			return nil, fmt.Errorf("prompt: the model's chat template loses, moves or repeats the slot {%s}", slot)
		}
		segments = append(segments, before)
		text = after
	}
	return append(segments, text), nil
}
