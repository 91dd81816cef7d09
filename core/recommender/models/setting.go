package models

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Setting is one value of a recommender's configuration.
type Setting struct {
	Name    string // in the configuration and of the native model; "a.b" is b of the JSON object a
	Flag    string // of the command line; "": there is none
	Help    string
	Default any // an int, float64, string, bool or []int, which is the setting's type

	Min, Max float64  // of a number, or of each in a list; a float64 is less than Max
	MaxCount int      // of a list
	Words    []string // the strings that are allowed

	OmitZero    bool   // zero is not written
	ZeroIsWidth bool   // zero stands for the width of the embeddings
	Metadata    string // key of a file's metadata that also tells the value; "": there is none
}

// Values are a recommender's settings by name, each of its setting's type.
type Values map[string]any

// Int gives a whole number; 0 if there is none.
func (v Values) Int(name string) int { n, _ := v[name].(int); return n }

// Float gives a number; 0 if there is none.
func (v Values) Float(name string) float64 { x, _ := v[name].(float64); return x }

// Text gives a string; "" if there is none.
func (v Values) Text(name string) string { s, _ := v[name].(string); return s }

// Ints gives a list of whole numbers; nil if there is none.
func (v Values) Ints(name string) []int { list, _ := v[name].([]int); return list }

// Clone shares no memory with v.
func (v Values) Clone() Values {
	values := Values{}
	for name, value := range v {
		if list, ok := value.([]int); ok {
			value = slices.Clone(list)
		}
		values[name] = value
	}
	return values
}

// Setting finds a setting by its name.
func (e Entry) Setting(name string) (Setting, bool) {
	if i := slices.IndexFunc(e.Settings, func(s Setting) bool { return s.Name == name }); i >= 0 {
		return e.Settings[i], true
	}
	return Setting{}, false
}

// Defaults gives the settings' defaults.
func (e Entry) Defaults() Values {
	values := Values{}
	for _, s := range e.Settings {
		values[s.Name] = s.Default
	}
	return values.Clone()
}

// NativeSettings gives the native model's settings beside its sizes.
func (e Entry) NativeSettings(values Values) map[string][]float64 {
	if e.Native != nil {
		return e.Native(values)
	}
	return numbers(e.Settings, values)
}

// numbers gives the values of the settings that are numbers.
func numbers(settings []Setting, values Values) map[string][]float64 {
	all := map[string][]float64{}
	for _, s := range settings {
		switch value := values[s.Name].(type) {
		case int:
			all[s.Name] = []float64{float64(value)}
		case float64:
			all[s.Name] = []float64{value}
		case bool:
			if value {
				all[s.Name] = []float64{1}
			}
		case []int:
			all[s.Name] = nil
			for _, x := range value {
				all[s.Name] = append(all[s.Name], float64(x))
			}
		}
	}
	return all
}

// Validate returns a *artifact.FieldError for the first value that is missing or out of its bounds,
// or does not fit the others.
func (e Entry) Validate(sizes Sizes, values Values) error {
	for _, s := range e.Settings {
		if err := s.check(values[s.Name]); err != nil {
			return err
		}
	}
	if e.Check == nil {
		return nil
	}
	return e.Check(sizes, values)
}

func (s Setting) check(value any) error {
	if reflect.TypeOf(value) != reflect.TypeOf(s.Default) {
		return &artifact.FieldError{Field: s.Name, Value: value, Want: s.want()}
	}
	ok := true
	switch x := value.(type) {
	case int:
		ok = float64(x) >= s.Min && float64(x) <= s.Max
	case float64:
		ok = x >= s.Min && x < s.Max // NaN fails too
	case string:
		ok, value = slices.Contains(s.Words, x), strconv.Quote(x)
	case []int:
		ok = len(x) <= s.MaxCount && !slices.ContainsFunc(x, func(x int) bool { return float64(x) < s.Min || float64(x) > s.Max })
	}
	if !ok {
		return &artifact.FieldError{Field: s.Name, Value: value, Want: s.want()}
	}
	return nil
}

