package recommender

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// The layouts of weights: whose formulas and tensor names a recommender follows.
const (
	Authors         = "authors"           // RecInterpreter's: all four models
	RecBole         = "recbole"           // RecBole 1.2: SASRec, GRU4Rec, Caser
	Pmixer          = "pmixer"            // pmixer's SASRec.pytorch
	PmixerNormFirst = "pmixer-norm-first" // the same, trained with --norm_first
	PmixerOriginal  = "pmixer-original"   // the same before it had that switch
)

// Layouts are the names of all layouts.
var Layouts = []string{Authors, Pmixer, PmixerNormFirst, PmixerOriginal, RecBole}

// ownRows reports whether the layout's item table has our order of rows, padding last. The other projects have padding
// first.
func (c Config) ownRows() bool { return c.Layout == "" || c.Layout == Authors }

// mostHeights is how many heights of filters a Caser may have.
const mostHeights = 16

// itemTables are the names of the tensor with a row for each item and one for padding; positionTables of that with a row
// for each position. Both: of the authors, RecBole and pmixer.
var (
	itemTables     = []string{"item_embeddings.weight", "item_embedding.weight", "item_emb.weight"}
	positionTables = []string{"positional_embeddings.weight", "position_embedding.weight", "pos_emb.weight"}
)

// sizes measures a recommender by the shapes of its tensors. What they do not tell has its default.
type sizes struct {
	file *artifact.File
	err  error
}

// size is one dimension of a tensor of so many dimensions.
func (s *sizes) size(name string, dimensions, axis int) int {
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

// numbered is 1 + the largest number that follows the prefix in the name of a tensor; 0 if none does.
func (s *sizes) numbered(prefix string) int {
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

// signatures are the tensors by which a model and its layout are known; of several that fit the first counts.
var signatures = []struct {
	model, layout string
	tensors       []string
}{
	{DreamRec, Authors, []string{"none_embedding.weight"}},
	{GRU4Rec, Authors, []string{"gru.weight_ih_l0"}},
	{Caser, Authors, []string{"vertical_cnn.weight"}},
	{SASRec, Authors, []string{"mh_attn.linear_q.weight"}},
	{GRU4Rec, RecBole, []string{"gru_layers.weight_ih_l0"}},
	{Caser, RecBole, []string{"conv_v.weight", "fc1.weight"}},
	{SASRec, RecBole, []string{"trm_encoder.layer.0.multi_head_attention.query.weight"}},
	{SASRec, Pmixer, []string{"attention_layers.0.in_proj_weight"}},
}

// modelOf recognises model and layout by the tensor names after a prefix; "" if no layout has them.
func modelOf(file *artifact.File, prefix string) (model, layout string) {
	for _, s := range signatures {
		if !slices.ContainsFunc(s.tensors, func(name string) bool { _, err := file.Find(prefix + name); return err != nil }) {
			return s.model, s.layout
		}
	}
	return "", ""
}

// Knows reports whether a file holds the weights of a recommender, by the names of its tensors.
func Knows(file *artifact.File) bool {
	model, _ := modelOf(file, "")
	return model != ""
}

// configOfTensors tells model, layout and sizes by names and shapes.
func configOfTensors(file *artifact.File) (Config, error) {
	model, layout := modelOf(file, "")
	if model == "" {
		return Config{}, fmt.Errorf("its tensors are not those of a model that is known: it has neither "+
			"\"gru.weight_ih_l0\" nor \"vertical_cnn.weight\" nor \"mh_attn.linear_q.weight\" nor those of the layouts %s",
			strings.Join(Layouts, ", "))
	}
	s := &sizes{file: file}
	c, err := Default(model, 1)
	if err != nil {
		return c, err
	}
	c.Layout = layout
	table := itemTables[slices.Index([]string{Authors, RecBole, Pmixer}, layout)]
	c.Items, c.Width = s.size(table, 2, 0)-1, s.size(table, 2, 1)
	switch {
	case model == GRU4Rec:
		prefix := map[string]string{Authors: "gru", RecBole: "gru_layers"}[layout]
		c.Hidden, c.Layers = s.size(prefix+".weight_hh_l0", 2, 1), s.numbered(prefix+".weight_ih_l")
		if layout == RecBole {
			c.Biases = s.numbered(prefix+".bias_ih_l") > 0
		}
	case model == Caser && layout == Authors:
		c.Positions, c.Vertical = s.size("vertical_cnn.weight", 4, 2), s.size("vertical_cnn.weight", 4, 0)
		c.Heights, c.Horizontal = nil, s.size("horizontal_cnn.0.weight", 4, 0)
		for i := range min(s.numbered("horizontal_cnn."), mostHeights+1) {
			c.Heights = append(c.Heights, s.size(fmt.Sprintf("horizontal_cnn.%d.weight", i), 4, 2))
		}
	case model == Caser:
		c.Positions, c.Vertical = s.size("conv_v.weight", 4, 2), s.size("conv_v.weight", 4, 0)
		c.Heights, c.Horizontal = nil, s.size("conv_h.0.weight", 4, 0)
	case layout == Authors:
		c.Positions, c.Blocks = s.size(positionTables[0], 2, 0), max(1, s.numbered("blocks."))
		c.Inner = s.size("feed_forward.w_1.bias", 1, 0)
	case layout == RecBole:
		c.Positions, c.Blocks = s.size(positionTables[1], 2, 0), s.numbered("trm_encoder.layer.")
		c.Inner = s.size("trm_encoder.layer.0.feed_forward.dense_1.bias", 1, 0)
	default:
		c.Positions, c.Blocks = s.size(positionTables[2], 2, 0)-1, s.numbered("attention_layers.")
		c.Inner = c.Width
	}
	if model == DreamRec {
		c.Diffusion.Rounding, c.Diffusion.Strength = 0, 2 // as published
		if _, err := file.Find("diffuser.2.weight"); err == nil {
			c.Diffusion.Denoiser = MLP2
		}
	}
	if s.err == nil {
		s.err = c.readMetadata(file.Metadata)
	}
	return c, s.err
}

// readMetadata takes what a file says beside its tensors: the length of a GRU's histories, heads, and DreamRec's diffusion.
func (c *Config) readMetadata(metadata map[string]string) error {
	read := func(key string, value any) error {
		text, ok := metadata[key]
		if !ok {
			return nil
		}
		if err := json.Unmarshal([]byte(text), value); err != nil {
			return fmt.Errorf("its %s is %q, not a number", key, text)
		}
		return nil
	}
	switch c.Model {
	case GRU4Rec:
		return read(keyPositions, &c.Positions)
	case Caser:
		return nil
	case SASRec:
		return read(keyHeads, &c.Heads)
	}
	if err := read(keyHeads, &c.Heads); err != nil {
		return err
	}
	if schedule, ok := metadata[keySchedule]; ok {
		c.Diffusion.Schedule = schedule
	}
	if err := read(keySteps, &c.Diffusion.Steps); err != nil {
		return err
	}
	return read(keyStrength, &c.Diffusion.Strength)
}
