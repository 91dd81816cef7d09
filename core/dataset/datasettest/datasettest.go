// Package datasettest makes a small data set for tests.
package datasettest

import (
	"fmt"

	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Walks is a data set of 30 films in which every user next watches the film 7 places further: 12
// users with 25 events give 12·(25-3) = 264 sequences, 211 to train, 26 to validate and 27 to test.
func Walks() *dataset.Dataset {
	d := &dataset.Dataset{Name: "walks", Licence: "made by a test, free of terms"}
	for _, adjective := range []string{"Silent", "Golden", "Broken", "Distant", "Second"} {
		for _, noun := range []string{"Harbour", "Orchard", "Letter", "Winter", "Bridge", "Mirror"} {
			d.Items = append(d.Items, dataset.Item{ID: fmt.Sprint(len(d.Items)), Title: "The " + adjective + " " + noun,
				RawTitle: fmt.Sprintf("%s %s, The (19%d)", adjective, noun, 60+len(d.Items))})
		}
	}
	for user := range int32(12) {
		d.Users = append(d.Users, fmt.Sprint(100+user))
		for k := range int32(25) {
			d.Events = append(d.Events, dataset.Event{User: user, Item: (5*user + 7*k) % 30, Time: int64(86400*k + user),
				Rating: 4})
		}
	}
	return d
}
