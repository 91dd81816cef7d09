package cgo

// #include "recint.h"
// #cgo nocallback ri_gguf_tokenize
// #cgo noescape ri_gguf_tokenize
// #cgo nocallback ri_gguf_detokenize
// #cgo noescape ri_gguf_detokenize
// #cgo nocallback ri_gguf_is_end
// #cgo noescape ri_gguf_is_end
// #cgo nocallback ri_gguf_embed
// #cgo noescape ri_gguf_embed
import "C"

import "unsafe"

// GGUF is an open model file: its description, vocabulary and token embeddings.
type GGUF struct {
	handle[*C.ri_gguf]
	info GGUFInfo
}

// GGUFInfo describes a model file. Numbers that its architecture does not have are 0, tokens that
// it does not name -1.
type GGUFInfo struct {
	Architecture string  `json:"architecture"` // general.architecture
	Name         string  `json:"name"`         // general.name, may be empty
	FileType     string  `json:"file_type"`    // type of the majority of weights, such as "Q4_1"
	Parameters   int64   `json:"parameters"`
	Bytes        int64   `json:"bytes"` // of the file
	Layers       int     `json:"layers"`
	Embd         int     `json:"embd"` // E
	Heads        int     `json:"heads"`
	HeadsKV      int     `json:"heads_kv"`
	FF           int     `json:"ff"`
	Vocab        int     `json:"vocab"`
	Context      int     `json:"context"`       // positions that can be used
	ContextNamed int     `json:"context_named"` // in the file; more than Context where longer contexts have other formulas
	HeadDim      int     `json:"head_dim"`
	TiedHead     bool    `json:"tied_head"`     // the output matrix is the embedding table
	Tokenizer    bool    `json:"tokenizer"`     // text can be tokenised with this file
	ChatTemplate bool    `json:"chat_template"` // Chat works
	OddTemplate  bool    `json:"odd_template"`  // there is a chat template, but llama.cpp cannot apply it
	BOS          int32   `json:"bos"`           // -1 also where the file sets add_bos_token to false
	EOS          int32   `json:"eos"`
	EOT          int32   `json:"eot"`
	RopeBase     float32 `json:"rope_base"`
	RMSEps       float32 `json:"rms_eps"`
	EmbdRMS      float32 `json:"embd_rms"` // root mean square of the token-embedding table: the scale of a soft token
}