// want says what is allowed.
func (s Setting) want() string {
	least, most := strconv.FormatFloat(s.Min, 'f', -1, 64), strconv.FormatFloat(s.Max, 'f', -1, 64)
	switch s.Default.(type) {
	case float64:
		return "at least " + least + " and less than " + most
	case string:
		return "one of " + strings.Join(s.Words, ", ")
	case bool:
		return "true or false"
	case []int:
		return fmt.Sprintf("at most %d numbers, each %s to %s", s.MaxCount, least, most)
	}
	return least + " to " + most
}

// parse reads a value from JSON.
func (s Setting) parse(text []byte) (any, error) {
	value := reflect.New(reflect.TypeOf(s.Default))
	err := artifact.ParseJSON(text, value.Interface(), artifact.KnownKeys)
	return value.Elem().Interface(), err
}

// ReadMetadata takes the values that a file tells beside its tensors.
func (e Entry) ReadMetadata(metadata map[string]string, values Values) error {
	for _, s := range e.Settings {
		text, ok := metadata[s.Metadata]
		if !ok {
			continue
		}
		if _, word := s.Default.(string); word {
			values[s.Name] = text
			continue
		}
		value, err := s.parse([]byte(text))
		if err != nil {
			return fmt.Errorf("its %s is %q; it must be %s", s.Metadata, text, s.want())
		}
		values[s.Name] = value
	}
	return nil
}

// WriteMetadata tells the values beside the tensors, too.
func (e Entry) WriteMetadata(metadata map[string]string, values Values) {
	for _, s := range e.Settings {
		if s.Metadata == "" || s.OmitZero && isZero(values[s.Name]) {
			continue
		}
		if x, ok := values[s.Name].(float64); ok {
			metadata[s.Metadata] = strconv.FormatFloat(x, 'g', -1, 64)
		} else {
			metadata[s.Metadata] = fmt.Sprint(values[s.Name])
		}
	}
}

// Encode gives the members of a JSON object that hold the values, in the order of the settings,
// each followed by a comma.
func (e Entry) Encode(values Values) ([]byte, error) {
	var out bytes.Buffer
	open := ""
	for _, s := range e.Settings {
		object, name, nested := strings.Cut(s.Name, ".")
		if !nested {
			object, name = "", object
		}
		if object != open {
			closeObject(&out, open)
			if open = object; open != "" {
				fmt.Fprintf(&out, "%q:{", open)
			}
		}
		value := values[s.Name]
		if value == nil || s.OmitZero && isZero(value) {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%q:%s,", name, text)
	}
	closeObject(&out, open)
	return out.Bytes(), nil
}

// closeObject ends a nested object, if one is open.
func closeObject(out *bytes.Buffer, open string) {
	if open != "" {
		if bytes.HasSuffix(out.Bytes(), []byte(",")) {
			out.Truncate(out.Len() - 1)
		}
		out.WriteString("},")
	}
}

// isZero says whether a value is its type's zero, or an empty list.
func isZero(value any) bool {
	list, ok := value.([]int)
	return ok && len(list) == 0 || reflect.ValueOf(value).IsZero()
}

// Decode takes the values out of the members of a JSON object. A value that is not there is zero.
func (e Entry) Decode(members map[string]json.RawMessage) (Values, error) {
	values, objects := Values{}, map[string]map[string]json.RawMessage{}
	for _, s := range e.Settings {
		object, name, nested := strings.Cut(s.Name, ".")
		from := members
		if !nested {
			name = object
		} else if from = objects[object]; from == nil {
			from = map[string]json.RawMessage{}
			if text, ok := members[object]; ok {
				if err := artifact.ParseJSON(text, &from, artifact.KnownKeys); err != nil {
					return nil, fmt.Errorf("%s: %w", object, err)
				}
			}
			objects[object] = from
			delete(members, object)
		}
		values[s.Name] = reflect.Zero(reflect.TypeOf(s.Default)).Interface()
		text, ok := from[name]
		if !ok {
			continue
		}
		value, err := s.parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		values[s.Name] = value
		delete(from, name)
	}
	for object, rest := range objects {
		for name := range rest {
			return nil, fmt.Errorf("%s has no setting %q", object, name)
		}
	}
	return values, nil
}
