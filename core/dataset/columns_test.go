package dataset

import (
	"reflect"
	"testing"
)

func TestColumns(t *testing.T) {
	a := Attributes{Names: []string{"genres", "year"}, Values: [][]string{{"Drama|War", "1999"}, {"", "1999"}, {"Drama", ""}}}
	want := []Column{
		{Name: "genres", Known: 2, Values: 2, Top: []ValueCount{{Value: "Drama", Rows: 2}, {Value: "War", Rows: 1}}},
		{Name: "year", Known: 2, Values: 1, Top: []ValueCount{{Value: "1999", Rows: 2}}},
	}
	if got := a.columns(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
