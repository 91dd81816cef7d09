package models

import "fmt"

// GRU4Rec is the model of Hidasi et al. 2016, arXiv 1511.06939.
const GRU4Rec = "GRU4Rec"

func gru4rec() Entry {
	measure := func(table, layers string) func(*Shapes) {
		return func(s *Shapes) {
			s.table(table)
			s.Told["hidden"], s.Told["layers"] = s.size(layers+".weight_hh_l0", 2, 1), s.count(layers+".weight_ih_l")
		}
	}
	theirs := measure("item_embedding.weight", "gru_layers")
	return Entry{
		Name:     GRU4Rec,
		Training: training(),
		Settings: []Setting{
			{Name: "hidden", Flag: "hidden", Help: "`UNITS` per GRU layer", Default: 64, Min: 1, Max: 1 << 16},
			{Name: "layers", Flag: "layers", Help: "number of GRU `LAYERS`", Default: 1, Min: 1, Max: 64},
			{Name: "biases", Help: "biases in RecBole's layout, whose own code has none; the authors' layout always has them",
				Default: false, OmitZero: true},
		},
		Layouts: []Layout{
			{Name: Authors, Known: []string{"gru.weight_ih_l0"}, Measure: measure("item_embeddings.weight", "gru")},
			{
				Name: RecBole, Known: []string{"gru_layers.weight_ih_l0"}, PaddingFirst: true,
				Measure: func(s *Shapes) {
					theirs(s)
					s.Told["biases"] = s.count("gru_layers.bias_ih_l") > 0
				},
				Note: func(positions int) string {
					return fmt.Sprintf("histories of up to %d items are assumed, but RecBole's default is 50: give its "+
						"MAX_ITEM_LIST_LENGTH as the number of positions", positions)
				},
			},
		},
	}
}
