package models

import (
	"fmt"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// attentionSettings are those of recommenders with attention blocks.
func attentionSettings() []Setting {
	return []Setting{
		{Name: "blocks", Flag: "blocks", Help: "number of attention `BLOCKS`", Default: 1, Min: 1, Max: 64},
		{Name: "heads", Flag: "heads", Help: "attention `HEADS` per block", Default: 1, Min: 1, Max: 1 << 10, Metadata: "num_heads"},
		{Name: "inner", Help: "`UNITS` of the feed-forward layers; 0: the width", Default: 0, Max: 1 << 18, OmitZero: true,
			ZeroIsWidth: true},
	}
}

// checkHeads refuses heads that do not divide the width.
func checkHeads(sizes Sizes, values Values) error {
	if heads := values.Int("heads"); sizes.Width%heads != 0 {
		return &artifact.FieldError{Field: "heads", Value: heads, Want: fmt.Sprintf("a divisor of width, %d", sizes.Width)}
	}
	return nil
}

// measureEncoder measures the attention encoder of RecInterpreter's authors. Without a table of
// positions, in whose place they may turn queries and keys, no shape tells their number.
func measureEncoder(s *Shapes) {
	s.table("item_embeddings.weight")
	if positions := "positional_embeddings.weight"; s.has(positions) {
		s.Positions = s.size(positions, 2, 0)
	}
	s.Told["blocks"], s.Told["inner"] = max(1, s.count("blocks.")), s.size("feed_forward.w_1.bias", 1, 0)
}

// measureTransformer measures the blocks that RecBole's attention models share.
func measureTransformer(s *Shapes) {
	s.table("item_embedding.weight")
	s.Positions = s.size("position_embedding.weight", 2, 0)
	s.Told["blocks"] = s.count("trm_encoder.layer.")
	s.Told["inner"] = s.size("trm_encoder.layer.0.feed_forward.dense_1.bias", 1, 0)
}
