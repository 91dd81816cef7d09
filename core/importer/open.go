package importer

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding/unicode"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Format is how a file is written. The empty format is detected from the file's content.
type Format string

// The formats that can be named. JSON lines and arrays are both JSON.
const (
	CSV     Format = "csv" // or any other separator, with quotation marks
	TSV     Format = "tsv" // without quotation marks
	JSON    Format = "json"
	Parquet Format = "parquet"
)

// Validate refuses an unknown format and lists the known ones.
func (f Format) Validate() error {
	switch f {
	case "", CSV, TSV, JSON, Parquet:
		return nil
	}
	return fmt.Errorf("dataset: no format is called %q; known are %s, %s, %s and %s", string(f), CSV, TSV, JSON, Parquet)
}

// paths is the file system of the machine. Unlike os.DirFS it takes any path.
type paths struct{}

func (paths) Open(name string) (fs.File, error) { return os.Open(name) }

// file is one file of a source.
type file struct {
	folder    fs.FS
	path      string
	name      string // for messages; "" is path
	format    Format
	separator string   // of fields without quotation marks; "" is a tab, or detected from the first line
	header    []string // the names of the fields, for a file without them
	latin1    bool     // by custom, so that it needs no note
}

// label names the file in messages.
func (f file) label() string {
	if f.name != "" {
		return f.name
	}
	return f.path
}

// fail is the error of a file that cannot be read at all.
func (f file) fail(line int, remedy, problem string, args ...any) error {
	return &dataset.FormatError{File: f.label(), Line: line, Problem: fmt.Sprintf(problem, args...), Remedy: remedy}
}

// opened is a file that is being read: decompressed and, where it is UTF-16, decoded.
type opened struct {
	*bufio.Reader
	format Format
	utf16  bool
	raw    fs.File
	packed bool
	size   int64
	done   int64 // of size
}

func (o *opened) Close() error { return o.raw.Close() }

// share is the part that has been read, from 0 to 1.
func (o *opened) share() float64 { return min(1, float64(o.done)/float64(max(o.size, 1))) }

// counted counts the bytes that have been read of a file.
type counted struct {
	io.Reader
	done *int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.done += int64(n)
	return n, err
}

// unpackers read compressed files, by their first bytes.
var unpackers = []struct {
	magic  string
	unpack func(io.Reader) (io.Reader, error)
}{
	{"\x1f\x8b", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"\x28\xb5\x2f\xfd", unpackZstd},
	{"\x50\x2a\x4d\x18", unpackZstd}, // which begins with a frame to skip, as pzstd writes it
	{"BZh", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
}

func unpackZstd(r io.Reader) (io.Reader, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
}

// others are files that cannot be read, by their first bytes.
var others = []struct{ magic, what, remedy string }{
	{"PK\x03\x04", "a ZIP archive or a spreadsheet", "unpack it and name what is in it, or save the sheet as CSV"},
	{"\xd0\xcf\x11\xe0", "a spreadsheet", "save the sheet as CSV"},
	{"\xfd7zXZ", "packed with xz", "unpack it, or pack it with gzip or zstd"},
	{"\x1f\x8b", "packed twice", "unpack it once"},
	{"ARROW1", "an Arrow or Feather file", "write the table as Parquet"},
	{"ORC", "an ORC file", "write the table as Parquet"},
	{"Obj\x01", "an Avro file", "write the table as Parquet"},
	{"SQLite format 3", "an SQLite database", "export the table as CSV"},
	{"\x80\x04", "a Python pickle", "write the table as Parquet or CSV"},
	{"\x80\x05", "a Python pickle", "write the table as Parquet or CSV"},
	{"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch the file with git lfs pull"},
	{"<!DOCTYPE", "a web page", "fetch the file again: a page may have come in its place"},
	{"<html", "a web page", "fetch the file again: a page may have come in its place"},
}

// open opens the file and detects its compression and encoding.
func (f file) open() (*opened, error) {
	raw, err := f.folder.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("dataset: cannot read: %w", err)
	}
	o := &opened{raw: raw, format: f.format}
	if info, err := raw.Stat(); err == nil {
		o.size = info.Size()
	}
	const window = 1 << 17
	o.Reader = bufio.NewReaderSize(counted{raw, &o.done}, window)
	for _, u := range unpackers {
		if o.startsWith(u.magic) {
			unpacked, err := u.unpack(o.Reader)
			if err != nil {
				raw.Close()
				return nil, f.fail(0, "pack it again", "it cannot be unpacked: %v", err)
			}
			o.Reader, o.packed = bufio.NewReaderSize(unpacked, window), true
			break
		}
	}
	for _, b := range others {
		if o.startsWith(b.magic) {
			raw.Close()
			return nil, f.fail(0, b.remedy, "it is %s", b.what)
		}
	}
	if order, ok := o.isUTF16(); ok {
		o.utf16 = true
		o.Reader = bufio.NewReaderSize(unicode.UTF16(order, unicode.UseBOM).NewDecoder().Reader(o.Reader), window)
	}
	if o.format == "" {
		o.format = o.guess(f)
	}
	const enough = 1 << 12
	if start, _ := o.Peek(enough); o.format != Parquet && bytes.IndexByte(before(start, '\n'), 0) >= 0 {
		raw.Close()
		return nil, f.fail(0, "save its rows as CSV, JSON or Parquet", "it is not a text")
	}
	return o, nil
}

