package wire

import (
	"encoding/json"

	"github.com/firekeep/firekeep/internal/engine"
)

// Version is the protocol version. A peer that offers another one is refused
// at hello with both versions in the message.
const Version = 1

// Type is the type of a frame.
type Type uint8

// Control frames carry one JSON message each; Data frames carry raw bytes of a
// stream. B = broker to engine, E = engine to broker.
const (
	TypeHello     Type = 1  // both: Hello
	TypeTask      Type = 2  // B: Task, once per connection
	TypeOpen      Type = 3  // both: Open, a named stream begins
	TypeData      Type = 4  // both: raw bytes of a stream; flag End = last frame of the stream
	TypeCredit    Type = 5  // both: Credit, the receiver of a stream lets its sender send more
	TypeGroup     Type = 6  // B: Group, the raw bytes of one group of rows follow in the same frame (binary, see Group)
	TypeEpochEnd  Type = 7  // B: EpochEnd
	TypeThreads   Type = 8  // B: Threads, at any time
	TypeMetrics   Type = 9  // E: Metrics, one per optimiser batch
	TypeProgress  Type = 10 // E: Progress, at most a few per second
	TypeChunk     Type = 11 // E: Chunk, byte ranges of groups found by validation
	TypeMark      Type = 12 // E: Mark: a resume point; its blobs were sent as streams before it
	TypeDone      Type = 13 // E: Done, the task's result; the last frame of a task that succeeded
	TypeFault     Type = 14 // E: Fault, the last frame of a task that failed (for Sample: of that request)
	TypeCancel    Type = 15 // B: Cancel
	TypeHeartbeat Type = 16 // both: empty
	TypeSample    Type = 17 // B: SampleRequest
	TypeToken     Type = 18 // E: SampleEvent
	TypeAdapter   Type = 19 // B: AdapterChange (sampling children)
	TypeAck       Type = 20 // E: Ack of an AdapterChange
	TypeWarning   Type = 21 // E: Warning
)

// Hello opens the connection in both directions; the engine speaks first.
type Hello struct {
	Protocol     int      `json:"protocol"`
	Peer         string   `json:"peer"`         // "firekeep-engine", "firekeep"
	Build        string   `json:"build"`        // version of the program
	Capabilities []string `json:"capabilities"` // "probe", "import", "merge", "validate", "train", "sample", "canary"
	// Levels are the kernel levels that the host seems to have in float32, best
	// first; a level is tested when a task computes on it. Level is the first.
	Levels []string `json:"levels"`
	Level  string   `json:"level"`
	// BFloat16Levels are those that multiply bfloat16.
	BFloat16Levels []string `json:"bfloat16Levels,omitempty"`
}

// Task tells the engine what this connection is for. Exactly one of the
// pointers is set, the one that Kind names.
type Task struct {
	Kind    string `json:"kind"` // "probe", "import", "merge", "validate", "train", "sample"
	Threads int    `json:"threads"`
	// Level forces a kernel level, for example to resume a job that began on
	// it; "" = the best that passes its self-test.
	Level string `json:"level,omitempty"`
	// Precision of the products with base weights, "float32" or "bfloat16";
	// "" = float32.
	Precision string `json:"precision,omitempty"`
	// MemoryBytes is what the engine should stay below; 0 = no advice. The hard
	// limit is the sandbox's.
	MemoryBytes int64 `json:"memoryBytes,omitempty"`

	Weights  *Weights      `json:"weights,omitempty"` // train, sample, merge, validate (tokenizer and template only)
	Import   *ImportTask   `json:"import,omitempty"`
	Merge    *MergeTask    `json:"merge,omitempty"` // only for engines with the capability "merge"
	Validate *ValidateTask `json:"validate,omitempty"`
	Train    *TrainTask    `json:"train,omitempty"`
	Sample   *SampleTask   `json:"sample,omitempty"`
	Probe    *ProbeTask    `json:"probe,omitempty"`
}

// ProbeTask tests the level and precision that the task names, in a child that
// nobody will miss, and measures them.
type ProbeTask struct{}

