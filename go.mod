module github.com/recinterpreter/recinterpreter

go 1.26.0

require (
	github.com/agnivade/levenshtein v1.2.2
	gonum.org/v1/gonum v0.17.0
)
