package importer

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Columns names the columns of an import. An empty name means the usual names.
type Columns struct {
	User, Item, Time, Rating, Title string
}

// RowOrder as the name of the column of times means that the order of the rows is the order in
// time.
const RowOrder = "rows"

// role is the meaning of a column.
type role int

const (
	userRole role = iota
	itemRole
	timeRole
	ratingRole
	titleRole
	yearRole // RecBole keeps the year of a film apart from its title
	historyRole
	nextRole
	attributeRole // all columns that have no other role
)

// column is a column to find.
type column struct {
	role     role
	noun     string   // what it holds
	names    []string // accepted names: exact, or in the form of squash; the first one present counts
	optional bool
}

// usual are the usual names of columns, those that end with id first: in a file with user_id, a
// column user is often a name in words.
var usual = map[role][]string{
	userRole: {"userid", "useridx", "uid", "reviewerid", "customerid", "visitorid", "sessionid", "memberid", "accountid", "authorid",
		"clientid", "profileid", "viewerid", "listenerid", "readerid", "playerid", "personid", "deviceid", "user", "reviewer", "customer", "username"},
	itemRole: {"itemid", "movieid", "artistid", "trackid", "songid", "bookid", "productid", "gameid", "appid", "businessid", "videoid",
		"articleid", "newsid", "recipeid", "filmid", "showid", "animeid", "beerid", "hotelid", "placeid", "poiid", "venueid", "courseid",
		"contentid", "postid", "itemidx", "parentasin", "asin", "isbn", "sku", "item", "movie", "product"},
	timeRole: {"timestamp", "time", "date", "datetime", "ts", "unixreviewtime", "createdat", "eventtime", "eventtimestamp", "unixtime",
		"unixtimestamp", "timems", "updatedat", "ratedat", "reviewdate", "reviewtime"},
	ratingRole: {"rating", "score", "stars", "overall", "bookrating"},
	titleRole:  {"title", "movietitle", "itemtitle", "booktitle", "name", "itemname", "artistname", "productname", "trackname", "gamename"},
}

// column gives the named column, or the one with a usual name.
func (c Columns) column(r role, noun, name string, optional bool) column {
	if name != "" {
		return column{r, noun, []string{name}, false}
	}
	return column{r, noun, usual[r], optional}
}

func (c Columns) events() []column {
	columns := []column{c.column(userRole, "user", c.User, false), c.column(itemRole, "item", c.Item, false)}
	if c.Time != RowOrder {
		columns = append(columns, c.column(timeRole, "time", c.Time, false))
	}
	return append(columns, c.column(ratingRole, "rating", c.Rating, true))
}

// items and users are the columns of separate tables of items and users, where the id may be called
// just id.
func (c Columns) items() []column {
	return []column{c.column(itemRole, "item", c.Item, false).orID(), c.column(titleRole, "title", c.Title, false)}
}

func (c Columns) users() []column { return []column{c.column(userRole, "user", c.User, false).orID()} }

func (c column) orID() column {
	if len(c.names) > 1 {
		c.names = append(slices.Clone(c.names), "id")
	}
	return c
}

// squash is the form in which usual names of columns are compared: userId, user_id and "User ID"
// are one.
func squash(name string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "", ".", "").Replace(strings.ToLower(name))
}

// table is a part of a source, events, items, users or sequences: files with the same columns.
type table struct {
	files   []file
	columns []column
	// query is the SQL that returns the table's rows, instead of files.
	query string

	header []string
	places map[role]int // of the columns in the header; those that are not there are absent
}

// label names the table in messages.
func (t *table) label() string {
	if t.query != "" {
		return "the query"
	}
	return t.files[0].label()
}

