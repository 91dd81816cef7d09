package cgo

// #include "recint.h"
// #cgo nocallback ri_model_read
// #cgo noescape ri_model_read
// #cgo nocallback ri_model_write
// #cgo noescape ri_model_write
// #cgo nocallback ri_model_update
// #cgo noescape ri_model_update
import "C"

// Model is a set of named float32 tensors that can be trained. Recommender, Adapter and Probe embed
// it. New tensors are zero.
type Model struct {
	handle[*C.ri_model]
	tensors []TensorInfo
}

// TensorInfo names a tensor of a model. Its shape is row-major.
type TensorInfo struct {
	Name    string
	Shape   []int
	Role    Role
	Initial Initial // how first values are drawn
	Scale   float64 // the standard deviation or bound of these
	// ItemRows: there is a row for each item, item i in row i; of RoleItems padding follows in row
	// V.
	ItemRows  bool
	Trainable bool // false: no gradient reaches it
}

// Role is what a tensor is for.
type Role int32

// The roles.
const (
	RoleOther      Role = C.RI_ROLE_OTHER
	RoleMatrix     Role = C.RI_ROLE_MATRIX
	RolePointwise  Role = C.RI_ROLE_POINTWISE // a matrix that the layout's project stores as a convolution of width 1
	RoleFilter     Role = C.RI_ROLE_FILTER
	RoleBias       Role = C.RI_ROLE_BIAS
	RoleNormScale  Role = C.RI_ROLE_NORM_SCALE
	RoleNormOffset Role = C.RI_ROLE_NORM_OFFSET
	RoleItems      Role = C.RI_ROLE_ITEMS
	RolePositions  Role = C.RI_ROLE_POSITIONS
	RoleEmbedding  Role = C.RI_ROLE_EMBEDDING
)

// Initial is how a tensor's first values are drawn.
type Initial int32

// The ways to draw first values.
const (
	Zero     Initial = C.RI_INITIAL_ZERO
	One      Initial = C.RI_INITIAL_ONE
	Normal   Initial = C.RI_INITIAL_NORMAL
	Uniform  Initial = C.RI_INITIAL_UNIFORM
	Constant Initial = C.RI_INITIAL_CONSTANT // Scale
	Identity Initial = C.RI_INITIAL_IDENTITY
)

func tensorInfo(info *C.ri_tensor_info) TensorInfo {
	t := TensorInfo{Name: C.GoString(&info.name[0]), Role: Role(info.role), Initial: Initial(info.initial),
		Scale: float64(info.initial_scale), ItemRows: info.item_rows != 0, Trainable: info.trainable != 0}
	for _, d := range info.shape[:info.n_dims] {
		t.Shape = append(t.Shape, int(d))
	}
	return t
}

// Elements is the product of the shape.
func (t TensorInfo) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Slot is one of the four arrays that are kept for each tensor.
type Slot int32

// The slots.
const (
	Value    Slot = C.RI_VALUE
	Gradient Slot = C.RI_GRADIENT // accumulated since the last Update
	Moment1  Slot = C.RI_MOMENT1  // AdamW's running mean of the gradient
	Moment2  Slot = C.RI_MOMENT2  // AdamW's running mean of its square
)

// AdamW holds the settings of one optimiser step (Loshchilov and Hutter 2019, arXiv 1711.05101).
type AdamW struct {
	LearningRate, Beta1, Beta2, Epsilon float32
	WeightDecay                         float32 // decoupled; tensors with one dimension are not decayed
	MaxNorm                             float32 // the gradient is scaled down to this global L2 norm; 0: no clipping
	Step                                int64   // 1 for the first update
}

// create makes the native model, takes it over and reads its layout. After a failure the model is
// closed.
func (m *Model) create(op string, engine *Engine,
	native func(*C.ri_engine, **C.ri_model, *C.ri_error) C.ri_status) error {
	if engine == nil {
		return closed(op)
	}
	var made *C.ri_model
	err := engine.use(op, func(e *C.ri_engine) error {
		return try(op, func(err *C.ri_error) C.ri_status { return native(e, &made, err) })
	})
	if err != nil {
		return err
	}
	m.own(made, func(p *C.ri_model) { C.ri_model_free(p) })
	err = m.use(op, func(p *C.ri_model) error {
		for i := range C.ri_model_n_tensors(p) {
			var info C.ri_tensor_info
			err := try(op, func(e *C.ri_error) C.ri_status { return C.ri_model_tensor(p, i, &info, e) })
			if err != nil {
				return err
			}
			m.tensors = append(m.tensors, tensorInfo(&info))
		}
		return nil
	})
	if err != nil {
		m.Close()
	}
	return err
}

// Tensors lists the model's tensors; a tensor's place in the list is its index.
func (m *Model) Tensors() ([]TensorInfo, error) {
	if err := m.use("describe model", func(*C.ri_model) error { return nil }); err != nil {
		return nil, err
	}
	tensors := make([]TensorInfo, len(m.tensors))
	for i, t := range m.tensors {
		tensors[i] = t
		tensors[i].Shape = append([]int(nil), t.Shape...)
	}
	return tensors, nil
}

// checkTensor refuses an index without a tensor, and values that do not fit it.
func (m *Model) checkTensor(op, name string, index, length int) error {
	if index < 0 || index >= len(m.tensors) {
		return invalid(op, "tensor %d of a model with %d", index, len(m.tensors))
	}
	return checkLength(op, name+" of "+m.tensors[index].Name, length, m.tensors[index].Shape...)
}

// Read copies one slot of a tensor to dst.
func (m *Model) Read(dst []float32, index int, slot Slot) error {
	const op = "read tensor"
	return m.use(op, func(p *C.ri_model) error {
		if err := m.checkTensor(op, "dst", index, len(dst)); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_model_read(p, C.size_t(index), C.ri_slot(slot), data[C.float](dst), C.size_t(len(dst)), e)
		})
	})
}

// Write replaces one slot of a tensor. ErrNumeric: src holds NaN or infinity.
func (m *Model) Write(index int, slot Slot, src []float32) error {
	const op = "write tensor"
	return m.use(op, func(p *C.ri_model) error {
		if err := m.checkTensor(op, "src", index, len(src)); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_model_write(p, C.size_t(index), C.ri_slot(slot), data[C.float](src), C.size_t(len(src)), e)
		})
	})
}

func (a AdamW) params() C.ri_adamw {
	params := C.ri_adamw_default()
	params.learning_rate, params.beta1, params.beta2 = C.float(a.LearningRate), C.float(a.Beta1), C.float(a.Beta2)
	params.epsilon, params.weight_decay = C.float(a.Epsilon), C.float(a.WeightDecay)
	params.max_norm, params.step = C.float(a.MaxNorm), C.int64_t(a.Step)
	return params
}

// Update makes one AdamW step from the accumulated gradients, which are zero afterwards, and gives
// their global norm before clipping. ErrNumeric: the norm is not finite; values and moments are
// unchanged then, the gradient is zero.
func (m *Model) Update(a AdamW) (gradNorm float32, err error) {
	const op = "update model"
	err = m.use(op, func(p *C.ri_model) error {
		params := a.params()
		var norm C.float
		err := try(op, func(e *C.ri_error) C.ri_status { return C.ri_model_update(p, &params, &norm, e) })
		gradNorm = float32(norm)
		return err
	})
	return gradNorm, err
}
