package models

import (
	"fmt"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Caser is the model of Tang and Wang 2018, arXiv 1809.07426.
const Caser = "Caser"

func caser() Entry {
	const maxHeights = 16
	measure := func(table, horizontal, vertical string) func(*Shapes) {
		return func(s *Shapes) {
			s.table(table)
			s.Positions, s.Told["vertical"] = s.size(vertical, 4, 2), s.size(vertical, 4, 0)
			s.Told["horizontal"] = s.size(horizontal+".0.weight", 4, 0)
			if table != "item_embeddings.weight" { // the heights are 1 to T
				s.Told["heights"] = []int{}
				return
			}
			heights := []int{}
			for i := range min(s.count(horizontal+"."), maxHeights+1) {
				heights = append(heights, s.size(fmt.Sprintf("%s.%d.weight", horizontal, i), 4, 2))
			}
			s.Told["heights"] = heights
		}
	}
	return Entry{
		Name:     Caser,
		Training: training(),
		Settings: []Setting{
			{Name: "heights", Help: "`HEIGHTS` of the horizontal filters, in items", Default: []int{2, 3, 4}, Min: 1, Max: 1 << 14,
				MaxCount: maxHeights, OmitZero: true},
			{Name: "horizontal", Flag: "filters", Help: "horizontal `FILTERS` per height", Default: 16, Min: 1, Max: 1 << 14},
			{Name: "vertical", Help: "vertical `FILTERS`", Default: 1, Min: 1, Max: 1 << 10},
		},
		Check: func(sizes Sizes, values Values) error {
			heights := values.Ints("heights")
			bad := len(heights) == 0 && sizes.Layout != RecBole
			for _, height := range heights {
				bad = bad || height > sizes.Positions
			}
			if bad {
				return &artifact.FieldError{Field: "heights", Value: heights,
					Want: fmt.Sprintf("at least one number, each 1 to the number of positions, %d", sizes.Positions)}
			}
			return nil
		},
		Layouts: []Layout{
			{Name: Authors, Known: []string{"vertical_cnn.weight"}, FixedPositions: true,
				Measure: measure("item_embeddings.weight", "horizontal_cnn", "vertical_cnn.weight")},
			{Name: RecBole, Known: []string{"conv_v.weight", "fc1.weight"}, PaddingFirst: true, FixedPositions: true,
				Measure: measure("item_embedding.weight", "conv_h", "conv_v.weight"),
				Import:  meanUser, Export: onlyUser},
		},
	}
}

// users is the table of users in RecBole's layout.
const users = "user_embedding.weight"

// meanUser replaces a table of users, whose first row is padding, by their mean: histories here
// have no user.
func meanUser(t *artifact.Tensor) error {
	if t.Name != users {
		return nil
	}
	if t.DType != "F32" || len(t.Shape) != 2 || t.Shape[0] < 2 {
		return fmt.Errorf("tensor %q is %s %v, expected a table of at least one user beside padding", t.Name, t.DType, t.Shape)
	}
	rows, width := t.Shape[0]-1, t.Shape[1]
	sums := make([]float64, width)
	for i, x := range t.F32[width:] {
		sums[i%width] += float64(x)
	}
	t.F32, t.Shape = make([]float32, width), []int{1, width}
	for i, sum := range sums {
		t.F32[i] = float32(sum / float64(rows))
	}
	return nil
}

// onlyUser makes a table of padding and the mean user.
func onlyUser(t *artifact.Tensor) {
	if t.Name == users {
		t.F32, t.Shape = append(make([]float32, len(t.F32)), t.F32...), []int{2, len(t.F32)}
	}
}
