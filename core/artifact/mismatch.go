package artifact

import "fmt"

// Mismatch is the error for two artefacts that were not made for each other.
type Mismatch struct {
	What string // the artefact that refuses, such as "adapter"
	On   string // what it was made from, such as "recommender"
	Want string // the content hash it was made from
	Got  string // the content hash it was given
}

// Error names both sides, each by the start of its hash.
func (m *Mismatch) Error() string {
	want, got := short(m.Want), short(m.Got)
	if want == got {
		want, got = m.Want, m.Got
	}
	return fmt.Sprintf("this %s was made from another %s, with the hash %s, not %s; give that %s, or make a new %s",
		m.What, m.On, want, got, m.On, m.What)
}

// short abbreviates a hash for people.
func short(hash string) string {
	const digits = 12
	if len(hash) <= digits {
		return hash
	}
	return hash[:digits] + "…"
}
