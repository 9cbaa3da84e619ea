// Package rows reads dataset rows: it parses and validates lines of JSON,
// finds the groups, and turns a group into token ids with a loss mask.
package rows

// Encoded is one group, tokenised and ready to train on.
type Encoded struct {
	Line    int64 // of the group's first row
	Samples []EncodedSample
}

// EncodedSample is one sample of a group.
type EncodedSample struct {
	IDs      []int32   // prompt and completion
	Scored   []bool    // len(IDs): m = 1
	Logprobs []float64 // len(IDs), NaN where unscored or absent; nil without logprobs (lp_mu)
	Reward   float64   // sum of weight x eval
	Cut      bool      // truncated to the maximal context length
	// Prompt is the length of the prompt in IDs as the sampler saw it.
	Prompt int
}
