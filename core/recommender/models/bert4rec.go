package models

import "github.com/recinterpreter/recinterpreter/core/artifact"

// BERT4Rec is the model of Sun et al. 2019, arXiv 1904.06690.
const BERT4Rec = "BERT4Rec"

func bert4rec() Entry {
	const bias = "output_bias"
	sizes := attentionSettings()
	for i, value := range []int{2, 2, 256} { // blocks, heads, inner: RecBole's
		sizes[i].Default = value
	}
	t := training()
	t.Dropout = 0.1
	return Entry{
		Name:     BERT4Rec,
		Training: t,
		Settings: append(sizes, Setting{Name: "mask_ratio", Flag: "mask-ratio", Default: 0.2, Max: 1,
			Help: "`PROBABILITY` of masking an item of the history during training"}),
		Check:  checkHeads,
		Native: func(values Values) map[string][]float64 { return numbers(sizes, values) },
		Masked: func(values Values) float64 { return values.Float("mask_ratio") },
		Layouts: []Layout{{
			Name: RecBole, Known: []string{"trm_encoder.layer.0.multi_head_attention.query.weight", bias}, PaddingFirst: true,
			Measure: func(s *Shapes) {
				measureTransformer(s)
				s.Items--     // a row is the mask's
				s.Positions-- // and a position
			},
			// The project has a bias of padding, too.
			Import: func(t *artifact.Tensor) error {
				if t.Name == bias && len(t.F32) > 0 {
					t.F32, t.Shape = t.F32[1:], []int{len(t.F32) - 1}
				}
				return nil
			},
			Export: func(t *artifact.Tensor) {
				if t.Name == bias {
					t.F32, t.Shape = append([]float32{0}, t.F32...), []int{len(t.F32) + 1}
				}
			},
		}},
	}
}
