package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The kinds of peers.
const (
	PyTorch     = "pytorch"
	ONNXRuntime = "onnxruntime"
	LlamaCpp    = "llamacpp"
)

// PeerNames are all kinds of peers.
var PeerNames = []string{PyTorch, ONNXRuntime, LlamaCpp}

// Peers says beside what is measured, and where that is found.
type Peers struct {
	Names   []string // kinds; empty: nothing
	Python  string   // interpreter that has the packages of Scripts/requirements.txt
	Scripts string   // the folder bench/peers
	Tools   string   // folder of llama-batched-bench and llama-quantize, built from the pinned source
}

func (p Peers) validate() error {
	for _, name := range p.Names {
		if !slices.Contains(PeerNames, name) {
			return fmt.Errorf("bench: no peer is called %q; known are %s", name, strings.Join(PeerNames, ", "))
		}
		missing := func(file, what string) error {
			if _, err := exec.LookPath(file); err == nil {
				return nil
			}
			return fmt.Errorf("bench: the peer %s needs %s, which is not there; %s", name, file, what)
		}
		var err error
		if name == LlamaCpp {
			err = errors.Join(missing(filepath.Join(p.Tools, batchedBench), "make llama-tools builds it"),
				missing(filepath.Join(p.Tools, "llama-quantize"), "make llama-tools builds it"),
				missing("python3", "install Python"))
		} else {
			err = missing(p.Python, "bench/README.md says how its packages are installed; --python names an interpreter that has them")
		}
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(p.Scripts, "pace.py")); err != nil {
			return fmt.Errorf("bench: the peers' programs are not in %s: %w; call recint in the top folder of its source", p.Scripts, err)
		}
	}
	return nil
}

// beside says whether a kind of peer is asked for.
func (b *bed) beside(kind string) bool { return slices.Contains(b.Peers.Names, kind) }

// peer is how a peer does a work.
type peer struct {
	kind    string   // of PeerNames
	name    string   // what is particular, where the program's own words do not say it
	command []string // script and arguments
	threads []int    // that are tried, since more are not always better; empty: as many as ours
	gpu     bool     // it can compute on a GPU (--device)
	variant string   // its name in the report if it does not run, as what is compiled may not; "": then it is an error
	agrees  agrees
}

// check is what a program computed, by name: numbers, or lists of tokens.
type check map[string]any

// agrees says whether a peer has computed the same as we.
type agrees func(ours, theirs check) error

// closeTo holds numbers together, each within a share of the peer's. A sum's share is that of the
// sum of absolute values, which stands beside it.
func closeTo(tolerances map[string]float64) agrees {
	return func(ours, theirs check) error {
		for _, key := range slices.Sorted(maps.Keys(tolerances)) {
			a, ok := ours[key].(float64)
			b, there := theirs[key].(float64)
			if !ok || !there {
				return fmt.Errorf("there is no %s to hold together: recint %v, the peer %v", key, ours[key], theirs[key])
			}
			scale := math.Abs(b)
			if absolute, ok := theirs[strings.Replace(key, "_sum", "_absolute", 1)].(float64); ok {
				scale = absolute
			}
			if !(math.Abs(a-b) <= tolerances[key]*scale) { // not a number fails, too
				return fmt.Errorf("%s is %.6g, and the peer's %.6g: the two do not do the same work, nothing is timed", key, a, b)
			}
		}
		return nil
	}
}

// sameAnswers is the share of answers that must be the same to their last token; a rounding here
// and there may turn one, and all that follows.
const sameAnswers = 0.7

func answersAgree(ours, theirs check) error {
	mine, _ := ours["tokens"].([][]int32)
	text, err := json.Marshal(theirs["tokens"])
	if err != nil {
		return err
	}
	var other [][]int32
	if err := json.Unmarshal(text, &other); err != nil {
		return fmt.Errorf("the peer's answers cannot be read: %w", err)
	}
	if len(mine) == 0 || len(mine) != len(other) {
		return fmt.Errorf("%d answers of recint and %d of the peer cannot be held together", len(mine), len(other))
	}
	same, compared, whole := 0, 0, 0
	for i, tokens := range mine {
		compared, whole = compared+len(tokens), whole+len(other[i])
		// Ours may end before the number of tokens that the peer keeps to.
		if len(other[i]) >= len(tokens) && slices.Equal(tokens, other[i][:len(tokens)]) {
			same++
		}
	}
	if 2*compared < whole {
		return fmt.Errorf("answers of %d tokens are too short to be held beside the peer's %d", compared, whole)
	}
	if float64(same) < sameAnswers*float64(len(mine)) {
		return fmt.Errorf("%d of %d answers are the same: the two do not do the same work, nothing is timed", same, len(mine))
	}
	return nil
}

