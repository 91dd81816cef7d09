package app

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

func bulkCommand() *cli.Command {
	flags := append([]cli.Flag{runFlag(), taskFlag(),
		&cli.StringFlag{Name: "in", Usage: "answer the rows of `FILE`, as in recint interpret --in; all workers read it (required)"},
		&cli.StringFlag{Name: "out", Usage: "write Parquet and dead letters to `FOLDER`, which all workers write to (required)"},
		&cli.IntFlag{Name: "workers", Value: 1, Usage: "`PROCESSES` on each machine, which each load the LLM"},
		&cli.StringFlag{Name: "runner", Value: "prism", Usage: "Apache Beam's `RUNNER`: prism (here), flink, spark, dataflow or universal"},
		sideBySideFlag()}, samplingFlags()...)
	return &cli.Command{
		Name:      "bulk",
		Usage:     "answer the rows of a file on an Apache Beam runner",
		ArgsUsage: "[-- BEAM'S FLAGS…]",
		Description: "Starts recint-bulk, a program of its own that make bulk builds beside recint. Repeat the command to answer the parts that are\n" +
			"missing. docs/machines.md says how the work is divided, and what is written.",
		Flags: flags,
		Action: func(c *cli.Context) error {
			if err := needFlags(c, "run", "in", "out"); err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("bulk: %w", err)
			}
			program, args := "recint-bulk", []string{"--recint", self}
			if beside := filepath.Join(filepath.Dir(self), program); exists(beside) {
				program = beside
			}
			for _, f := range append([]cli.Flag{&cli.IntFlag{Name: "threads"}}, flags...) {
				if name := f.Names()[0]; c.IsSet(name) {
					args = append(args, "--"+name, fmt.Sprint(c.Value(name)))
				}
			}
			command := exec.CommandContext(c.Context, program, append(args, c.Args().Slice()...)...)
			command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
			command.Stdin, command.Stdout, command.Stderr = c.App.Reader, c.App.Writer, c.App.ErrWriter
			err = command.Run()
			if errors.Is(err, exec.ErrNotFound) {
				return errors.New("bulk: there is no recint-bulk beside recint, nor in the PATH; build it with make bulk")
			}
			if err != nil {
				return fmt.Errorf("bulk: recint-bulk, whose messages are above, has ended: %w", err)
			}
			return nil
		},
	}
}