// OpenGGUF opens a model file of any architecture, or a split one by the path of any of its parts.
// ErrFile: it cannot be read, is cut short or malformed, or a part is missing.
func OpenGGUF(path string) (*GGUF, error) {
	const op = "open gguf"
	if err := checkABI(op); err != nil {
		return nil, err
	}
	name, err := cString(op, "the path", path)
	if err != nil {
		return nil, err
	}
	var native *C.ri_gguf
	err = try(op, func(e *C.ri_error) C.ri_status {
		return C.ri_gguf_open((*C.char)(unsafe.Pointer(name)), &native, e)
	})
	if err != nil {
		return nil, err
	}
	g := &GGUF{}
	g.own(native, func(p *C.ri_gguf) { C.ri_gguf_free(p) })
	if err := g.describe(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// describe reads the description, which never changes while the file is open.
func (g *GGUF) describe() error {
	const op = "describe gguf"
	var i C.ri_gguf_info
	err := g.use(op, func(p *C.ri_gguf) error {
		return try(op, func(err *C.ri_error) C.ri_status { return C.ri_gguf_describe(p, &i, err) })
	})
	if err != nil {
		return err
	}
	g.info = GGUFInfo{
		Architecture: C.GoString(&i.architecture[0]),
		Name:         C.GoString(&i.name[0]),
		FileType:     C.GoString(&i.file_type[0]),
		Parameters:   int64(i.n_parameters),
		Bytes:        int64(i.n_bytes),
		Layers:       int(i.n_layer),
		Embd:         int(i.n_embd),
		Heads:        int(i.n_head),
		HeadsKV:      int(i.n_head_kv),
		FF:           int(i.n_ff),
		Vocab:        int(i.n_vocab),
		Context:      int(i.n_context),
		ContextNamed: int(i.n_context_named),
		HeadDim:      int(i.head_dim),
		TiedHead:     i.tied_head != 0,
		Tokenizer:    i.has_tokenizer != 0,
		ChatTemplate: i.has_chat_template != 0,
		OddTemplate:  i.has_unknown_template != 0,
		BOS:          int32(i.bos),
		EOS:          int32(i.eos),
		EOT:          int32(i.eot),
		RopeBase:     float32(i.rope_base),
		RMSEps:       float32(i.rms_eps),
		EmbdRMS:      float32(i.embd_rms),
	}
	return nil
}

// Describe tells what the file holds.
func (g *GGUF) Describe() (GGUFInfo, error) {
	err := g.use("describe gguf", func(*C.ri_gguf) error { return nil })
	if err != nil {
		return GGUFInfo{}, err
	}
	return g.info, nil
}

// Special gives the tokens that begin a text, end a text and end a turn; -1 for one that the file
// does not name.
func (g *GGUF) Special() (bos, eos, eot int32, err error) {
	info, err := g.Describe()
	return info.BOS, info.EOS, info.EOT, err
}

// CheckTraining reports why adapters cannot be trained through the file, or nil: ErrUnsupported or
// ErrFile. A Generator runs what llama.cpp runs.
func (g *GGUF) CheckTraining() error {
	const op = "check LLM"
	return g.use(op, func(p *C.ri_gguf) error {
		return try(op, func(e *C.ri_error) C.ri_status { return C.ri_gguf_check(p, e) })
	})
}

// Tokenize gives the tokens of a text. Special tokens written in it are recognised when
// parseSpecial is set. No BOS is added.
func (g *GGUF) Tokenize(text string, parseSpecial bool) (tokens []int32, err error) {
	const op = "tokenize"
	err = g.use(op, func(p *C.ri_gguf) error {
		for tokens = make([]int32, len(text)+1); ; {
			var count C.size_t
			err := try(op, func(e *C.ri_error) C.ri_status {
				return C.ri_gguf_tokenize(p, (*C.char)(unsafe.Pointer(unsafe.StringData(text))), C.size_t(len(text)),
					flag(parseSpecial), data[C.int32_t](tokens), C.size_t(len(tokens)), &count, e)
			})
			if err != nil || int(count) <= len(tokens) {
				tokens = tokens[:min(int(count), len(tokens))]
				return err
			}
			tokens = make([]int32, count)
		}
	})
	if err != nil {
		return nil, err
	}
	return tokens, nil
}

// Detokenize gives the text of tokens. Special tokens are written out when special is set and
// dropped otherwise.
func (g *GGUF) Detokenize(tokens []int32, special bool) (s string, err error) {
	const op = "detokenize"
	err = g.use(op, func(p *C.ri_gguf) error {
		s, err = text(op, 8*len(tokens), func(dst *C.char, capacity C.size_t, length *C.size_t, e *C.ri_error) C.ri_status {
			return C.ri_gguf_detokenize(p, data[C.int32_t](tokens), C.size_t(len(tokens)), flag(special), dst, capacity,
				length, e)
		})
		return err
	})
	return s, err
}

// IsEnd reports whether the token ends a generation; false when the file is closed or has no such
// token.
func (g *GGUF) IsEnd(token int32) (end bool) {
	_ = g.use("", func(p *C.ri_gguf) error {
		end = C.ri_gguf_is_end(p, C.int32_t(token)) != 0
		return nil
	})
	return end
}

// Chat wraps a user message in the file's chat template, up to where the answer starts. Where the
// template has a switch enable_thinking, reasoning is off. ErrUnsupported: there is no template.
func (g *GGUF) Chat(user string) (s string, err error) {
	const op = "apply chat template"
	message, err := cString(op, "the message", user)
	if err != nil {
		return "", err
	}
	err = g.use(op, func(p *C.ri_gguf) error {
		s, err = text(op, len(user)+1024, func(dst *C.char, capacity C.size_t, length *C.size_t, e *C.ri_error) C.ri_status {
			return C.ri_gguf_chat(p, (*C.char)(unsafe.Pointer(message)), dst, capacity, length, e)
		})
		return err
	})
	return s, err
}

// Embed writes rows of the token-embedding table, dequantised: dst [len(tokens), E].
func (g *GGUF) Embed(dst []float32, tokens []int32) error {
	const op = "embed tokens"
	return g.use(op, func(p *C.ri_gguf) error {
		if err := checkLength(op, "dst", len(dst), len(tokens), g.info.Embd); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_gguf_embed(p, data[C.int32_t](tokens), C.size_t(len(tokens)), data[C.float](dst), e)
		})
	})
}

// flag is a truth value for C.
func flag(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}
