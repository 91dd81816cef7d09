// Package prompt turns a template with slots for recommender states into the token sequences that a frozen LLM reads:
// a constant prefix, soft tokens where the slots are, the rest of the prompt, and an answer.
package prompt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// The slots a template may hold. Each stands for the soft tokens of one recommender state.
const (
	SlotState  = "state"  // the state after the whole history
	SlotBefore = "before" // the state before the last item
	SlotAfter  = "after"  // the state after the last item
)

// Template is a user message with named slots in braces, for example "Name the film.{before}{after}". The answer
// follows the message. Everything up to the first slot is computed once and shared by all samples; each token behind
// it costs time in every sample, so slots belong at the end.
type Template struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Residual is the default template for naming the item that separates two states.
func Residual() Template {
	return Template{
		Name: "residual",
		Text: "Two notes say what a person has chosen so far; the second was written one choice later. " +
			"Give the title of that choice.\n{before}{after}",
	}
}

// Recovery is the default template for naming the items of a history from the state after it.
func Recovery() Template {
	return Template{
		Name: "recovery",
		Text: "A note says what a person has chosen so far. Give the titles of the choices, oldest first.\n{state}",
	}
}

// Named returns a default template by its name.
func Named(name string) (Template, error) {
	known := []Template{Residual(), Recovery()}
	var names []string
	for _, t := range known {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return Template{}, fmt.Errorf("prompt: no template is called %q; known are %s, or give a JSON file",
		name, strings.Join(names, ", "))
}

// ReadTemplate reads a template from a JSON file with the keys "name" and "text".
func ReadTemplate(path string) (Template, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Template{}, fmt.Errorf("prompt: %w", err)
	}
	t, err := ParseTemplate(data)
	if err != nil {
		return Template{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ParseTemplate reads a template from JSON and validates it. Unknown keys are an error.
func ParseTemplate(data []byte) (Template, error) {
	var t Template
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&t); err != nil {
		return Template{}, fmt.Errorf("prompt: template: %w", err)
	}
	return t, t.Validate()
}

// Validate reports what is wrong with the template, or nil.
func (t Template) Validate() error {
	if t.Name == "" {
		return fmt.Errorf("prompt: the template has no name")
	}
	if _, err := t.Slots(); err != nil {
		return err
	}
	return nil
}

var slotPattern = regexp.MustCompile(`\{([A-Za-z_]+)\}`)

// Slots gives the names of the template's slots in the order in which they stand in the text: the order in which a
// sample's states are given.
func (t Template) Slots() ([]string, error) {
	var slots []string
	for _, match := range slotPattern.FindAllStringSubmatch(t.Text, -1) {
		name := match[1]
		if !slices.Contains([]string{SlotState, SlotBefore, SlotAfter}, name) {
			return nil, fmt.Errorf("prompt: template %q: no slot is called {%s}; known are {%s}, {%s}, {%s}",
				t.Name, name, SlotState, SlotBefore, SlotAfter)
		}
		if slices.Contains(slots, name) {
			return nil, fmt.Errorf("prompt: template %q: slot {%s} stands in the text twice", t.Name, name)
		}
		slots = append(slots, name)
	}
	if len(slots) == 0 {
		return nil, fmt.Errorf("prompt: template %q has no slot; put one of {%s}, {%s}, {%s} where the state belongs",
			t.Name, SlotState, SlotBefore, SlotAfter)
	}
	return slots, nil
}

// split cuts text at the slots, each of which must be there once and in its order, into len(slots)+1 segments.
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