// locate finds the columns in the header of a file. A header may grow; columns that were found keep
// their places.
func (t *table) locate(file string, header []string) error {
	if len(header) <= len(t.header) || t.places == nil {
		t.places = map[role]int{}
	}
	t.header = header
	for _, c := range t.columns {
		if _, found := t.places[c.role]; found {
			continue
		}
		at := -1
		for _, name := range c.names {
			at = slices.IndexFunc(header, func(h string) bool {
				short, _ := recBoleName(h)
				return h == name || short == name || squash(short) == name && len(c.names) > 1
			})
			if at >= 0 {
				break
			}
		}
		if at >= 0 && slices.Contains(header[at+1:], header[at]) {
			return &dataset.FormatError{File: file, Line: 1, Problem: fmt.Sprintf("two columns are called %q", header[at]), Remedy: "rename one"}
		} else if at >= 0 {
			t.places[c.role] = at
		} else if !c.optional {
			what := fmt.Sprintf("no column %q", c.names[0])
			if len(c.names) > 1 {
				what = "no column that looks like the " + c.noun
			}
			return &dataset.FormatError{File: file, Line: 1, Problem: fmt.Sprintf("%s among %.300q", what, header),
				Remedy: remedy(header, c)}
		}
	}
	user, ok := t.places[userRole]
	if item, both := t.places[itemRole]; ok && both && user == item {
		return &dataset.FormatError{File: file, Line: 1, Problem: fmt.Sprintf("the column %q is given for both users and items", header[user]),
			Remedy: "name two columns"}
	}
	return nil
}

// remedy says what to do about a column that is not there.
func remedy(header []string, c column) string {
	switch {
	case len(header) == 1 && strings.ContainsFunc(header[0], func(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) }):
		return "name all columns in the first line, with commas, semicolons, tabs or bars between"
	case c.role == historyRole, c.role == nextRole:
		return "add the column or correct its name"
	}
	named := "name it with --" + c.noun
	if len(c.names) == 1 {
		named = "correct --" + c.noun
	}
	switch c.role {
	case timeRole:
		return "add the column, " + named + ", or use the order of the rows: --time rows"
	case titleRole:
		return "add the column, " + named + ", or import the titles from a separate file of items: --items"
	}
	return "add the column, or " + named
}

// noun is the word for a column.
func (t *table) noun(r role) string {
	return t.columns[slices.IndexFunc(t.columns, func(c column) bool { return c.role == r })].noun
}

// has reports whether a column is there.
func (t *table) has(r role) bool {
	_, ok := t.places[r]
	return ok
}

// attributes are the places and names of the columns that have no role, or that of a year, and a
// name that a data set can hold.
func (t *table) attributes() (places []int, names []string) {
	taken := []string{"item_id", "title", "raw_title", "user_id"}
	for at, h := range t.header {
		name, _ := recBoleName(h)
		name = dataset.PlainText(name)
		role := false
		for r, place := range t.places {
			role = role || place == at && r != yearRole
		}
		if !role && name != "" && len(name) <= longestAttribute && !strings.HasPrefix(name, "Unnamed: ") && !slices.Contains(taken, name) {
			places, names, taken = append(places, at), append(names, name), append(taken, name)
		}
	}
	return places, names
}

// row is one record of a table.
type row struct {
	*table
	*record
	file   string
	latin1 *int // counts fields that were not UTF-8; nil: they are an error
}

func (r row) errorf(remedy, problem string, args ...any) error {
	return &dataset.FormatError{File: r.file, Line: r.line, Problem: fmt.Sprintf(problem, args...), Remedy: remedy}
}

// field returns the field of a column without spaces around it, "" for a column that is not there.
func (r row) field(c role) ([]byte, error) {
	at, ok := r.places[c]
	if !ok {
		return nil, nil
	}
	if r.nested != nil && r.nested[at] {
		return nil, r.errorf("give it one value or remove the line", "%s is a list or an object", r.noun(c))
	}
	return r.at(at, r.noun(c))
}

// at returns the field at a place.
func (r row) at(at int, noun string) ([]byte, error) {
	field, ok := toUTF8(r.fields[at])
	if field = bytes.TrimSpace(field); len(field) > dataset.LongestField {
		return nil, r.errorf("shorten it or remove the line", "%s is %d bytes long, expected at most %d", noun, len(field),
			dataset.LongestField)
	}
	if !ok && r.latin1 == nil {
		return nil, r.errorf("save the file as UTF-8", "%s is not UTF-8: %.60q", noun, bytes.TrimSpace(r.fields[at]))
	} else if !ok {
		*r.latin1++
	}
	return field, nil
}

