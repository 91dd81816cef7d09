package app

import (
	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/states"
)

func statesGroup() *cli.Command {
	return &cli.Command{
		Name:  "states",
		Usage: "check state files of other recommenders",
		Subcommands: []*cli.Command{{
			Name:      "check",
			Usage:     "describe a state file: what it holds, what is missing, and whether pairs of states before and after an item can be formed",
			ArgsUsage: "FILE.parquet|FILE.safetensors|FOLDER",
			Description: "Columns: sequence, position (-1: before the first item), item and state; optionally split, user and time. A folder holds parts\n" +
				"of the rows, and items.parquet with the columns item and vector. See docs/states.md.",
			Flags:  []cli.Flag{dataFlag(), jsonFlag},
			Action: checkStates,
		}},
	}
}

func checkStates(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return usage(c, "name one file of states, or a folder of parts")
	}
	return withStates(c, c.Args().First(), func(f *states.File, d *dataset.Dataset) error {
		if c.Bool("json") {
			return printJSON(c, f.Summary())
		}
		return f.Summary().Write(c.App.Writer)
	})
}

// withStates calls a function with a file of states and the data set that the flag names.
func withStates(c *cli.Context, path string, body func(*states.File, *dataset.Dataset) error) error {
	dir, err := datasetPath(c, c.String("data"))
	if err != nil {
		return err
	}
	d, err := dataset.Load(dir)
	if err != nil {
		return err
	}
	f, err := states.Open(c.Context, path, d)
	if err != nil {
		return err
	}
	return body(f, d)
}
