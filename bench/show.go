package bench

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
)

// Formats are the ways in which a result can be written.
var Formats = []string{"table", "markdown", "json", "jsonl", "csv"}

// Write writes the result in one of the formats.
func (r *Result) Write(w io.Writer, format string) error {
	switch format {
	case "table":
		return r.writeTable(w)
	case "markdown":
		return r.writeMarkdown(w)
	case "json":
		return r.writeJSON(w)
	case "jsonl":
		return r.writeJSONL(w)
	case "csv":
		return r.writeCSV(w)
	}
	return fmt.Errorf("bench: no format is called %q; known are %s", format, strings.Join(Formats, ", "))
}

var headings = []string{"what", "by", "a second", "one takes", "RecInt is faster", "GFLOP/s", "of the peak", "of the data sheet's",
	"padding", "peak memory", "J each"}

// inBF16 are the benches whose products are made in BF16, where the kernel set multiplies in it.
var inBF16 = map[string]bool{Train: true, Generate: true, Evaluate: true}

// peak is the most FLOP/s in the data type in which our side of a bench multiplies; 0 where that is
// not known. Older results have none, of multiply-adds or on GPUs of large products: there the
// speed of our products in BF16 stands for it, of the benches that make such products.
func (r *Result) peak(bench string) float64 {
	switch {
	case r.Probes.PeakF32 == 0 && inBF16[bench]:
		return r.Probes.BF16
	case (r.Machine.Kernels == avx512bf16 || r.onGPU()) && inBF16[bench]:
		return r.Probes.PeakBF16
	}
	return r.Probes.PeakF32
}

// stated is the same by the GPU's data sheet.
func (r *Result) stated(bench string) float64 {
	if inBF16[bench] {
		return r.Machine.sheet().bf16
	}
	return r.Machine.sheet().tf32
}

func (r *Result) onGPU() bool {
	return r.Machine.Backend != "" && cgo.EngineInfo{Backend: r.Machine.Backend}.OnGPU()
}

// disturbed says whether something was faster than the machine's peak, as far as that was found
// out.
func (r *Result) disturbed() bool {
	return slices.ContainsFunc(r.Figures, func(f Figure) bool {
		peak := r.peak(f.Bench)
		return peak > 0 && f.Sides[0].FLOPS > peak
	})
}

