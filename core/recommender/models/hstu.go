package models

// HSTU is the model of Zhai et al. 2024, arXiv 2402.17152.
const HSTU = "HSTU"

func hstu() Entry {
	const times = "times"
	sizes := append(attentionSettings()[:2], // blocks and heads
		Setting{Name: times, Flag: times, Default: false, OmitZero: true,
			Help: "a bias of attention for the time between two items as well as for their distance"})
	sizes[0].Default, sizes[1].Default = 2, 2
	t := training()
	t.Dropout, t.AllPositions = 0.3, true
	return Entry{
		Name: HSTU, Training: t, Settings: sizes, Check: checkHeads,
		Timed: func(values Values) bool { return values[times] == true },
		Layouts: []Layout{{Name: "recint", Known: []string{"blocks.0.uvqk.weight"}, Measure: func(s *Shapes) {
			s.table("item_embedding.weight")
			s.Positions = s.size("position_embedding.weight", 2, 0)
			s.Told["blocks"], s.Told[times] = s.count("blocks."), s.has("blocks.0.time_bias")
		}}},
	}
}
