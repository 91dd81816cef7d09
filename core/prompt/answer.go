package prompt

// Answer is what the LLM says about one sample.
type Answer struct {
	Text     string    // without surrounding white space
	Tokens   []int32   // without the end token
	Pieces   []string  // what each token adds to the text, white space included; a character that tokens share belongs to the last one
	LogProbs []float64 // of each token among all tokens, in nats, and of the end token where it ended
	LogProb  float64   // their sum; for a list that was cut within a title, that title's tokens included
	Ended    bool      // false where it was cut at the largest length of an answer
}
