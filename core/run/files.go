package run

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// The kinds of files that evaluations leave in a run's folder.
const (
	AnswersFile  = "answers" // of an evaluation of the run's task
	OraclesFile  = "oracles"
	JudgedFile   = "judge"
	ControlsFile = "controls" // of the controls of an evaluation
)

// AnswersOf describes an evaluation whose answers a file in a run's folder keeps.
type AnswersOf struct {
	Samples  int
	Minutes  float64 // that the number of samples was chosen for; 0: it was given
	Seed     uint64
	Controls bool
	Wording  int // number of the wording that questions are put in, from 0
	Shard    evaluate.Shard
	Control  string // of a control, its name
}

// AnswersPath is the file with the answers of an evaluation.
func AnswersPath(dir string, t task.Task, a AnswersOf) string {
	name := fmt.Sprintf("%s-%d-%d", fileName(t), a.Samples, a.Seed)
	if a.Minutes > 0 {
		name = fmt.Sprintf("%s-%gmin-%d", fileName(t), a.Minutes, a.Seed)
	}
	if a.Control != "" {
		name = ControlsFile + "-" + name + "-" + unusual.ReplaceAllString(a.Control, "_")
	}
	if a.Wording > 0 {
		name += fmt.Sprintf("-wording-%d", a.Wording+1)
	}
	if !a.Controls && a.Control == "" {
		name += "-no-controls"
	}
	if a.Shard.N > 0 {
		name += fmt.Sprintf("-shard-%d-of-%d", a.Shard.I, a.Shard.N)
	}
	return filepath.Join(dir, name+".jsonl")
}

// PlannedAnswers, PlannedOracles and PlannedJudged are the files of evaluations whose plan says all
// that other names tell, as a reproduction's does.
func PlannedAnswers(dir, prompt string) string { return filepath.Join(dir, prompt+"-answers.jsonl") }

func PlannedOracles(dir string) string { return filepath.Join(dir, "oracles-answers.json") }

func PlannedJudged(dir string) string { return filepath.Join(dir, "judge-answers.jsonl") }

// OraclesPath is the file with the oracles of so many test sequences.
func OraclesPath(dir string, samples int, seed uint64) string {
	return filepath.Join(dir, fmt.Sprintf("oracles-%d-%d.json", samples, seed))
}

// ControlsPath is the file with the table of an evaluation's controls.
func ControlsPath(dir string, t task.Task, a AnswersOf) string {
	return strings.TrimSuffix(filepath.Join(dir, ControlsFile+"-"+filepath.Base(AnswersPath("", t, a))), "l")
}

// EditsPath is the file of an evaluation of edits.
func EditsPath(dir string, t task.Task, of EditsOf) string {
	asked := fmt.Sprint(of.Asked)
	if of.Minutes > 0 {
		asked = fmt.Sprintf("%gmin", of.Minutes)
	}
	return filepath.Join(dir, fmt.Sprintf("edits-%s-%d-%s-%d-%d.jsonl", fileName(t), of.Samples, asked, of.Items, of.Seed))
}

// RanksPath is the file with the scores of held-out titles after so many test sequences.
func RanksPath(dir string, t task.Task, samples int, seed uint64) string {
	return filepath.Join(dir, fmt.Sprintf("ranks-%s-%d-%d.jsonl", fileName(t), samples, seed))
}

// FamiliarityPath is the file with what was measured of the states that a task's questions show in
// training.
func FamiliarityPath(dir string, t task.Task) string {
	return filepath.Join(dir, "familiarity-"+fileName(t)+".json")
}

// fileName is what the files of a task's evaluations begin with.
func fileName(t task.Task) string { return unusual.ReplaceAllString(t.Name, "_") }

// unusual is what file names should not hold.
var unusual = regexp.MustCompile(`[^\w.-]+`)

// JudgedPath is the file with a judge's replies about these oracles beside another recommender's
// choices.
func JudgedPath(dir string, samples int, seed uint64, against, judge string) string {
	return filepath.Join(dir, fmt.Sprintf("judge-%d-%d-%s-%s.jsonl", samples, seed, against,
		unusual.ReplaceAllString(judge, "_")))
}

// Left is a file that an evaluation has left in a run's folder.
type Left struct {
	Path, Kind string
	Task       task.Task // of AnswersFile
}

// Leavings lists what evaluations have left in a run's folder, by name.
func Leavings(dir string) ([]Left, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	var found []Left
	for _, file := range files {
		name, path := file.Name(), filepath.Join(dir, file.Name())
		for _, t := range task.Evaluations() {
			if strings.HasPrefix(name, fileName(t)+"-") && strings.HasSuffix(name, ".jsonl") {
				found = append(found, Left{Path: path, Kind: AnswersFile, Task: t})
			}
		}
		switch {
		case strings.HasPrefix(name, OraclesFile+"-") && strings.HasSuffix(name, ".json"):
			found = append(found, Left{Path: path, Kind: OraclesFile})
		case strings.HasPrefix(name, ControlsFile+"-") && strings.HasSuffix(name, ".json"):
			found = append(found, Left{Path: path, Kind: ControlsFile})
		case strings.HasPrefix(name, JudgedFile+"-") && strings.HasSuffix(name, ".jsonl"):
			found = append(found, Left{Path: path, Kind: JudgedFile})
		}
	}
	return found, nil
}
