package importer

import (
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// longestAttribute is the largest size of an attribute in bytes, so that descriptions and reviews
// do not fill the memory.
const longestAttribute = 1000

// collector collects the columns of a table that have no other role.
type collector struct {
	names   []string
	values  [][]string // rows may be shorter than names
	tooLong int        // values that were too long and skipped

	header []string // that places and to belong to
	places []int    // of the columns in the header
	to     []int    // of the columns in names
	lists  []bool   // columns whose values are separated by spaces
}

// add collects the attributes of a row.
func (c *collector) add(r row) error {
	if len(r.header) > 0 && (len(c.header) != len(r.header) || &c.header[0] != &r.header[0]) {
		c.learn(r.table)
	}
	values := make([]string, len(c.names))
	for i, at := range c.places {
		field, err := r.at(at, c.names[c.to[i]])
		if len(r.fields[at]) > longestAttribute {
			c.tooLong++
			continue
		}
		if err != nil {
			return err
		}
		value := dataset.PlainText(string(field))
		if c.lists[i] {
			value = strings.ReplaceAll(value, " ", "|")
		}
		values[c.to[i]] = value
	}
	c.values = append(c.values, values)
	return nil
}

// learn finds the columns of a header.
func (c *collector) learn(t *table) {
	c.header = t.header
	places, names := t.attributes()
	c.places, c.to, c.lists = places, nil, nil
	for i, name := range names {
		to := slices.Index(c.names, name)
		if to < 0 {
			to = len(c.names)
			c.names = append(c.names, name)
		}
		_, kind := recBoleName(t.header[places[i]])
		c.to, c.lists = append(c.to, to), append(c.lists, strings.HasSuffix(kind, "_seq"))
	}
}

// keep returns what was collected of items or users, without columns that are empty throughout.
func (im *importer) keep(c collector, of string) dataset.Attributes {
	if c.tooLong > 0 {
		im.note("%d attributes of %s were skipped: they are longer than %d bytes", c.tooLong, of, longestAttribute)
	}
	var used []int
	var a dataset.Attributes
	for at, name := range c.names {
		if slices.ContainsFunc(c.values, func(row []string) bool { return at < len(row) && row[at] != "" }) {
			used = append(used, at)
			a.Names = append(a.Names, name)
		}
	}
	if len(used) == 0 {
		return a
	}
	for _, row := range c.values {
		values := make([]string, len(used))
		for i, at := range used {
			if at < len(row) {
				values[i] = row[at]
			}
		}
		a.Values = append(a.Values, values)
	}
	im.report.Attributes = append(im.report.Attributes, a.Names...)
	return a
}