// start makes a peer ready, having seen that it computes the same, with the number of threads that
// suits it best. The side is nil if the peer does not run here; trials say why.
func (b *bed) start(ctx context.Context, p peer, ours check, latency bool) (best *side, trials []Trial, err error) {
	info, err := b.engine.Describe()
	if err != nil {
		return nil, nil, err
	}
	switch {
	case info.Backend == "cuda" && p.gpu:
		p.command = append(slices.Clone(p.command), "--device", info.Backend)
	case info.OnGPU():
		return nil, []Trial{{Variant: p.command[0], Failed: "it computes on the CPU, and recint on " + info.Backend}}, nil
	}
	threads := p.threads
	if len(threads) == 0 {
		threads = []int{info.Threads}
	}
	fastest := 0.0
	for _, n := range threads {
		s, theirs, err := b.startPaced(ctx, p, n)
		if err != nil && p.variant != "" && ctx.Err() == nil {
			trials = append(trials, Trial{Variant: p.variant, Threads: n, Failed: lastLine(err)})
			continue
		}
		if err != nil {
			return nil, nil, errors.Join(err, best.stop())
		}
		err = p.agrees(ours, theirs)
		var trial measured
		if err == nil && len(threads) > 1 {
			trial, err = s.once(ctx)
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("%s: %w", s.program, err), s.close(), best.stop())
		}
		trials = append(trials, s.trial...)
		speed := trial.Rate
		if latency && trial.P50 > 0 {
			speed = 1 / trial.P50
		}
		slower := s
		if best == nil || speed > fastest {
			slower, best, fastest = best, s, speed
		}
		if err := slower.stop(); err != nil {
			return nil, nil, errors.Join(err, best.stop())
		}
	}
	return best, trials, nil
}

// lastLine is the end of what an error says, which is where programs say what went wrong.
func lastLine(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return lines[len(lines)-1]
}

// stop closes a side that may not be there.
func (s *side) stop() error {
	if s == nil {
		return nil
	}
	return s.close()
}

// batchedBench is llama.cpp's own benchmark of many sequences side by side.
const batchedBench = "llama-batched-bench"

// startPaced starts a peer that makes a repetition for every line that it reads
// (bench/peers/pace.py).
func (b *bed) startPaced(ctx context.Context, p peer, threads int) (*side, check, error) {
	words := append([]string{filepath.Join(b.Peers.Scripts, p.command[0])}, p.command[1:]...)
	words = append(words, "--paced", "--threads", strconv.Itoa(threads))
	interpreter, memory := b.Peers.Python, peakOf
	if p.kind == LlamaCpp { // whose script needs no packages, and does not take the memory itself
		interpreter, memory = "python3", func(string) int64 { return 0 }
	}
	command := exec.CommandContext(ctx, interpreter, words...)
	command.Env = append(os.Environ(), b.peerEnvironment...)
	// A group of its own, so that what a peer has started ends with it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 5 * time.Second
	said := &tail{}
	command.Stderr = said
	in, err := command.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := command.Start(); err != nil {
		return nil, nil, fmt.Errorf("bench: %w", err)
	}
	lines := bufio.NewReader(out)
	end := func() error { // once
		in.Close()
		if err := command.Wait(); err != nil {
			return fmt.Errorf("the peer %s: %w\n%s", strings.Join(command.Args, " "), err, said)
		}
		return nil
	}
	read := func(value any) error {
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return fmt.Errorf("the peer has said nothing more: %w", err)
			}
			if bytes.HasPrefix(line, []byte("{")) {
				return json.Unmarshal(line, value)
			}
		}
	}
	var ready struct {
		Peer  string  `json:"peer"`
		Check check   `json:"check"`
		Trial []Trial `json:"trial"`
	}
	if err := read(&ready); err != nil {
		return nil, nil, errors.Join(err, end())
	}
	if p.name != "" {
		ready.Peer += ", " + p.name
	}
	for i := range ready.Trial {
		ready.Trial[i].Threads = threads
	}
	id := strconv.Itoa(command.Process.Pid)
	return &side{
		program: ready.Peer,
		trial:   ready.Trial,
		memory:  func() int64 { return memory(id) },
		close:   end,
		once: func(context.Context) (m measured, err error) {
			if _, err := io.WriteString(in, "\n"); err != nil {
				return m, err
			}
			if err := read(&m); err != nil {
				return m, err
			}
			if !(m.Rate > 0) {
				return m, errors.New("the peer has measured nothing")
			}
			return m, nil
		},
	}, ready.Check, nil
}

// tail keeps the end of what a program says.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 2000
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-most):]
	return len(p), nil
}

func (t *tail) String() string { return string(bytes.TrimSpace(t.text)) }
