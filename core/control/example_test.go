package control_test

import (
	"fmt"
	"log"

	"github.com/recinterpreter/recinterpreter/core/control"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
)

// Answers from the states are right for 45 of 50 users, answers from zero states for 20 of them.
// The difference is significant.
func Example() {
	var own, zero []evaluate.Record
	for user := range 50 {
		for i, answers := range []*[]evaluate.Record{&own, &zero} {
			r := evaluate.Record{Sample: fmt.Sprint("test-", user), Titles: []string{"Fargo"}, Answer: "Heat"}
			if user < []int{45, 20}[i] {
				r.Answer, r.Exact = "Fargo", 1
			}
			*answers = append(*answers, r)
		}
	}
	userOf := func(sample string) (user int32, err error) {
		_, err = fmt.Sscanf(sample, "test-%d", &user)
		return user, err
	}
	table, err := control.Compare("mine", []control.Pair{{Name: "zero states", Own: own, Other: zero}}, userOf)
	if err != nil {
		log.Fatal(err)
	}
	row := table.Rows[0]
	fmt.Printf("%d users: %.2f against %.2f of %s; p below %g: %v\n", row.Users, row.Own, row.Other, row.Control, control.Level,
		row.Adjusted < control.Level)
	// Output: 50 users: 0.90 against 0.40 of zero states; p below 0.01: true
}
