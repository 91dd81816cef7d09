// Command recint trains adapters through which a frozen LLM reads the states of sequential
// recommenders, and asks it what they say.
package main

import (
	"os"

	"github.com/recinterpreter/recinterpreter/cli/app"
)

func main() { os.Exit(app.Main(os.Args, os.Stdout, os.Stderr)) }