// ProbeDone is Done.Result of a probe: the level passed its self-test.
type ProbeDone struct {
	Level     string  `json:"level"`
	Precision string  `json:"precision"`
	GFLOPS    float64 `json:"gflops"` // of one thread, at shapes of a step
	// Float32GFLOPS is the same in float32, for a probe of another precision.
	Float32GFLOPS float64 `json:"float32Gflops,omitempty"`
}

// Values of Task.Precision.
const (
	Float32  = "float32"
	BFloat16 = "bfloat16"
)

// Weights says where the prepared weights come from: an inherited descriptor
// that can be mapped (a local optimisation) or the stream named "weights".
type Weights struct {
	FD     int    `json:"fd,omitempty"` // >= 3; 0 = by stream
	Size   int64  `json:"size"`
	Digest string `json:"digest"` // sha256:hex of the prepared file, checked by the sender when it was stored
}

// Open announces a stream. Names in use: "weights", "adapter" (safetensors),
// "adapter-config" (adapter_config.json), "optimizer" (safetensors),
// "dataset" (raw object bytes for validation), "model-file" (one file of a
// model to import), "prepared" (E: the prepared weights).
type Open struct {
	Stream uint32 `json:"stream"` // odd from the broker, even from the engine, never reused
	Name   string `json:"name"`
	Path   string `json:"path,omitempty"` // relative name of a model file, name of a dataset object
	Size   int64  `json:"size"`           // -1 = unknown
	SHA256 string `json:"sha256,omitempty"`
}

// Credit lets the sender of Stream send Bytes more. A stream begins with
// InitialCredit. Stream 0 stands for the ordered messages of a direction.
type Credit struct {
	Stream uint32 `json:"stream"`
	Bytes  int64  `json:"bytes"`
}

// InitialCredit is what a sender may send on a stream before the first Credit.
const InitialCredit = 4 << 20

// ImportTask turns model files into prepared weights. The broker opens one
// "model-file" stream per file, one after another, then sends EpochEnd.
type ImportTask struct {
	Name    string `json:"name"`    // base_model_name_or_path for exported adapters
	Source  string `json:"source"`  // shown in errors
	Expects int    `json:"expects"` // number of files
	// BFloat16 adds the matrices in bfloat16 to the prepared weights.
	BFloat16 bool `json:"bfloat16,omitempty"`
}

// MergeTask turns the weights of the task, and the LoRA in the streams
// "adapter-config" and "adapter" that follow it, into prepared weights of their own.
type MergeTask struct {
	Name     string `json:"name"`               // as ImportTask's
	BFloat16 bool   `json:"bfloat16,omitempty"` // as ImportTask's
}

// ImportDone is Done.Result of an import, and of a merge.
type ImportDone struct {
	Config     engine.Config `json:"config"`
	Parameters int64         `json:"parameters"`
	Size       int64         `json:"size"`
	SHA256     string        `json:"sha256"` // "sha256:hex" of the prepared weights
	Source     string        `json:"source"` // digest of what they were made from
	HasChat    bool          `json:"hasChatTemplate"`
}

// ValidateTask checks the shape of a dataset by streaming. The broker opens
// one "dataset" stream per object, in order, then sends EpochEnd.
type ValidateTask struct {
	Format  string `json:"format"` // "RL", "CHAT" and "COMPLETION" (supervised, with or without rewards), "DPO", "BATCH", "" = detect by the first row
	Objects int    `json:"objects"`
}

// Chunk lists groups of rows that lie one behind another in one object.
type Chunk struct {
	Object    int     `json:"object"`    // index in the order of the streams
	Offset    int64   `json:"offset"`    // of the first group's first byte
	FirstLine int64   `json:"firstLine"` // 1-based line of the first group
	Lengths   []int64 `json:"lengths"`   // bytes per group, blank lines and newlines included
	Lines     []int32 `json:"lines"`     // lines per group
}

// ValidateDone is Done.Result of a validation. It holds counts only.
type ValidateDone struct {
	Format          string   `json:"format"`
	Rows            int64    `json:"rows"`
	Groups          int64    `json:"groups"`
	Samples         int64    `json:"samples"`
	SamplesPerGroup int      `json:"samplesPerGroup"` // 0 = they differ
	WithLogprobs    int64    `json:"withLogprobs"`
	EvalKeys        []string `json:"evalKeys"` // present in every sample
	Turns           int64    `json:"turns"`    // messages in total
	Bytes           int64    `json:"bytes"`
	Warnings        []string `json:"warnings,omitempty"`
}

