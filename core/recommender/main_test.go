package recommender

import (
	"math/rand/v2"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/leak"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

func TestMain(m *testing.M) { leak.Main(m) }

// small is a quick configuration for rule's sequences.
func small() Config {
	c, _ := Default(models.SASRec, 12)
	c.Width, c.Positions, c.BatchSize, c.MaxEpochs, c.Patience, c.LearningRate = 16, 5, 16, 20, 20, 0.01
	c.Settings["heads"] = 2
	return c
}

// rule makes sequences whose next item follows from the last one (3 more, modulo 12), with
// histories of 1 to 7 items.
func rule(n int, seed uint64) []dataset.Sequence {
	random := rand.New(rand.NewPCG(seed, 0))
	sequences := make([]dataset.Sequence, n)
	for i := range sequences {
		history := make([]int32, 1+random.IntN(7))
		for k := range history {
			history[k] = random.Int32N(12)
		}
		sequences[i] = dataset.Sequence{History: history, Next: (history[len(history)-1] + 3) % 12}
	}
	return sequences
}

func ruleSplit() dataset.Split {
	return dataset.Split{Train: rule(160, 1), Validation: rule(40, 2), Test: rule(40, 3)}
}