func before(text []byte, end byte) []byte {
	first, _, _ := bytes.Cut(text, []byte{end})
	return first
}

func (o *opened) startsWith(magic string) bool {
	start, _ := o.Peek(len(magic))
	return string(start) == magic
}

// isUTF16 looks for a byte-order mark, or for zeros in every second one of the first bytes.
func (o *opened) isUTF16() (unicode.Endianness, bool) {
	start, _ := o.Peek(4)
	switch {
	case len(start) < 4:
	case start[0] == 0xff && start[1] == 0xfe, start[0] != 0 && start[1] == 0 && start[2] != 0 && start[3] == 0:
		return unicode.LittleEndian, true
	case start[0] == 0xfe && start[1] == 0xff, start[0] == 0 && start[1] != 0 && start[2] == 0 && start[3] != 0:
		return unicode.BigEndian, true
	}
	return unicode.LittleEndian, false
}

// guess detects the format from the first bytes. The file's name decides whether quotation marks
// are ordinary characters, as in .tsv and RecBole's files. Programs that write tabs in UTF-16 do
// quote.
func (o *opened) guess(f file) Format {
	const parquet, window = "PAR1", 1 << 12
	if o.startsWith(parquet) {
		return Parquet
	}
	start, _ := o.Peek(window)
	start = bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\ufeff")), " \t\r\n")
	if f.header == nil && len(start) > 0 && (start[0] == '{' || start[0] == '[') {
		return JSON
	}
	if f.separator != "" {
		return TSV
	}
	name := strings.ToLower(filepath.Base(f.path))
	for _, packed := range []string{".gz", ".zst", ".bz2"} {
		name = strings.TrimSuffix(name, packed)
	}
	switch filepath.Ext(name) {
	case ".tsv":
		if !o.utf16 {
			return TSV
		}
	case ".inter", ".item", ".user":
		return TSV
	}
	return CSV
}

// spool copies a pipe, which can be read only once, to a temporary file and returns that file.
func spool(path string, temp string) (file, error) {
	from := path
	if path == "-" {
		from = "/dev/stdin"
	}
	pipe, err := os.Open(from)
	if err != nil {
		return file{}, fmt.Errorf("dataset: cannot read: %w", err)
	}
	defer pipe.Close()
	copied, err := os.CreateTemp(temp, "pipe-")
	if err != nil {
		return file{}, fmt.Errorf("dataset: cannot store the data of a pipe: %w", err)
	}
	defer copied.Close()
	if _, err := io.Copy(copied, pipe); err != nil {
		return file{}, fmt.Errorf("dataset: cannot store the data of %s: %w; TMPDIR names a folder with more room", path, err)
	}
	return file{folder: paths{}, path: copied.Name(), name: path}, copied.Close()
}
