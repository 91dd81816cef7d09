package cgo

// #include "recint.h"
// #cgo nocallback ri_adapter_forward
// #cgo noescape ri_adapter_forward
// #cgo nocallback ri_adapter_regress
// #cgo noescape ri_adapter_regress
import "C"

// AdapterKind is the form of an adapter.
type AdapterKind int32

// The kinds of adapters.
const (
	AdapterLinear  AdapterKind = C.RI_ADAPTER_LINEAR  // weight [K*E, In], bias [K*E]
	AdapterMLP     AdapterKind = C.RI_ADAPTER_MLP     // w1 [Hidden, In], b1, GELU, w2 [K*E, Hidden], b2
	AdapterMixture AdapterKind = C.RI_ADAPTER_MIXTURE // mix [Mixed], weight [K*E, In/Mixed], bias [K*E]
	// AdapterDictionary: w1 [Hidden, In], b1, GELU, keys [Entries, Hidden], key_bias, softmax,
	// entries [K*E, Entries], turn [E, E], bias [K*E].
	AdapterDictionary AdapterKind = C.RI_ADAPTER_DICTIONARY
	// AdapterRecall: w1 [Hidden, In], b1, GELU in its exact form, keys [Entries, Hidden], key_bias, for each of the LookUps
	// best scores its row of entries [Entries, K*E/LookUps] plus sure [K*E/LookUps] times exp(score - best score);
	// turn [E, E], bias [K*E]. The first four are never updated.
	AdapterRecall AdapterKind = C.RI_ADAPTER_RECALL
)

// AdapterParams sizes an adapter.
type AdapterParams struct {
	Kind    AdapterKind
	In      int // width of an input: a state, or for AdapterMixture the states of all positions side by side
	Hidden  int // AdapterMLP, AdapterDictionary, AdapterRecall: hidden units; 0 otherwise
	Mixed   int // AdapterMixture: positions, of which In is a multiple; 0 otherwise
	Entries int // AdapterDictionary, AdapterRecall: entries; 0 otherwise
	LookUps int // AdapterRecall: entries that are looked up for an input; 0 otherwise
	Tokens  int // K, soft tokens for each input; for AdapterRecall a multiple of LookUps
	Embd    int // E
}

// Adapter turns states into soft tokens.
type Adapter struct {
	Model
	params AdapterParams
}

// NewAdapter makes an adapter of zeros.
func NewAdapter(engine *Engine, params AdapterParams) (*Adapter, error) {
	const op = "make adapter"
	if err := checkInt32(op, params.In, params.Hidden, params.Mixed, params.Entries, params.LookUps, params.Tokens,
		params.Embd); err != nil {
		return nil, err
	}
	p := C.ri_adapter_params{
		kind: C.ri_adapter_kind(params.Kind), n_in: C.int32_t(params.In), n_hidden: C.int32_t(params.Hidden),
		n_mixed: C.int32_t(params.Mixed), n_entries: C.int32_t(params.Entries), n_lookups: C.int32_t(params.LookUps),
		n_tokens: C.int32_t(params.Tokens), n_embd: C.int32_t(params.Embd),
	}
	a := &Adapter{params: params}
	err := a.create(op, engine, func(e *C.ri_engine, m **C.ri_model, err *C.ri_error) C.ri_status {
		return C.ri_adapter_create(e, &p, m, err)
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// check refuses slices that do not hold n states and their soft tokens.
func (a *Adapter) check(op string, states []float32, tokensName string, tokens []float32, n int) error {
	if err := checkLength(op, "states", len(states), n, a.params.In); err != nil {
		return err
	}
	return checkLength(op, tokensName, len(tokens), n, a.params.Tokens, a.params.Embd)
}

// SoftTokens writes the soft tokens of states [n, In] to dst [n, K, E]. ErrNumeric: a state holds NaN or infinity.
func (a *Adapter) SoftTokens(dst, states []float32, n int) error {
	const op = "make soft tokens"
	return a.use(op, func(p *C.ri_model) error {
		if err := a.check(op, states, "dst", dst, n); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_adapter_forward(p, data[C.float](states), C.size_t(n), data[C.float](dst), e)
		})
	})
}

// Regress adds the gradient of the mean squared error between the soft tokens of states [n, In] and targets [n, K, E]
// to the adapter's, and gives that error.
func (a *Adapter) Regress(states, targets []float32, n int) (loss float64, err error) {
	const op = "regress adapter"
	err = a.use(op, func(p *C.ri_model) error {
		if err := a.check(op, states, "targets", targets, n); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_adapter_regress(p, data[C.float](states), data[C.float](targets), C.size_t(n),
				(*C.double)(&loss), e)
		})
	})
	return loss, err
}
