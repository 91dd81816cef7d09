package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/ranks"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// Exit codes.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130 // as after SIGINT in a shell
)

// Main runs the command with its arguments (the first is the program's name) and gives the exit
// code. The first SIGINT or SIGTERM asks it to stop and keep what is finished, the second ends it
// at once.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	a := New(stdout, stderr)
	err := a.RunContext(ctx, flagsForward(a, args))
	if err == nil {
		return 0
	}
	if !errors.Is(err, errSaid) {
		say(stderr, err)
	}
	var usage usageError
	var library cli.ExitCoder // help was requested for an unknown command
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.As(err, &library):
		return exitUsage
	}
	return exitFailure
}

// say prints an error.
func say(stderr io.Writer, err error) { fmt.Fprintln(stderr, "recint: "+explain(err)) }

// explain words an error for users of the command: it says that an interruption is one, how to
// continue, and which flags help.
func explain(err error) string {
	text := strings.TrimPrefix(err.Error(), "recint: ")
	if errors.Is(err, context.Canceled) {
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
		if !errors.Is(err, artifact.ErrResumable) {
			text += "; the same command starts again"
		}
	}
	if errors.Is(err, cgo.ErrBackend) {
		text += "; --backend and --strict-device say where to compute"
	}
	if errors.Is(err, recommender.ErrNoTimes) {
		text += "; `recint recommender states` writes such a file, and --states names it"
	}
	return text
}

// errSaid is a failure that the output has already reported.
var errSaid = errors.New("a failure that was shown")

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func usage(c *cli.Context, format string, args ...any) error {
	return usageError{fmt.Errorf(format+"; see %s --help", append(args, c.Command.HelpName)...)}
}

// refused is the usage error for a configuration from flags; it gives fields the names of their
// flags.
func refused(c *cli.Context, err error) error {
	var field *artifact.FieldError
	if !errors.As(err, &field) {
		return usage(c, "%w", err)
	}
	name, ok := map[string]string{"batch_size": "batch", "max_epochs": "epochs"}[field.Field]
	if !ok {
		name = strings.ReplaceAll(field.Field, "_", "-")
	}
	for _, own := range ownSettings() {
		if own.Name == field.Field {
			name = own.Flag
		}
	}
	for _, flag := range c.Command.Flags {
		if slices.Contains(flag.Names(), name) {
			return usage(c, "--%s is %v; it must be %s", name, field.Value, field.Want)
		}
	}
	return usage(c, "%w", err)
}

// New makes the command-line application. Results go to stdout, progress and notes to stderr.
func New(stdout, stderr io.Writer) *cli.App {
	a := &cli.App{
		Name:  "recint",
		Usage: "put the hidden states of a sequential recommender into words",
		Description: "recint trains a small adapter that maps a recommender's hidden state to soft tokens of a frozen LLM, and the LLM\n" +
			"answers questions about the state (RecInterpreter, arXiv 2310.20487). Three commands to start with:\n\n" +
			"   recint doctor                               checks this machine\n" +
			"   recint reproduce --budget 30m --out paper   fetches data and an LLM, trains, and repeats the paper's results\n" +
			"   recint interpret --run RUN --user 42        describes what the states hold about a user; RUN is a folder in paper",
		Writer:          stdout,
		ErrWriter:       stderr,
		HideVersion:     true,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "backend", Value: "auto", Usage: "`DEVICE` to compute on: auto (a GPU if there is one), cpu, cuda or metal"},
			&cli.BoolFlag{Name: "strict-device", DisableDefaultText: true,
				Usage: "fail instead of running an operation on the CPU that the GPU lacks"},
			&cli.IntFlag{Name: "threads", DefaultText: "one for each core", Usage: "number of CPU `THREADS`"},
		},
		Commands: []*cli.Command{
			dataCommand(), modelsCommand(), recommenderCommand(), statesGroup(), probeCommand(), promptCommand(), planCommand(),
			alignCommand(), adapterCommand(), evaluateCommand(),
			interpretCommand(), bulkCommand(), explainCommand(), editCommand(), oracleCommand(), judgeCommand(), serveCommand(), reportCommand(), reproduceCommand(), verifyCommand(), benchCommand(),
			doctorCommand(), completionCommand(), manCommand(), versionCommand(),
		},
		Before:         useRuntime,
		ExitErrHandler: func(*cli.Context, error) {}, // Main decides; the library's default ends the process
	}
	finish(a.Commands)
	a.Action = group
	a.OnUsageError = usageProblem
	return a
}

// finish sets what all commands have in common.
func finish(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		c.OnUsageError = usageProblem
		if len(c.Subcommands) > 0 {
			if c.Action == nil {
				c.Action = group
				c.UsageText = "recint " + c.Name + " COMMAND [command options]"
			}
			finish(c.Subcommands)
		}
	}
}

// usageProblem is the library's error about flags, with a suggestion for a misspelt one.
func usageProblem(c *cli.Context, err error, _ bool) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return usage(c, "%v", err)
	}
	name = strings.TrimPrefix(name, "-")
	near := cli.SuggestFlag(append(slices.Clone(c.App.Flags), c.Command.Flags...), name, false)
	if !strings.HasPrefix(strings.TrimLeft(near, "-"), name[:1]) { // the nearest may be far off
		return usage(c, "there is no flag --%s", name)
	}
	return usage(c, "there is no flag --%s (Did you mean %s?)", name, near)
}

// group is the action of a command that only has subcommands.
func group(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		commands := c.Command.Subcommands
		if len(commands) == 0 {
			commands = c.App.Commands
		}
		return usage(c, "there is no command %q here (%s)", name, cli.SuggestCommand(commands, name))
	}
	if c.Command.HelpName == c.App.Name {
		return cli.ShowAppHelp(c)
	}
	return cli.ShowSubcommandHelp(c)
}

// onlyFlags refuses arguments and missing required flags.
func onlyFlags(c *cli.Context, required ...string) error {
	if c.Args().Present() {
		return usage(c, "what is %q? This command takes only flags", c.Args().First())
	}
	return needFlags(c, required...)
}

// needFlags refuses a command without certain flags.
func needFlags(c *cli.Context, names ...string) error {
	for _, name := range names {
		if c.String(name) == "" {
			return usage(c, "--%s is missing", name)
		}
	}
	return nil
}

// engineParams are the engine's parameters from the global flags.
func engineParams(c *cli.Context) cgo.EngineParams {
	p := cgo.EngineParams{Backend: c.String("backend"), Threads: c.Int("threads"), Strict: c.Bool("strict-device")}
	if group := ranks.Of(c.Context); group != nil && p.Threads == 0 {
		p.Threads = group.Threads()
	}
	return p
}

// withEngine calls a function with the engine of the global flags, and closes the engine
// afterwards.
func withEngine(c *cli.Context, body func(*cgo.Engine) error) (err error) {
	engine, err := cgo.NewEngine(engineParams(c))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	return body(engine)
}

var jsonFlag = &cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print the result as JSON, for programs"}

// printJSON writes one indented value.
func printJSON(c *cli.Context, value any) error {
	encoder := json.NewEncoder(c.App.Writer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
