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
	fmt.Printf("%d users: %v against %v of %s; p below %g: %v\n", row.Users, row.OwnF1, row.OtherF1, row.Control, control.Level,
		row.Adjusted < control.Level)
	// Output: 50 users: 0.900 against 0.400 of zero states; p below 0.01: true
}
