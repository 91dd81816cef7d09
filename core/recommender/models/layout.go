package models

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// The layouts that several recommenders have: whose formulas and tensor names a recommender
// follows.
const (
	Authors = "authors" // the authors' of RecInterpreter
	RecBole = "recbole" // RecBole 1.2's
)

// Layout is one project's form of a recommender's weights.
type Layout struct {
	Name         string
	Known        []string // tensors by which it is recognised
	PaddingFirst bool     // in the project's files the table of items begins with padding; here it ends with it

	// Measure reads the sizes and settings that the shapes of the tensors tell.
	Measure func(s *Shapes)
	// Assumed are the settings of files that do not say otherwise, where they differ from the
	// defaults.
	Assumed Values
	// FixedPositions: the weights fit no other length of histories than the measured one.
	FixedPositions bool
	// Note warns of an assumed length of histories, or is "". It may be nil.
	Note func(positions int) string
	// Import and Export change a tensor between the project's form and ours. They may be nil.
	Import func(t *artifact.Tensor) error
	Export func(t *artifact.Tensor)
}

// Fits says whether a file has the tensors by which the layout is known, under a prefix.
func (l Layout) Fits(file *artifact.File, prefix string) bool {
	return !slices.ContainsFunc(l.Known, func(name string) bool { _, err := file.Find(prefix + name); return err != nil })
}

// Shapes collects what the shapes of a file's tensors tell of its recommender.
type Shapes struct {
	Items, Width, Positions int    // 0: no shape tells it
	Told                    Values // the settings that they tell

	file *artifact.File
	err  error
}

// Shapes measures the tensors of a file.
func (l Layout) Shapes(file *artifact.File) (*Shapes, error) {
	s := &Shapes{file: file, Told: Values{}}
	l.Measure(s)
	return s, s.err
}

// table measures the table of items, whose rows are one more than the items.
func (s *Shapes) table(name string) { s.Items, s.Width = s.size(name, 2, 0)-1, s.size(name, 2, 1) }

// size gives one axis of a tensor, which must have that many dimensions.
func (s *Shapes) size(name string, dimensions, axis int) int {
	tensor, err := s.file.Find(name)
	if err == nil && len(tensor.Shape) != dimensions {
		err = fmt.Errorf("tensor %q has shape %v, expected %d dimensions", name, tensor.Shape, dimensions)
	}
	if err != nil {
		if s.err == nil {
			s.err = err
		}
		return 1
	}
	return tensor.Shape[axis]
}

// has says whether there is a tensor of that name.
func (s *Shapes) has(name string) bool {
	_, err := s.file.Find(name)
	return err == nil
}

// count gives 1 + the largest number that follows the prefix in the name of a tensor; 0 if none
// does.
func (s *Shapes) count(prefix string) int {
	count := 0
	for _, t := range s.file.Tensors {
		if rest, ok := strings.CutPrefix(t.Name, prefix); ok {
			digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
			if n, err := strconv.Atoi(digits); err == nil {
				count = max(count, n+1)
			}
		}
	}
	return count
}