// toUTF8 returns text that is UTF-8, ok, or else decodes it as Windows-1252, which includes
// Latin-1.
func toUTF8(text []byte) (decoded []byte, ok bool) {
	if utf8.Valid(text) {
		return text, true
	}
	decoded, _ = charmap.Windows1252.NewDecoder().Bytes(text) // every byte is a character
	return decoded, false
}

// id returns an id: text in normal form C. It drops a fraction of zero, as pandas writes for whole
// numbers in a column that has gaps.
func (r row) id(c role) ([]byte, error) {
	id, err := r.field(c)
	if err == nil {
		id, err = r.idOf(c, id)
	}
	if err != nil {
		return nil, err
	}
	if len(id) == 0 || isAbsent(id) {
		return nil, r.errorf("give it one or remove the line", "%s is %s", r.noun(c), cmp.Or(string(id), "empty"))
	}
	if bytes.ContainsAny(id, "\t\r\n\x00") {
		return nil, r.errorf("ids must be without tabs, line breaks and zeros", "%s is %.60q", r.noun(c), id)
	}
	at := r.places[c]
	if r.header[at] == string(id) || r.line == 1 && slices.ContainsFunc(usual[c], func(name string) bool { return strings.EqualFold(name, string(id)) }) {
		return nil, r.errorf("remove the line", "the line repeats the names of the columns")
	}
	return id, nil
}

// idOf gives the form in which ids are compared.
func (r row) idOf(c role, id []byte) ([]byte, error) {
	if id = wholeNumber(id); len(id) > 3 && bytes.IndexByte(id, '+') > 0 {
		var err error
		if id, err = r.written(c, id); err != nil {
			return nil, err
		}
	}
	if !norm.NFC.IsNormal(id) {
		id = norm.NFC.Bytes(id)
	}
	return id, nil
}

// scientific is a number as programs write large ones in floating point: 1e+05.
var scientific = regexp.MustCompile(`^-?[0-9](\.[0-9]+)?[eE]\+[0-9]+$`)

// written returns the digits of an id that a program has written as a number in floating point. If
// digits were lost, different ids may have become equal.
func (r row) written(c role, id []byte) ([]byte, error) {
	if !scientific.Match(id) {
		return id, nil
	}
	const exact = 1 << 53
	v, err := strconv.ParseFloat(string(id), 64)
	if err != nil || math.Abs(v) > exact || v != math.Trunc(v) || bytes.IndexByte(id, 'E') >= 0 { // E: spreadsheets round
		return nil, r.errorf("export the column as text", "%s %.60q may have lost digits", r.noun(c), id)
	}
	return strconv.AppendInt(nil, int64(v), 10), nil
}

// wholeNumber turns "10.0" into "10".
func wholeNumber(id []byte) []byte {
	whole, zeros, ok := bytes.Cut(id, []byte{'.'})
	digits := bytes.TrimPrefix(whole, []byte{'-'})
	notDigit := func(c rune) bool { return c < '0' || c > '9' }
	if !ok || len(digits) == 0 || len(zeros) == 0 || len(bytes.Trim(zeros, "0")) > 0 || bytes.ContainsFunc(digits, notDigit) {
		return id
	}
	return whole
}

// alike reports whether two fields may be ids of one kind: they agree in whether they have digits,
// in whether they have letters, and in their other characters, none of which is a space. Words of
// letters alone are no ids.
func alike(a, b []byte) bool {
	kind := func(field []byte) (kind string, word bool) {
		classes := bytes.Map(func(c rune) rune {
			switch {
			case unicode.IsDigit(c):
				return '0'
			case unicode.IsLetter(c):
				return 'a'
			}
			return c
		}, bytes.Trim(field, ` "'`))
		slices.Sort(classes)
		classes = slices.Compact(classes)
		return string(classes), len(classes) == 0 || string(classes) == "a" || bytes.ContainsFunc(classes, unicode.IsSpace)
	}
	kindA, word := kind(a)
	kindB, _ := kind(b)
	return !word && kindA == kindB
}
