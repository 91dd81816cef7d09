package artifact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Difference names the values in which two configurations differ, such as "config.seed was 1, is
// 2"; "" if none does. It compares their JSON, so that a value that JSON omits is no difference.
func Difference(was, is any) string {
	a, errA := json.Marshal(was)
	b, errB := json.Marshal(is)
	if err := errors.Join(errA, errB); err != nil {
		return err.Error()
	}
	return strings.Join(differences("", a, b), "; ")
}

func differences(name string, was, is json.RawMessage) (found []string) {
	var a, b map[string]json.RawMessage
	if json.Unmarshal(was, &a) != nil || json.Unmarshal(is, &b) != nil || a == nil || b == nil { // not both are objects
		if bytes.Equal(was, is) {
			return nil
		}
		return []string{fmt.Sprintf("%s was %s, is %s", cmp.Or(name, "the value"), cmp.Or(string(was), "not set"), cmp.Or(string(is), "not set"))}
	}
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		found = append(found, differences(strings.TrimPrefix(name+"."+key, "."), a[key], b[key])...)
	}
	return found
}
