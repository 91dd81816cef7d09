// Command recint-bulk has an Apache Beam runner answer the rows of a file with a RecInt run. The
// rows are divided into parts, of which recint, in processes that the workers start, writes each to
// a file of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"
)

func main() {
	if err := bulk(); err != nil {
		fmt.Fprintln(os.Stderr, "recint-bulk:", err)
		os.Exit(1)
	}
}

func bulk() error {
	var j job
	flags := []struct{ name, about string }{
		{"run", "`FOLDER` of the run that answers (required)"},
		{"in", "answer the rows of `FILE`, Parquet or JSON lines, which all workers can read (required)"},
		{"out", "write the answers to `FOLDER`, which all workers can write to (required)"},
		{"task", "the `TASK` of the run; its first one unless given"},
		{"side-by-side", "`ROWS` that a process answers at once; recint's default unless given"},
		{"temperature", "sampling `TEMPERATURE`"},
		{"top-p", "sample only from the likeliest tokens with this total `PROBABILITY`"},
		{"seed", "random seed of the sampling, a `NUMBER`"},
	}
	for _, f := range flags {
		flag.String(f.name, "", f.about)
	}
	flag.IntVar(&j.Workers, "workers", 1, "`PROCESSES` of recint on each machine, which each load the LLM")
	flag.IntVar(&j.Threads, "threads", 0, "CPU threads of each process, a `NUMBER`; 0: the CPUs divided by the processes")
	flag.StringVar(&j.Recint, "recint", "", "`PROGRAM` that the workers start; recint beside this one unless given, else that of the PATH")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "recint bulk --run FOLDER --in FILE --out FOLDER [--workers N] [--runner prism|flink|spark|dataflow|universal] […]\n\n"+
			"Answers the rows of a file on an Apache Beam runner; the embedded one, prism, unless another is named. The same command\n"+
			"goes on with what an earlier one has left. Flags that are not RecInt's are Beam's.")
		flag.PrintDefaults()
	}
	flag.Parse()
	beam.Init() // on a machine of the runner's, this serves it and does not return
	for _, f := range flags {
		given := flag.Lookup(f.name).Value.String()
		switch {
		case given != "":
			j.Args = append(j.Args, "--"+f.name, given)
		case f.name == "run" || f.name == "in" || f.name == "out":
			return errors.New("name the run with --run, the rows with --in and the folder for the answers with --out")
		}
	}
	if flag.NArg() > 0 || j.Workers < 1 || j.Threads < 0 {
		return fmt.Errorf("%q is left over, or --workers %d or --threads %d is too few", flag.Args(), j.Workers, j.Threads)
	}
	if j.Threads == 0 {
		j.Threads = max(1, runtime.NumCPU()/j.Workers)
	}
	if j.Recint == "" {
		j.Recint = "recint"
		if self, err := os.Executable(); err == nil {
			if beside := filepath.Join(filepath.Dir(self), "recint"); exists(beside) {
				j.Recint = beside
			}
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	pipeline := beam.NewPipeline()
	j.build(pipeline.Root())
	result, err := beamx.RunWithMetrics(ctx, pipeline)
	if err != nil {
		return err
	}
	counts := map[string]int64{}
	for _, c := range result.Metrics().AllMetrics().Counters() {
		counts[c.Name()] += c.Result()
	}
	fmt.Fprintf(os.Stderr, "%d parts, %d of them answered now: %d rows, %d of these dead letters; %d workers were killed\n", counts[partsThere], counts[partsAnswered],
		counts[rowsAnswered], counts[deadLetters], counts[workersKilled])
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
