package adapter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Kind is the name of a kind of adapters, as flags and files have it.
type Kind string

// Entry describes a kind.
type Entry struct {
	Name   Kind
	Was    Kind   // the name that older files have; "": the same
	Native string // the name in native/src/adapters; "": the same
	Help   string // for people who choose one

	Reads   Reads
	Hidden  bool // it has hidden units
	Entries bool // it looks entries up, one for each item, which the warm start fills with the items' titles
	LookUps bool // it shows several entries, which the warm start alone teaches it to find
	Blind   bool // it ignores the state

	Coarse bool // it comes near no title's embeddings; the warm start makes it fit the right ones best

	Cold string // why there is no warm start; "": there is one

	Modules string            // the PyTorch modules that do the same
	Export  map[string]string // names of tensors as these modules have them; others keep theirs
}

// Kinds are all of them.
var Kinds = func() (all []Kind) {
	for _, e := range entries {
		all = append(all, e.Name)
	}
	return all
}()

// Known says whether there is such a kind.
func (k Kind) Known() bool { return slices.Contains(Kinds, k) }

// Entry describes the kind. An unknown one reads one state and has no sizes.
func (k Kind) Entry() Entry {
	if i := slices.Index(Kinds, k); i >= 0 {
		return entries[i]
	}
	return Entry{Name: k}
}

// NativeName is the kind's name in the native core.
func (k Kind) NativeName() string {
	if native := k.Entry().Native; native != "" {
		return native
	}
	return string(k)
}

// Label names the kind where figures are shown. Readers must be able to tell a lookup, which finds
// the item whose title the LLM reads, from an adapter that leaves the work to the LLM.
func (k Kind) Label() string {
	if k.Entry().Entries {
		return string(k) + " (lookup)"
	}
	return string(k)
}

// UnmarshalText reads a kind's name, also that of older files.
func (k *Kind) UnmarshalText(text []byte) error {
	*k = Parse(string(text))
	return nil
}

// Parse gives the kind with the name, or with that name in older files. Validation refuses one that
// is not known.
func Parse(name string) Kind {
	for _, e := range entries {
		if e.Was != "" && string(e.Was) == name {
			return e.Name
		}
	}
	return Kind(name)
}

// Names lists the kinds that fit, for messages and help.
func Names(fit func(Entry) bool) string {
	var names []string
	for _, e := range entries {
		if fit(e) {
			names = append(names, string(e.Name))
		}
	}
	if last := len(names) - 1; last > 0 {
		return strings.Join(names[:last], ", ") + " or " + names[last]
	}
	return strings.Join(names, "")
}

// Suits refuses a lookup for a catalogue of so many items that its entries would take too much.
func (k Kind) Suits(items int) error {
	if !k.Entry().Entries || items <= dataset.LargeCatalogue {
		return nil
	}
	return fmt.Errorf("adapter: %s looks up an entry for each item, and the memory and the warm start for %d items are too much "+
		"(the most is %d); choose %s, whose size does not depend on the catalogue", k, items, dataset.LargeCatalogue, mlp.Name)
}

// ReadsApart says whether a kind can read a state in another way for each question, by a first
// layer of its own.
func (e Entry) ReadsApart() bool { return e.Reads == OneState && !e.Entries && !e.Blind }

// ReadsOne says whether kinds of the entry read a single state.
func ReadsOne(e Entry) bool { return e.Reads == OneState }

// Help says for each kind what it is.
func Help() string {
	var parts []string
	for _, e := range entries {
		parts = append(parts, string(e.Name)+", "+e.Help)
	}
	return strings.Join(parts, "; ")
}

// Modules says for each kind which PyTorch modules do the same, a line for each.
func Modules() string {
	var lines strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&lines, "%s: %s\n", e.Name, e.Modules)
	}
	return lines.String()
}
