package models

import (
	"fmt"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// SASRec is the model of Kang and McAuley 2018, arXiv 1808.09781.
const SASRec = "SASRec"

// The layouts of pmixer's SASRec.pytorch.
const (
	Pmixer          = "pmixer"
	PmixerNormFirst = "pmixer-norm-first" // trained with --norm_first
	PmixerOriginal  = "pmixer-original"   // before it had that switch
)

func sasrec() Entry {
	// Learning from all positions took fewer epochs, but reached less.
	t := training()
	t.Dropout, t.LearningRate, t.MaxEpochs, t.Patience = 0.3, 2e-3, 12, 3
	const normFirst, rotary = "norm_first", "rotary" // of the first layout
	e := Entry{
		Name: SASRec, Training: t,
		Settings: append(attentionSettings(),
			Setting{Name: normFirst, Flag: "norm-first", Default: false, OmitZero: true, Metadata: normFirst,
				Help: "pre-norm blocks: LayerNorm before attention and feed-forward layers"},
			Setting{Name: rotary, Flag: "rotary", Default: false, OmitZero: true, Metadata: rotary,
				Help: "rotary position embeddings (RoPE) instead of learned ones"}),
		Check: func(sizes Sizes, values Values) error {
			for _, option := range []string{normFirst, rotary} {
				if values[option] == true && sizes.Layout != "" && sizes.Layout != Authors {
					return &artifact.FieldError{Field: option, Value: true, Want: "false in the layout " + sizes.Layout}
				}
			}
			if heads := values.Int("heads"); values[rotary] == true && sizes.Width%(2*heads) != 0 {
				return &artifact.FieldError{Field: "heads", Value: heads,
					Want: fmt.Sprintf("a divisor of half the width, %d, with %s positions", sizes.Width/2, rotary)}
			}
			return checkHeads(sizes, values)
		},
		Layouts: []Layout{
			{Name: Authors, Known: []string{"mh_attn.linear_q.weight"}, Measure: measureEncoder},
			{Name: RecBole, Known: []string{"trm_encoder.layer.0.multi_head_attention.query.weight"}, PaddingFirst: true,
				Measure: measureTransformer, Assumed: Values{"heads": 2}},
		},
	}
	for _, name := range []string{Pmixer, PmixerNormFirst, PmixerOriginal} {
		e.Layouts = append(e.Layouts, Layout{
			Name: name, Known: []string{"attention_layers.0.in_proj_weight"}, PaddingFirst: true,
			Measure: func(s *Shapes) {
				s.table("item_emb.weight")
				s.Positions = s.size("pos_emb.weight", 2, 0)
				if name != PmixerOriginal {
					s.Positions-- // a row is padding's
				}
				s.Told["blocks"], s.Told["inner"] = s.count("attention_layers."), s.Width
			},
			Note: func(positions int) string {
				if name != Pmixer || positions != 200 {
					return ""
				}
				return "histories of up to 200 items are assumed, but the project makes a table of 201 positions whatever its " +
					"--maxlen is: give that as the number of positions"
			},
		})
	}
	return e
}