// TrainTask is a reinforcement step. Streams "adapter-config", "adapter" and
// "optimizer" of the incoming LoRA precede the first Group, when there is one.
// On resume they are those of the resume point, "incoming-adapter" is the
// adapter that the job began with, and Resume says where it stood.
type TrainTask struct {
	Spec       engine.Spec `json:"spec"`
	BaseName   string      `json:"baseName"`
	HasAdapter bool        `json:"hasAdapter"`
	HasMoments bool        `json:"hasMoments"`
	// HasOriginal: the stream "incoming-adapter" follows (on resume).
	HasOriginal bool  `json:"hasOriginal,omitempty"`
	Resume      *Mark `json:"resume,omitempty"`
	// Evaluate computes the loss of the adapter and changes nothing; its reports are
	// Metrics and Done, without resume points.
	Evaluate bool `json:"evaluate,omitempty"`
	// GroupsPerEpoch serves the ETA, and tells the last update.
	GroupsPerEpoch int64 `json:"groupsPerEpoch"`
	// Supervised: adjacent rows with equal prompts form a group.
	Format string `json:"format"`
	// Canary is how many tokens of the canary (docs/engine-protocol.md) the final
	// adapter is tried on; 0 = none. Only for engines with the capability "canary".
	Canary int `json:"canary,omitempty"`
}

// Group is one group of rows, unparsed. On the wire its header is 8 bytes
// position, 8 bytes first line (little endian), 4 bytes object, then the raw
// bytes. Groups come in training order; Position counts from 0 over all epochs.
type Group struct {
	Position int64
	Line     int64
	Object   uint32
	Rows     []byte
}

// EpochEnd follows the last group of an epoch, or the last file of an import
// or validation.
type EpochEnd struct {
	Epoch int  `json:"epoch"`
	Last  bool `json:"last"`
}

// Threads sets the number of threads. It changes speed, never bytes.
type Threads struct {
	Threads int `json:"threads"`
}

// Metrics describes one optimiser batch. Names are those of docs/metrics.md.
type Metrics struct {
	Update        int64   `json:"update"` // 1-based
	Epoch         int     `json:"epoch"`
	Samples       int     `json:"samples"`
	Groups        int     `json:"groups"`
	DeadGroups    int     `json:"deadGroups"`
	EmptySamples  int     `json:"emptySamples"`
	Truncated     int     `json:"truncatedSamples"`
	Tokens        int64   `json:"tokens"`       // prompt + completion of every sample
	ScoredTokens  int64   `json:"scoredTokens"` // N
	Computed      int64   `json:"computedTokens"`
	RewardMean    float64 `json:"rewardMean"`
	RewardStd     float64 `json:"rewardStd"`
	RewardMin     float64 `json:"rewardMin"`
	RewardMax     float64 `json:"rewardMax"`
	Loss          float64 `json:"loss"`
	KL            float64 `json:"kl"`
	ClipFraction  float64 `json:"clipFraction"`
	Entropy       float64 `json:"entropy"`
	GradNorm      float64 `json:"gradNorm"`
	LearningRate  float64 `json:"learningRate"`
	RatioMean     float64 `json:"ratioMean"`
	EffectiveSize float64 `json:"effectiveSampleSize"` // (sum w)^2 / sum w^2 over scored tokens with logprobs
	MaskedSamples int     `json:"offPolicyMasked"`
	Pairs         int     `json:"pairs,omitempty"`
	PairAccuracy  float64 `json:"pairAccuracy,omitempty"`
	PairMargin    float64 `json:"pairMargin,omitempty"`
	Updated       bool    `json:"updated"` // false: nothing carried a gradient
	Seconds       float64 `json:"seconds"`
	TokensPerSec  float64 `json:"tokensPerSecond"`
}

