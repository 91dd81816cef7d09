package reproduce

import (
	"fmt"
	"time"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// planned is a run of the protocol: how much of the time it gets, and how its figures compare with
// the paper's.
type planned struct {
	Share
	weight float64
	what   string // the run measures this
	paper  string // the paper's figure for it; "" if there is none
	remark string // how the adapter differs from the paper's, beyond its kind
	oracle string // how the run puts oracles into words; "" if it does not
	how    string // the same, in a sentence
	loss   string // how the recommender's loss differs from the paper's
}

// The paper's headline figures on MovieLens (arXiv 2310.20487, abstract and section 4), with
// LLaMA-7B.
const (
	paperResidual = "97.89 %" // DreamRec
	paperRecovery = "over 35 %"
	paperOracle   = "50.53 %"
)

// baseline is the recommender whose first recommendations oracles are judged against.
const baseline = models.SASRec

const dreamLoss = models.DreamRec + " with a cross-entropy beside its loss"

// recommenders gives the recommenders of the protocol.
func recommenders() []string {
	return []string{models.GRU4Rec, models.Caser, models.SASRec, models.DreamRec}
}

// protocol gives the runs of a reproduction, in order.
func protocol() []planned {
	residual := func(name, model string) planned {
		return planned{Share: Share{Name: name, Recommender: model, Prompt: "residual", Adapter: "memory"}, weight: 1,
			what: "residual accuracy, " + model}
	}
	recovery := func(name string, adapter adapter.Kind, paper, remark string) planned {
		return planned{Share: Share{Name: name, Recommender: models.SASRec, Prompt: "recovery", Adapter: adapter}, weight: 1.5,
			what:  "more than 5 items recovered, " + models.SASRec + ", " + adapter.Label(),
			paper: paper, remark: remark}
	}
	dreamrec := residual("residual-dreamrec", models.DreamRec)
	dreamrec.paper, dreamrec.loss = paperResidual, dreamLoss
	dreamrec.oracle, dreamrec.how = "as the last of the history", "read as a virtual item at the end of the history"
	return []planned{
		residual("residual-sasrec", models.SASRec),
		dreamrec,
		{Share: Share{Name: "item-dreamrec", Recommender: models.DreamRec, Prompt: "item", Adapter: "memory"}, weight: 0.5,
			what:   "items named from their own vectors, " + models.DreamRec,
			oracle: "by its own prompt", how: "read by the item prompt, from its direction alone", loss: dreamLoss},
		residual("residual-gru4rec", models.GRU4Rec),
		residual("residual-caser", models.Caser),
		recovery("recovery-recall", "retrieval", paperRecovery, "one vector, but the sum of what the states after every item say, and items are "+
			"looked up by it, where the paper's map is linear"),
		recovery("recovery-positions", "positions", "", "it reads the state after every item, where the paper reads one vector"),
	}
}

// Seeds of recommenders and adapters whose answers are compared with controls, and the shortest
// budget that has time for them.
const (
	controlledSeeds  = 3
	leastControlled  = 2 * time.Hour
	controlledTask   = "genres"
	controlledItems  = 0.25 // share of the items that are held out
	controlledNoise  = 1
	controlledWeight = 0.75
	// controlledShare is the part of the budget for controls and edits, half of it for each.
	controlledShare = 0.15
	// answeredShare is how much of the time of all controls the LLM's answers about own states,
	// zeros and other samples' states take, about: 0.31 with 100 samples of MovieLens-100K.
	answeredShare = 0.3
)

// What is measured of a run beside its controls: states that are moved, and explanations of
// recommendations, of as many histories as Scarcelli et al. (2025) had.
const (
	editedHistories = 200
	editedShare     = 0.03 // of the items at least have a value that states are moved towards
	explained       = 551
)

// ignores is the kind of adapter that ignores the states, a control.
const ignores adapter.Kind = "bias"

// controlled gives the runs whose answers are compared with controls: of each seed one that reads
// the states, and one that ignores them.
func controlled() (runs []planned) {
	for seed := uint64(1); seed <= controlledSeeds; seed++ {
		for _, kind := range []adapter.Kind{"mlp", ignores} {
			p := planned{Share: Share{Name: fmt.Sprintf("%s-%s-%d", controlledTask, kind, seed), Recommender: models.SASRec, Prompt: controlledTask,
				Adapter: kind, Seed: seed}, weight: controlledWeight}
			if kind == ignores {
				p.weight /= 5
			}
			runs = append(runs, p)
		}
	}
	return runs
}

// planned finds the run of the protocol that a share is of. The plan of a folder holds shares of
// the protocol alone.
func (s Share) planned() planned {
	for _, p := range protocol() {
		if p.Name == s.Name {
			return p
		}
	}
	return planned{Share: s}
}

// Oracles says whether the run puts oracles into words.
func (s Share) Oracles() bool { return s.planned().oracle != "" }
