package app

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsForward moves the flags of a command before its arguments, and those of recint itself before
// the command, where the library expects them: people also write recint verify FILE --json
// --backend cpu. After "--" everything stays an argument. The word help before a command becomes
// --help after it.
func flagsForward(a *cli.App, args []string) []string {
	commands, known := a.Commands, a.Flags
	at := 1
	for at < len(args) && len(commands) > 0 {
		if strings.HasPrefix(args[at], "-") {
			at += flagLength(known, args[at:])
			continue
		}
		if args[at] == "help" {
			return flagsForward(a, append(slices.Delete(slices.Clone(args), at, at+1), "--help"))
		}
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[at]) })
		if i < 0 {
			return args
		}
		commands, known = commands[i].Subcommands, commands[i].Flags
		at++
	}
	at = min(at, len(args))
	flags, arguments, global := slices.Clone(args[:at]), []string(nil), 1
	for rest := args[at:]; len(rest) > 0; {
		switch {
		case rest[0] == "--":
			return append(append(flags, rest[0]), append(arguments, rest[1:]...)...)
		case strings.HasPrefix(rest[0], "-") && rest[0] != "-":
			if isOf(a.Flags, rest[0]) && !isOf(known, rest[0]) {
				n := min(flagLength(a.Flags, rest), len(rest))
				flags, rest = slices.Insert(flags, global, rest[:n]...), rest[n:]
				global += n
				continue
			}
			n := min(flagLength(known, rest), len(rest))
			flags, rest = append(flags, rest[:n]...), rest[n:]
		default:
			arguments, rest = append(arguments, rest[0]), rest[1:]
		}
	}
	return append(flags, arguments...)
}

// isOf reports whether an argument is one of the flags.
func isOf(flags []cli.Flag, arg string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

// flagLength is the number of words of the flag that args start with: 2 if its value is a separate
// word.
func flagLength(known []cli.Flag, args []string) int {
	name := strings.TrimLeft(args[0], "-")
	for _, f := range known {
		if _, lone := f.(*cli.BoolFlag); !lone && slices.Contains(f.Names(), name) {
			return 2
		}
	}
	return 1
}