// Progress is a sign of life with an estimate. Stages in use: "train", "evaluate",
// StageWrite.
type Progress struct {
	Stage      string  `json:"stage"`
	Fraction   float64 `json:"fraction"`
	ETASeconds float64 `json:"etaSeconds"`
}

// StageWrite is the stage behind the last update: the next streams are the result.
const StageWrite = "write"

// Mark is a resume point: the streams "adapter-config", "adapter" and
// "optimizer" that precede it hold the state after Update.
type Mark struct {
	Update   int64 `json:"update"`
	Epoch    int   `json:"epoch"`
	Position int64 `json:"position"` // groups consumed; the next Group must have this Position
	// Signal counts samples that carried a gradient so far.
	Signal int64 `json:"signal"`
	// Totals carries the engine's running statistics, opaque to the broker.
	Totals json.RawMessage `json:"totals,omitempty"`
}

// TrainDone is Done.Result of a step; the streams "adapter-config", "adapter"
// and "optimizer" precede it.
type TrainDone struct {
	Updates   int64           `json:"updates"`
	Samples   int64           `json:"samples"`
	Tokens    int64           `json:"tokens"`
	NoSignal  bool            `json:"noSignal"` // no sample carried a gradient; weights are the incoming ones
	Message   string          `json:"message,omitempty"`
	Level     string          `json:"level"` // kernel level
	Precision string          `json:"precision"`
	Report    json.RawMessage `json:"report,omitempty"` // statistics per dataset
	// Canary answers TrainTask.Canary; it has fewer tokens where the context is short.
	Canary *engine.Canary `json:"canary,omitempty"`
	// Mark would be a resume point: that of the state which was sent last, where no
	// Mark came behind it.
	Mark *Mark `json:"mark,omitempty"`
}

// SampleTask makes the engine serve SampleRequests until the stream closes.
type SampleTask struct {
	MaxSequences int   `json:"maxSequences"` // sequences decoded at once
	MaxContext   int   `json:"maxContext"`
	CacheBytes   int64 `json:"cacheBytes"` // bound of the KV memory
	// Int8: requests without log-probs may be decoded with weights of one byte.
	Int8 bool `json:"int8,omitempty"`
}

// AdapterChange loads (its streams "adapter-config" and "adapter" precede it)
// or unloads an adapter of a sampling child.
type AdapterChange struct {
	ID     string `json:"id"` // the broker's name for it: the checkpoint's digest, or another
	Unload bool   `json:"unload,omitempty"`
	// Canary is how many tokens of the canary the adapter is tried on before the
	// Ack; 0 = none. Only for engines with the capability "canary".
	Canary int `json:"canary,omitempty"`
}

// Ack answers an AdapterChange; Error is "" on success.
type Ack struct {
	ID    string `json:"id"`
	Error string `json:"error,omitempty"`
	// Canary answers AdapterChange.Canary: the log-prob of each token but the first.
	Canary []float64 `json:"canary,omitempty"`
}

// Capabilities of an engine beyond the kinds of tasks.
const (
	CapabilityCanary = "canary" // it computes TrainTask.Canary and AdapterChange.Canary
	CapabilityMerge  = "merge"  // it takes tasks of the kind "merge"
)

