package importer

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/internal/duckdb"
)

// readSQL reads the rows of a relation: a query in brackets or a function that reads a file.
func (im *importer) readSQL(relation string, t *table, to reading) error {
	var header, types []string
	columns, err := im.db.Fields(im.ctx, relation)
	if err != nil {
		return err
	}
	for _, c := range columns {
		header, types = append(header, c.Name), append(types, c.Type)
	}
	if err := to.columns(header); err != nil {
		return err
	}
	r := &record{fields: make([][]byte, len(header)), nested: make([]bool, len(header))}
	var wanted []int
	var expressions []string
	add := func(at int, as role) error {
		expression, problem := textOf(`"`+strings.ReplaceAll(header[at], `"`, `""`)+`"`, types[at], as)
		if problem != "" {
			return fmt.Errorf("the column %q %s", header[at], problem)
		}
		if as == timeRole && types[at] == "FLOAT" {
			to.note("the column %q holds times in 32-bit floating point, which rounds seconds since 1970 to multiples of 128: "+
				"closer events have lost their order", header[at])
		}
		if r.nested[at] = expression == ""; !r.nested[at] {
			wanted, expressions = append(wanted, at), append(expressions, expression)
		}
		return nil
	}
	for as, at := range t.places {
		if err := add(at, as); err != nil {
			return err
		}
	}
	places, _ := t.attributes()
	for _, at := range places {
		if err := add(at, attributeRole); err != nil {
			return err
		}
	}
	if len(expressions) == 0 {
		return errors.New("none of its columns can be read")
	}
	return im.db.Query(im.ctx, "SELECT "+strings.Join(expressions, ", ")+" FROM "+relation, func(fields [][]byte) error {
		r.line++
		for i, at := range wanted {
			r.fields[at] = fields[i]
		}
		return to.each(r)
	})
}

// textOf returns the SQL expression for a column as text: whole numbers in floating point without a
// fraction where they are exact, the values of a list between "|". It is "" for other nested types;
// problem says why a column of this type cannot have the role.
func textOf(name, kind string, as role) (expression, problem string) {
	is := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(kind, p) {
				return true
			}
		}
		return false
	}
	list := strings.HasSuffix(kind, "]")
	switch {
	case list && as == attributeRole && !is("STRUCT", "MAP", "UNION") && strings.Count(kind, "[") == 1:
		return "array_to_string(CAST(" + name + " AS VARCHAR[]), '|')", ""
	case list || is("STRUCT", "MAP", "UNION", "VARIANT") || as == attributeRole && is("BLOB"):
		return "", ""
	case as == timeRole && !is("TIMESTAMP", "DATE") && is("TIME", "INTERVAL", "BOOLEAN"):
		return "", fmt.Sprintf("is of the type %s, which does not order events: name a column of dates, timestamps or numbers", kind)
	case as == ratingRole && is("BOOLEAN"):
		return "CAST(CAST(" + name + " AS TINYINT) AS VARCHAR)", ""
	case kind == "FLOAT" && (as == userRole || as == itemRole): // above 2^24 different ids have become equal
		return fmt.Sprintf("CASE WHEN abs(%[1]s) > 16777216 THEN error(%[2]s) "+
			"WHEN %[1]s = trunc(%[1]s) THEN CAST(CAST(%[1]s AS BIGINT) AS VARCHAR) "+
			"WHEN isfinite(%[1]s) THEN CAST(%[1]s AS VARCHAR) END", name,
			duckdb.Quote("the column "+name+" holds ids in 32-bit floating point, which rounds those above 16777216; "+
				"write it as whole numbers or as text")), ""
	case is("FLOAT", "DOUBLE") && as != ratingRole:
		return fmt.Sprintf("CASE WHEN %[1]s = trunc(%[1]s) AND abs(%[1]s) <= 9007199254740992 THEN CAST(CAST(%[1]s AS BIGINT) AS VARCHAR) "+
			"WHEN isfinite(%[1]s) THEN CAST(%[1]s AS VARCHAR) END", name), ""
	}
	return "CAST(" + name + " AS VARCHAR)", ""
}

// readParquet reads a Parquet file, which must be a regular file.
func (im *importer) readParquet(f file, t *table, to reading) error {
	path := f.path
	if _, ok := f.folder.(paths); !ok {
		return f.fail(0, "unpack it", "a Parquet file must be a regular file, not a pipe or packed")
	}
	if err := im.startDatabase(); err != nil {
		return err
	}
	name := duckdb.Path(path)
	var wide string // DuckDB misreads decimal numbers of more than 38 digits
	err := im.db.Query(im.ctx, "SELECT name FROM parquet_schema("+name+") WHERE \"precision\" > 38", func(fields [][]byte) error {
		wide = string(fields[0])
		return nil
	})
	if err == nil && wide != "" {
		return f.fail(0, "write the column with up to 38 digits", "the column %q has decimal numbers of more than 38 digits", wide)
	}
	var stopped error
	if err == nil {
		const options = ", binary_as_string = true, hive_types_autocast = false)" // ids in names of folders are text, too
		err = im.readSQL("read_parquet("+name+options, t, to.noting(&stopped))
	}
	if err != nil && stopped == nil && im.ctx.Err() == nil {
		return f.fail(0, "write the file again, or name another column", "it cannot be read as Parquet: %v", err)
	}
	return errors.Join(im.ctx.Err(), stopped)
}

// readQuery reads the rows of the query, which is run once for all parts of an import.
func (im *importer) readQuery(t *table, to reading) error {
	if err := im.startDatabase(); err != nil {
		return err
	}
	if !im.queried {
		query := strings.TrimRight(t.query, "; \t\r\n")
		if err := im.db.Run(im.ctx, "CREATE TEMP TABLE recint_rows AS SELECT * FROM ("+query+"\n)"); err != nil {
			return errors.Join(im.ctx.Err(), fmt.Errorf("dataset: the query fails: %w", err))
		}
		im.queried = true
	}
	var stopped error
	err := im.readSQL("recint_rows", t, to.noting(&stopped))
	if err != nil && stopped == nil && im.ctx.Err() == nil {
		return fmt.Errorf("dataset: the result of the query cannot be used: %w", err)
	}
	return errors.Join(im.ctx.Err(), stopped)
}

// noting remembers errors of the callback, so that they are returned without DuckDB's words around
// them.
func (to reading) noting(stopped *error) reading {
	note := func(err error) error {
		if err != nil {
			*stopped = err
		}
		return err
	}
	columns, each := to.columns, to.each
	to.columns = func(header []string) error { return note(columns(header)) }
	to.each = func(r *record) error { return note(each(r)) }
	return to
}

// startDatabase starts DuckDB unless it runs already.
func (im *importer) startDatabase() (err error) {
	if im.db == nil {
		im.db, err = duckdb.Open()
	}
	return err
}

// temporary returns the import's folder for temporary files.
func (im *importer) temporary() (dir string, err error) {
	if im.temp == "" {
		if im.temp, err = os.MkdirTemp("", "recint-import-"); err != nil {
			return "", fmt.Errorf("dataset: cannot make a folder for temporary files: %w", err)
		}
	}
	return im.temp, nil
}
