package prompt

// Answer is what the LLM says about one sample.
type Answer struct {
	Text     string    // without surrounding white space
	Tokens   []int32   // without the end token
	Pieces   []string  // what each token adds to the text, white space included; a character that tokens share is the last one's
	LogProbs []float64 // of each token among all tokens, in nats, and of the end token where it ended
	LogProb  float64   // their sum, and of a list that was cut in a title that title's too
	Ended    bool      // false where it was cut, at the most tokens that an answer may have
}