// SampleRequest asks for N completions of one prompt. Exactly one of Messages,
// Prompt and Tokens is set.
type SampleRequest struct {
	ID       uint64          `json:"id"`
	Caller   uint64          `json:"caller,omitempty"`  // stands for whose it is: callers take turns
	Adapter  string          `json:"adapter,omitempty"` // "" = base
	Messages json.RawMessage `json:"messages,omitempty"`
	Tools    json.RawMessage `json:"tools,omitempty"`
	Prompt   *string         `json:"prompt,omitempty"`
	Tokens   []int32         `json:"tokens,omitempty"`
	N        int             `json:"n"`
	// Template overrides the model's chat template for Messages; "" keeps it.
	Template string `json:"template,omitempty"`
	// TruncatePrompt leaves the earliest turns out of Messages until the prompt has
	// at most so many tokens; 0 = as they are.
	TruncatePrompt int `json:"truncatePrompt,omitempty"`

	MaxTokens   int      `json:"maxTokens"` // 0 = to the context's end, < 0 = none (score the prompt with Echo)
	Temperature float64  `json:"temperature"`
	TopP        float64  `json:"topP"`               // 1 = off
	TopK        int      `json:"topK"`               // 0 = off
	MinP        float64  `json:"minP,omitempty"`     // 0 = off
	TypicalP    float64  `json:"typicalP,omitempty"` // 0 and 1 = off
	Seed        *int64   `json:"seed,omitempty"`
	Stop        []string `json:"stop,omitempty"`
	IgnoreEOS   bool     `json:"ignoreEos,omitempty"`
	Logprobs    bool     `json:"logprobs,omitempty"`
	TopLogprobs int      `json:"topLogprobs,omitempty"`
	Echo        bool     `json:"echo,omitempty"`
	EchoLast    int      `json:"echoLast,omitempty"` // with Echo: only so many of the prompt's last tokens; 0 = all
	// Penalties and biases change the logits that tokens are drawn from: first
	// repetition, then frequency and presence, then the biases.
	RepetitionPenalty float64 `json:"repetitionPenalty,omitempty"` // 0 and 1 = off
	FrequencyPenalty  float64 `json:"frequencyPenalty,omitempty"`
	PresencePenalty   float64 `json:"presencePenalty,omitempty"`
	Bias              []Bias  `json:"bias,omitempty"`
	// Truncate: a prompt too long is an error unless true, then MaxTokens shrinks
	// to what is left of the context.
	Truncate bool `json:"truncate,omitempty"`
}

// Bias is added to a token's logit.
type Bias struct {
	ID    int32   `json:"id"`
	Value float64 `json:"value"`
}

// SampleEvent carries what one pass produced for one completion.
type SampleEvent struct {
	ID     uint64        `json:"id"`
	Index  int           `json:"index"`
	Text   string        `json:"text,omitempty"` // valid UTF-8, stop strings already held back
	Tokens []SampleToken `json:"tokens,omitempty"`
	// Finish is "" until the last event of this completion: "stop", "length", "cancelled".
	Finish string `json:"finish,omitempty"`
	// PromptTokens is set in a completion's first event. Prompt holds the ids
	// when Echo or Logprobs ask for them; a long one continues in the next events.
	PromptTokens int     `json:"promptTokens,omitempty"`
	Prompt       []int32 `json:"prompt,omitempty"`
	// CachedTokens of the prompt were not computed again; set with PromptTokens.
	CachedTokens int `json:"cachedTokens,omitempty"`
	// Echoed is how many of Tokens, from the front, belong to the prompt. The
	// prompt's very first token has no log-prob; its Logprob is 0.
	Echoed int `json:"echoed,omitempty"`
	// Generated counts the completion's own tokens so far, the end of turn included.
	Generated int `json:"generated,omitempty"`
}

// SampleToken is one sampled token. Logprob is of the raw softmax at
// temperature 1, as the trainer computes it; Sampling of the distribution the
// token was drawn from.
type SampleToken struct {
	ID       int32      `json:"id"`
	Text     string     `json:"text"`
	Bytes    []byte     `json:"bytes,omitempty"`
	Logprob  float64    `json:"logprob"`
	Sampling float64    `json:"sampling"`
	Top      []TopToken `json:"top,omitempty"`
}

// TopToken is an alternative at one position.
type TopToken struct {
	ID      int32   `json:"id"`
	Text    string  `json:"text"`
	Bytes   []byte  `json:"bytes,omitempty"`
	Logprob float64 `json:"logprob"`
}

// Cancel stops the task, or one SampleRequest when ID is not 0.
type Cancel struct {
	ID uint64 `json:"id,omitempty"`
}

// Done ends a task; Result is the kind's own message.
type Done struct {
	Result json.RawMessage `json:"result,omitempty"`
}

// Fault ends a task or, with ID, one SampleRequest. Kind is an rft.Kind.
type Fault struct {
	ID      uint64          `json:"id,omitempty"`
	Kind    string          `json:"kind"`
	Message string          `json:"message"`
	Problem *engine.Problem `json:"problem,omitempty"`
}

// Warning is a line that a user must see ("rows have one sample each ...").
type Warning struct {
	Message string `json:"message"`
}
