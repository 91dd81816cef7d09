package prompt_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// A template is data. Slots in braces mark the places of soft tokens.
func Example() {
	t, err := prompt.ParseTemplate([]byte(`{"name": "mine", "asks": "last item", "texts": ["Which title came second?"],
		"reply": "{before}{after}:"}`))
	if err != nil {
		log.Fatal(err)
	}
	slots, err := t.Slots()
	fmt.Println(slots, err)
	_, err = prompt.ParseTemplate([]byte(`{"name": "mine", "asks": "last item", "texts": ["Which title came after {befor}?"]}`))
	wrong, _, _ := strings.Cut(err.Error(), ";") // then come the names of all slots
	fmt.Println(wrong)
	// Output:
	// [before after] <nil>
	// prompt: template "mine": no slot is called {befor}
}
