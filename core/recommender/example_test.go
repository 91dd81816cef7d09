package recommender_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/dataset/datasettest"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// A small SASRec is trained, saved, loaded and asked for recommendations.
func Example() {
	d := datasettest.Walks() // every user watches film n+7 after film n, of 30; dataset.Load opens yours
	split, err := dataset.SplitChronological(d, dataset.DefaultProtocol())
	if err != nil {
		log.Fatal(err)
	}
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	c, err := recommender.Default(models.SASRec, len(d.Items))
	if err != nil {
		log.Fatal(err)
	}
	c.Width, c.BatchSize, c.LearningRate, c.MaxEpochs = 16, 16, 0.01, 10
	trained, err := recommender.Train(context.Background(), engine, c, split, recommender.Options{Dataset: d.Hash()})
	if err != nil {
		log.Fatal(err)
	}
	defer trained.Close()

	dir, err := os.MkdirTemp("", "recommender")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sasrec.safetensors")
	if err := trained.Best.Save(path); err != nil {
		log.Fatal(err)
	}
	r, err := recommender.Load(engine, path)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	best, err := recommender.Recommend(context.Background(), r, [][]int32{{1, 8, 15}}, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Name(), "recommends film", best[0][0].Item)
	state := make([]float32, r.StateWidth())
	if err := r.States(context.Background(), state, [][]int32{{1, 8, 15}}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("a state has", len(state), "numbers")
	// Output:
	// SASRec recommends film 22
	// a state has 16 numbers
}
