package models

// HSTU is the model of Zhai et al. 2024, arXiv 2402.17152.
const HSTU = "HSTU"

func hstu() Entry {
	sizes := attentionSettings()[:2] // blocks and heads
	sizes[0].Default, sizes[1].Default = 2, 2
	t := training()
	t.Dropout, t.AllPositions = 0.3, true
	return Entry{
		Name: HSTU, Training: t, Settings: sizes, Check: checkHeads,
		Layouts: []Layout{{Name: "recint", Known: []string{"blocks.0.uvqk.weight"}, Measure: func(s *Shapes) {
			s.table("item_embedding.weight")
			s.Positions = s.size("position_embedding.weight", 2, 0)
			s.Told["blocks"] = s.count("blocks.")
		}}},
	}
}