// rows are the table of a bench, a row for each side.
func (r *Result) rows(bench string) (rows [][]string) {
	for _, f := range r.Figures {
		if f.Bench != bench {
			continue
		}
		for i, s := range f.Sides {
			row := make([]string, len(headings))
			row[1], row[2] = s.Program, s.Rate.String()+" "+f.Unit
			if i == 0 {
				row[0] = f.title()
			}
			if s.Tokens != nil {
				row[2] += fmt.Sprintf(", %s tokens", figures(s.Tokens.Median))
			}
			if s.P50 != nil {
				row[3] = fmt.Sprintf("p50 %s, p95 %s, p99 %s", micro(s.P50.Median), micro(s.P95.Median), micro(s.P99.Median))
			}
			if s.Ratio != nil {
				row[4] = s.Ratio.String() + " ×"
			}
			if s.FLOPS > 0 {
				row[5] = figures(s.FLOPS / 1e9)
			}
			if peak := r.peak(bench); peak > 0 && s.FLOPS > 0 && f.Threads == 0 && !r.disturbed() {
				row[6] = fmt.Sprintf("%.0f %%", 100*s.FLOPS/peak)
			}
			if stated := r.stated(bench); stated > 0 && s.FLOPS > 0 {
				row[7] = fmt.Sprintf("%.1f %%", 100*s.FLOPS/stated)
			}
			if i == 0 && f.Padding > 0 {
				row[8] = fmt.Sprintf("%.0f %%", 100*f.Padding)
			}
			if s.Memory > 0 {
				row[9] = align.Mebibytes(s.Memory)
			}
			if s.Energy != nil {
				row[10] = figures(s.Energy.Median)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// title is a figure's name, with what is swept.
func (f *Figure) title() string {
	title := f.Name
	for _, swept := range []struct {
		name  string
		value int
	}{{"batch", f.Batch}, {"length", f.Length}, {"threads", f.Threads}} {
		if swept.value > 0 {
			title += fmt.Sprintf(", %s %d", swept.name, swept.value)
		}
	}
	return title
}

// benches are those that the result has figures of.
func (r *Result) benches() []string {
	return slices.DeleteFunc(slices.Clone(Names), func(name string) bool {
		return !slices.ContainsFunc(r.Figures, func(f Figure) bool { return f.Bench == name })
	})
}

// used drops the columns that no row has anything in.
func used(rows [][]string) [][]string {
	all := append([][]string{headings}, rows...)
	out := make([][]string, len(all))
	for column := range headings {
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[column] != "" }) {
			continue
		}
		for i := range all {
			out[i] = append(out[i], all[i][column])
		}
	}
	return out
}

func (r *Result) writeTable(w io.Writer) error {
	fmt.Fprintln(w, r.conditions())
	for _, bench := range r.benches() {
		fmt.Fprintf(w, "\n%s\n", bench)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range used(r.rows(bench)) {
			fmt.Fprintln(table, "  "+strings.Join(row, "\t"))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		for _, trial := range r.trials(bench) {
			fmt.Fprintln(w, "  "+trial)
		}
	}
	return nil
}

func (r *Result) writeMarkdown(w io.Writer) error {
	_, err := fmt.Fprintln(w, r.conditions())
	for _, bench := range r.benches() {
		rows := used(r.rows(bench))
		fmt.Fprintf(w, "\n**%s**\n\n", bench)
		for i, row := range rows {
			_, err = fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				_, err = fmt.Fprintf(w, "|%s\n", strings.Repeat(" --- |", len(row)))
			}
		}
		if trials := r.trials(bench); len(trials) > 0 {
			_, err = fmt.Fprintf(w, "\n%s\n", strings.Join(trials, "\n"))
		}
		if asked := r.aims(bench); len(asked) > 0 {
			_, err = fmt.Fprintf(w, "\nAimed at: %s.\n", strings.Join(asked, "; "))
		}
		if formulas := r.formulas(bench); len(formulas) > 0 {
			_, err = fmt.Fprintf(w, "\nFLOP of a sample: %s.\n", strings.Join(formulas, "; "))
		}
	}
	return err
}

// trials say how the variants of peers did, a line for each peer that has some, and which peers do
// not run.
func (r *Result) trials(bench string) (all []string) {
	for _, f := range r.Figures {
		for _, t := range f.Failed {
			if f.Bench == bench {
				all = append(all, fmt.Sprintf("%s, does not run here: %s.", f.title(), t))
			}
		}
		for _, s := range f.Sides {
			if f.Bench != bench || len(s.Trial) == 0 {
				continue
			}
			var tried []string
			for _, t := range s.Trial {
				tried = append(tried, t.String())
			}
			all = append(all, fmt.Sprintf("%s, variants of %s: %s.", f.title(), s.Program, strings.Join(tried, "; ")))
		}
	}
	return all
}

func (t Trial) String() string {
	name := fmt.Sprintf("%s with %d threads", t.Variant, t.Threads)
	switch t.Threads {
	case 0:
		name = t.Variant
	case 1:
		name = t.Variant + " with 1 thread"
	}
	if t.Failed != "" {
		return name + ": " + t.Failed
	}
	return fmt.Sprintf("%s %s a second, ready after %s s", name, figures(t.Rate), figures(t.Ready))
}

// aims are what a bench's figures were to reach.
func (r *Result) aims(bench string) (all []string) {
	for _, f := range r.Figures {
		if f.Bench == bench && f.Asked != "" {
			all = append(all, f.Name+" "+f.Asked)
		}
	}
	return all
}

// formulas are those of a bench, each once.
func (r *Result) formulas(bench string) (all []string) {
	for _, f := range r.Figures {
		if f.Bench == bench && f.Formula != "" && !slices.Contains(all, f.Formula) {
			all = append(all, f.Formula)
		}
	}
	return all
}

// conditions are what was measured on, in a paragraph.
func (r *Result) conditions() string {
	m := r.Machine
	device := m.CPU
	if r.onGPU() {
		device = m.Device + ", driver " + m.Driver + ", beside " + m.CPU
	}
	kernels, float32s, peaks, measured := "", "F32", "", "Peaks measured on this machine: products"
	if m.Kernels != "" {
		kernels = ", kernels " + m.Kernels
	}
	if m.Backend == "cuda" {
		float32s = "TF32"
	}
	if p := r.Probes; p.PeakF32 > 0 {
		what := "Multiply-adds in registers, the peak"
		if r.onGPU() {
			what = "Large products (4,096 × 4,096, 8,192 rows), the measured peak"
		}
		peaks = fmt.Sprintf("%s: %s GFLOP/s in %s", what, figures(p.PeakF32/1e9), float32s)
		if p.PeakBF16 > 0 {
			peaks += fmt.Sprintf(" and %s in BF16", figures(p.PeakBF16/1e9))
		}
		peaks += ".\n"
		measured = "Our products:"
	}
	if s := m.sheet(); s.bf16 > 0 {
		peaks += fmt.Sprintf("By its data sheet: %s GFLOP/s in TF32 and %s in BF16, memory %s GB/s.\n", figures(s.tf32/1e9),
			figures(s.bf16/1e9), figures(s.memory/1e9))
	}
	memory := fmt.Sprintf("memory %s GB/s", figures(r.Probes.Memory/1e9))
	if r.onGPU() {
		memory = "the host's " + memory
	}
	if r.Probes.Device > 0 {
		memory += fmt.Sprintf(", the device's %s GB/s", figures(r.Probes.Device/1e9))
	}
	notes := ""
	for _, note := range r.PeerNotes {
		notes += "\n" + note + "."
	}
	if strings.HasSuffix(m.Commit, "+") {
		notes += "\nNot for comparison: the program was built from files that differ from the commit."
	}
	if r.Unfinished {
		notes += "\nStopped before all was measured."
	}
	if r.disturbed() {
		notes += "\nThe peak was disturbed when it was measured: there were products that ran faster. No share of it is shown."
	}
	return fmt.Sprintf("%s; %d threads; %s; backend %s%s.\n"+
		"RecInt %s, llama.cpp %.12s, %s, %s; %s.\n"+
		"%s%s %s GFLOP/s in BF16 and %s in %s, %s.\n"+
		"Data %s, LLM %s; median of %d rounds in turn, lowest and highest in brackets; %s.%s",
		device, m.Threads, m.System, m.Backend, kernels, m.Commit, m.LlamaCommit, m.Compiler, m.Go, m.BuildFlags,
		peaks, measured, figures(r.Probes.BF16/1e9), figures(r.Probes.F32/1e9), float32s, memory, r.Dataset, r.LLM, r.Rounds, m.Date, notes)
}

func (r *Result) writeJSONL(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, f := range r.Figures {
		if err := encoder.Encode(struct {
			Figure
			Machine Machine `json:"machine"`
		}{f, r.Machine}); err != nil {
			return err
		}
	}
	return nil
}

func (r *Result) writeCSV(w io.Writer) error {
	table := csv.NewWriter(w)
	head := []string{"bench", "name", "unit", "batch", "length", "threads", "program"}
	spreads := []string{"samples_per_s", "tokens_per_s", "p50_us", "p95_us", "p99_us", "joules_per_sample", "recint_is_faster_by"}
	for _, name := range spreads {
		head = append(head, name, name+"_min", name+"_max")
	}
	_ = table.Write(append(head, "flop_per_s", "peak_memory_bytes")) // Flush keeps the error
	number := func(x float64) string {
		if x == 0 {
			return ""
		}
		return strconv.FormatFloat(x, 'g', 6, 64)
	}
	for _, f := range r.Figures {
		for _, s := range f.Sides {
			row := []string{f.Bench, f.Name, f.Unit, number(float64(f.Batch)), number(float64(f.Length)), number(float64(f.Threads)), s.Program}
			for _, spread := range []*Spread{&s.Rate, s.Tokens, s.P50, s.P95, s.P99, s.Energy, s.Ratio} {
				if spread == nil {
					spread = &Spread{}
				}
				row = append(row, number(spread.Median), number(spread.Min), number(spread.Max))
			}
			_ = table.Write(append(row, number(s.FLOPS), strconv.FormatInt(s.Memory, 10)))
		}
	}
	table.Flush()
	return table.Error()
}

// String writes the median, with the lowest and the highest.
func (s Spread) String() string {
	if len(s.Values) == 1 {
		return figures(s.Median)
	}
	return fmt.Sprintf("%s (%s to %s)", figures(s.Median), figures(s.Min), figures(s.Max))
}

// figures writes a number with three significant digits, and large ones in full.
func figures(x float64) string {
	if x >= 1000 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	digits := 2
	if x > 0 {
		digits = max(0, 2-int(math.Floor(math.Log10(x))))
	}
	return strconv.FormatFloat(x, 'f', digits, 64)
}

// micro writes microseconds in a unit that suits them.
func micro(us float64) string {
	if us >= 1000 {
		return figures(us/1000) + " ms"
	}
	return figures(us) + " µs"
}
