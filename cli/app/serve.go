package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/explorer"
	"github.com/recinterpreter/recinterpreter/core/serve"
)

// keysVariable is the environment variable with API keys, separated by commas.
const keysVariable = "RECINT_API_KEYS"

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "serve runs over HTTP, with a page to explore them",
		ArgsUsage: "RUN…",
		Description: "RUN is the folder of a run, served under the folder's name, or NAME=FOLDER. docs/serving.md shows requests; /openapi.json\n" +
			"describes them. SIGTERM and Ctrl-C finish accepted requests; SIGHUP reloads the runs without dropping a request, and needs\n" +
			"memory for one more run. An address that other machines can reach requires API keys: one per line in the file of\n" +
			"--api-keys, or separated by commas in " + keysVariable + ".",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8080", Usage: "`ADDRESS` to listen on"},
			&cli.StringFlag{Name: "api-keys", Usage: "`FILE` of API keys, one per line"},
			&cli.StringFlag{Name: "tls-cert", Usage: "`FILE.pem` of the certificate, for HTTPS"},
			&cli.StringFlag{Name: "tls-key", Usage: "`FILE.pem` of its key"},
			&cli.StringSliceFlag{Name: "allow-origin", Usage: "allow scripts of pages of this `ORIGIN`, e.g. https://example.org"},
			&cli.IntFlag{Name: "slots", Value: 32, Usage: "`ANSWERS` that each run generates at the same time"},
			&cli.IntFlag{Name: "queue", DefaultText: "twice the slots", Usage: "`QUESTIONS` that may wait for each run"},
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "time limit `TIME` per request"},
		},
		Action: serveAction,
	}
}

func serveAction(c *cli.Context) error {
	if !c.Args().Present() {
		return usage(c, "name the runs to serve")
	}
	if c.IsSet("tls-cert") != c.IsSet("tls-key") {
		return usage(c, "--tls-cert and --tls-key belong together")
	}
	opts := serve.Options{Origins: c.StringSlice("allow-origin"), Timeout: c.Duration("timeout"), Page: explorer.Page(),
		Log: slog.New(slog.NewJSONHandler(c.App.ErrWriter, nil))}
	opts.Service.Slots, opts.Service.Queue = c.Int("slots"), c.Int("queue")
	if c.IsSet("tls-cert") {
		certificate, err := tls.LoadX509KeyPair(c.String("tls-cert"), c.String("tls-key"))
		if err != nil {
			return fmt.Errorf("--tls-cert and --tls-key: %w", err)
		}
		opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	var err error
	if opts.Keys, err = keys(c.String("api-keys")); err != nil {
		return err
	}
	// Errors that show at once come first, since runs may take minutes to load.
	listener, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer listener.Close()
	if err := opts.CheckAddress(listener.Addr()); err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	hangups := make(chan os.Signal, 1) // a signal during loading is kept
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	return withEngine(c, func(engine *cgo.Engine) (err error) {
		opts.Service.Engine = engine
		server, err := serve.New(runsOf(c.Args().Slice()), opts)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		defer each(hangups, func() {
			if err := server.Reload(); err != nil {
				opts.Log.Error("not all runs were loaded again", "error", err)
				return
			}
			opts.Log.Info("runs were loaded again")
		})()
		opts.Log.Info("serving", "address", listener.Addr().String(), "runs", c.Args().Slice())
		return server.Serve(c.Context, listener)
	})
}

// runsOf names the runs.
func runsOf(args []string) []serve.Run {
	var runs []serve.Run
	for _, arg := range args {
		name, dir, named := strings.Cut(arg, "=")
		if !named {
			name, dir = filepath.Base(filepath.Clean(arg)), arg
		}
		runs = append(runs, serve.Run{Name: name, Dir: dir})
	}
	return runs
}

// keys reads API keys from the environment and from a file, if one is named.
func keys(path string) (keys []string, err error) {
	text := strings.ReplaceAll(os.Getenv(keysVariable), ",", "\n")
	if path != "" {
		content, err := artifact.ReadText(path)
		if err != nil {
			return nil, fmt.Errorf("--api-keys: %w", err)
		}
		text += "\n" + string(content)
	}
	const shortest = 16
	for key := range strings.Lines(text) {
		if key = strings.TrimSpace(key); key == "" {
			continue
		}
		if len(key) < shortest {
			return nil, fmt.Errorf("an API key has %d characters; use at least %d, such as openssl rand -hex 16 prints", len(key), shortest)
		}
		keys = append(keys, key)
	}
	if path != "" && len(keys) == 0 {
		return nil, fmt.Errorf("--api-keys: %s holds no key", path)
	}
	return keys, nil
}

// each calls a function at each signal until stop is called, which waits for it.
func each(signals chan os.Signal, body func()) (stop func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range signals {
			body()
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-ended
	}
}
