package dataset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// scanParquet reads the wanted columns of a Parquet file side by side, a page of each at a time. Whole numbers in floating
// point are written without a fraction, times and dates as seconds since 1970.
func scanParquet(t *table, file fs.File, emit emit) error {
	at, ok := file.(io.ReaderAt)
	if !ok {
		return errors.New("a Parquet file must lie on a disk of its own; unpack it")
	}
	var opened *parquet.File
	var header []string
	if err := guard(func() (err error) {
		if opened, err = parquet.OpenFile(at, t.size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true)); err != nil {
			return err
		}
		for _, c := range opened.Root().Columns() {
			name := "" // of a list or a group: nothing that is wanted
			if c.Leaf() && !c.Repeated() {
				name = c.Name()
			}
			header = append(header, name)
		}
		return nil
	}); err != nil {
		return t.errorAt(0, "write the file again", "it is not an intact Parquet file: %v", err)
	}
	if err := emit(0, header, nil); err != nil {
		return err
	}
	t.size = opened.NumRows()
	fields := make([]string, len(header))
	for _, group := range opened.RowGroups() {
		if err := t.scanGroup(opened, group, fields, emit); err != nil {
			return err
		}
	}
	return nil
}

// scanGroup reads one row group.
func (t *table) scanGroup(file *parquet.File, group parquet.RowGroup, fields []string, emit emit) error {
	var columns []*cells
	defer func() {
		for _, c := range columns {
			c.pages.Close()
		}
	}()
	if err := guard(func() error {
		for _, place := range t.places {
			if place >= 0 {
				columns = append(columns, newCells(file.Root().Columns()[place], group, place))
			}
		}
		return nil
	}); err != nil {
		return t.errorAt(int(t.done)+1, "write the file again", "a column cannot be read: %v", err)
	}
	for range group.NumRows() {
		t.done++
		for _, c := range columns {
			value, err := c.next()
			if err != nil {
				return t.errorAt(int(t.done), "write the file again", "column %q cannot be read: %v", c.name, err)
			}
			fields[c.place] = value
		}
		if err := emit(int(t.done), fields, nil); err != nil {
			return err
		}
	}
	return nil
}

// cells goes through one column of a row group.
type cells struct {
	name   string
	place  int // in the header
	text   func(parquet.Value) string
	pages  parquet.Pages
	page   parquet.Page // whose values are being read; nil before the first and after the last
	values parquet.ValueReader
	buffer []parquet.Value
	rest   []parquet.Value // of buffer
}

func newCells(c *parquet.Column, group parquet.RowGroup, place int) *cells {
	return &cells{name: c.Name(), place: place, text: texts(c.Type().LogicalType()), buffer: make([]parquet.Value, 1024),
		pages: group.ColumnChunks()[c.Index()].Pages()}
}

// next gives the value of the next row as text, "" for null.
func (c *cells) next() (string, error) {
	for len(c.rest) == 0 {
		if err := guard(c.fill); err != nil {
			return "", err
		}
	}
	value := c.rest[0]
	c.rest = c.rest[1:]
	if value.IsNull() {
		return "", nil
	}
	return c.text(value), nil
}

// fill reads more values into rest; none where a page has just ended.
func (c *cells) fill() error {
	if c.page == nil {
		page, err := c.pages.ReadPage()
		if err != nil {
			return err
		}
		c.page, c.values = page, page.Values()
	}
	n, err := c.values.ReadValues(c.buffer)
	c.rest = c.buffer[:n]
	if err == io.EOF {
		c.page, err = nil, nil
	}
	return err
}

// guard makes an error of a panic: the library panics on some broken files.
func guard(call func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return call()
}

// texts gives the function that writes values of a logical type (nil: none) as text.
func texts(logical *format.LogicalType) func(parquet.Value) string {
	if logical != nil {
		switch kind := logical.Value.(type) {
		case *format.DateType:
			return func(v parquet.Value) string { return strconv.FormatInt(int64(v.Int32())*86400, 10) }
		case *format.TimestampType:
			second := int64(time.Second / kind.Unit.Value.Duration())
			return func(v parquet.Value) string {
				at := v.Int64()
				return strconv.FormatInt((at-(at%second+second)%second)/second, 10) // rounded down before 1970, too
			}
		}
	}
	return func(v parquet.Value) string {
		switch v.Kind() {
		case parquet.Double:
			return strconv.FormatFloat(v.Double(), 'f', -1, 64)
		case parquet.Float:
			return strconv.FormatFloat(float64(v.Float()), 'f', -1, 32)
		}
		return fmt.Sprint(v)
	}
}
