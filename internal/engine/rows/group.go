package rows

import (
	"bytes"
	"math"
	"strconv"

	"github.com/firekeep/firekeep/internal/engine"
)

// Formats of rows.
const (
	FormatRL   = "RL"   // {"samples":[…]}: one row is one group
	FormatChat = "CHAT" // {"messages":[…],"reward":0.7}: adjacent rows with an equal prompt are a group; the reward is optional
	FormatDPO  = "DPO"  // {"input":{"messages":[…]},"preferred_output":[…],"non_preferred_output":[…]}: one row is one pair
	// {"prompt":"…","completion":"…"}: plain text without a template; otherwise as CHAT
	FormatCompletion = "COMPLETION"
	FormatBatch      = "BATCH" // {"custom_id":"…","body":{…}}: one row is one chat request to be answered
)

// Formats lists them; the first row tells where nobody said.
var Formats = []string{FormatRL, FormatChat, FormatDPO, FormatCompletion, FormatBatch}

// Group is one parsed group. It keeps views of the bytes it was parsed from.
type Group struct {
	Line    int64 // of its first row
	Format  string
	Samples []Sample
}

// Sample is one parsed sample.
type Sample struct {
	Line        int64
	Prompt      string // of plain text, which has no messages
	Completion  string // of plain text
	Messages    []byte // JSON array
	Turns       []Turn // one per message
	Tools       []byte // JSON array, nil = none
	Evals       []Eval
	TokenIDs    []int32 // nil = none
	HasTokens   bool
	Logprobs    []float64 // NaN = null
	HasLogprobs bool
	CutShort    bool // finish_reason "length"
}

// Turn is what scoring needs to know of a message.
type Turn struct {
	Assistant bool
	Weight    int8   // -1 absent, 0, 1
	raw       []byte // the message's JSON
}

// Eval is one score of a sample.
type Eval struct {
	Key   string
	Value float64
}

// Reward looks up a score; a row's "reward" answers to "score" and "reward".
func (s *Sample) reward(key string) (float64, bool) {
	for _, e := range s.Evals {
		if e.Key == key {
			return e.Value, true
		}
	}
	return 0, false
}

// maxReward bounds a reward, so that differences and squares of rewards, and
// advantages in float32, stay finite.
const maxReward = 1e30

// CheckRewards sums weight x eval for every sample; a missing key or a sum
// that is not finite or above maxReward is a problem that names line, sample and
// key.
//
// The samples of a pair have the rewards 1 and 0, whatever the weights.
func (g *Group) CheckRewards(weights map[string]float64) ([]float64, error) {
	if g.Format == FormatDPO {
		return []float64{1, 0}, nil
	}
	out := make([]float64, len(g.Samples))
	for i := range g.Samples {
		s := &g.Samples[i]
		for _, key := range sortedKeys(weights) {
			v, ok := s.reward(key)
			if !ok {
				return nil, problem(s.Line, g.sampleNumber(i), RuleNoReward, key, "the sample has no such eval, which the reward weights name")
			}
			out[i] += weights[key] * v
		}
		if math.IsNaN(out[i]) || math.IsInf(out[i], 0) {
			return nil, problem(s.Line, g.sampleNumber(i), RuleNotFinite, "", "the weighted sum of the evals is not finite")
		}
		if math.Abs(out[i]) > maxReward {
			return nil, problem(s.Line, g.sampleNumber(i), RuleNotFinite, "", "the weighted sum of the evals is above 1e30; scale the evals down")
		}
	}
	return out, nil
}

// oneSample says that a row of the format is one sample: adjacent rows with an
// equal prompt make a group.
func oneSample(format string) bool { return format == FormatChat || format == FormatCompletion }

// sampleNumber is the 1-based number shown for sample i: rows of one sample
// are named by their line alone.
func (g *Group) sampleNumber(i int) int {
	if oneSample(g.Format) {
		return 0
	}
	return i + 1
}

// ParseGroup parses the rows of one group: one RL row, or the supervised rows
// of a prompt. firstLine is the number of the first line of raw.
func ParseGroup(raw []byte, firstLine int64) (*Group, error) {
	var g *Group
	line := firstLine
	for len(raw) > 0 {
		row := raw
		if end := bytes.IndexByte(raw, '\n'); end >= 0 {
			row, raw = raw[:end], raw[end+1:]
		} else {
			raw = nil
		}
		if len(bytes.TrimSpace(row)) > 0 {
			r, err := parseRow(row, line, true)
			if err != nil {
				return nil, err
			}
			switch {
			case g == nil:
				g = &Group{Line: line, Format: r.format, Samples: r.samples}
			case g.Format != r.format:
				return nil, problem(line, 0, RuleMixed, "", "the row has another format than the rows before it")
			case !oneSample(g.Format):
				return nil, problem(line, 0, RuleFormat, "", "a group of this format is one row, here is a second")
			default:
				g.Samples = append(g.Samples, r.samples...)
			}
		}
		line++
	}
	if g == nil {
		return nil, problem(firstLine, 0, RuleNoSamples, "", "the group has no row")
	}
	return g, nil
}

// row is one parsed line.
type row struct {
	format  string
	samples []Sample
	request requestID // of a row to be answered
}

// parseRow checks one line. Without keep it leaves out what only training
// needs: token ids and logprobs are counted, not kept.
func parseRow(line []byte, number int64, keep bool) (r row, err error) {
	if len(line) > MaxLine {
		return row{}, problem(number, 0, RuleLineTooLong, "", "the line has %d bytes; at most %d are accepted", len(line), MaxLine)
	}
	p := rowParser{scanner: scanner{b: line, line: number}, keep: keep}
	defer func() {
		if e := recover(); e != nil {
			bad, ok := e.(*engine.Problem)
			if !ok {
				panic(e)
			}
			err = bad
		}
	}()
	if p.peek() != '{' {
		p.skip()
		p.fail(RuleNotObject, "", "the row is no JSON object")
	}
	return p.row(), nil
}

type rowParser struct {
	scanner
	keep bool
}

func (p *rowParser) row() row {
	r := row{}
	var tools []byte
	var chat Sample
	var two pair
	var text completion
	var ask request
	seen := sampleFields{}
	p.object(func(key []byte) {
		switch string(key) {
		case "samples":
			r.format = FormatRL
			p.samples(&r)
		case "input":
			two.input = p.later()
		case "preferred_output":
			two.preferred = p.later()
		case "non_preferred_output":
			two.rejected = p.later()
		case "prompt":
			text.prompt = p.later()
		case "completion":
			text.completion = p.later()
		case "custom_id":
			ask.id = p.later()
		case "body":
			ask.body = p.later()
		default:
			p.sampleField(&chat, &seen, key)
		}
	})
	p.end()
	if two.complete() && r.format == "" && !seen.messages {
		return p.finishPair(&two)
	}
	if text.complete() && r.format == "" && !seen.messages && !two.any() {
		return p.finishCompletion(&text, &chat, &seen)
	}
	switch {
	case r.format == FormatRL && seen.messages:
		p.fail(RuleFormat, "messages", "a row has either samples or messages")
	case r.format == FormatRL:
		tools = chat.Tools
		for i := range r.samples {
			if r.samples[i].Tools == nil {
				r.samples[i].Tools = tools
			}
		}
	case seen.messages:
		r.format = FormatChat
		p.finishSample(&chat, &seen)
		r.samples = []Sample{chat}
	case ask.any():
		return p.finishRequest(&ask)
	case two.any():
		p.fail(RuleFormat, "input", "a preference row needs input, preferred_output and non_preferred_output")
	default:
		p.fail(RuleFormat, "samples", "a row needs samples, or messages, or prompt and completion, or input with preferred_output and non_preferred_output, or custom_id with body")
	}
	return r
}

// later notes where a value begins and skips it. A row of another format may have
// a key of the name that means something else, so such values are read at the
// row's end, when its format is known. Offsets are above 0.
func (p *rowParser) later() int {
	p.peek()
	at := p.at
	p.skip()
	return at
}

func (p *rowParser) samples(r *row) {
	if p.peek() != '[' {
		p.skip()
		p.fail(RuleType, "samples", "is no array")
	}
	p.array(func(i int) {
		p.sample = i + 1
		if i >= MaxSamples {
			p.fail(RuleTooManySamples, "samples", "a row has more than %d samples", MaxSamples)
		}
		if p.peek() != '{' {
			p.skip()
			p.fail(RuleType, "samples", "the sample is no object")
		}
		var s Sample
		var seen sampleFields
		p.object(func(key []byte) { p.sampleField(&s, &seen, key) })
		p.finishSample(&s, &seen)
		r.samples = append(r.samples, s)
	})
	p.sample = 0
	if len(r.samples) == 0 {
		p.fail(RuleNoSamples, "samples", "the row has no samples")
	}
}

// sampleFields remembers what a sample had.
type sampleFields struct {
	messages, evals, reward bool
	rewardValue             float64
	tokens, logprobs        int
}

func (p *rowParser) sampleField(s *Sample, seen *sampleFields, key []byte) {
	switch string(key) {
	case "messages":
		seen.messages = true
		p.messages(s)
	case "evals":
		seen.evals = true
		p.evals(s)
	case "reward":
		seen.reward = true
		seen.rewardValue = p.finite("reward")
	case "tools":
		if !p.null() {
			if p.peek() != '[' {
				p.skip()
				p.fail(RuleType, "tools", "is no array")
			}
			s.Tools = p.skip()
		}
	case "token_ids":
		p.tokenIDs(s, seen)
	case "logprobs":
		p.logprobs(s, seen)
	case "finish_reason":
		if !p.null() {
			if p.peek() != '"' {
				p.skip()
				p.fail(RuleType, "finish_reason", "is no string")
			}
			s.CutShort = string(p.key()) == "length"
		}
	default:
		p.skip()
	}
}

// finishSample checks what depends on several fields.
func (p *rowParser) finishSample(s *Sample, seen *sampleFields) {
	switch {
	case !seen.messages || len(s.Turns) == 0:
		p.fail(RuleNoMessages, "messages", "the sample has no messages")
	case !seen.evals && !seen.reward && p.sample > 0: // supervised rows need no reward
		p.fail(RuleNoReward, "evals", "the sample has no evals and no reward")
	}
	p.finishScores(s, seen)
	assistant := false
	for _, t := range s.Turns {
		assistant = assistant || t.Assistant
	}
	switch {
	case !assistant:
		p.fail(RuleNoAssistant, "messages", "the sample has no assistant message")
	case !s.Turns[len(s.Turns)-1].Assistant:
		p.fail(RuleLastRole, "messages", "the last message is not the assistant's")
	}
}

// finishScores completes what the sample was given as scores and as tokens.
func (p *rowParser) finishScores(s *Sample, seen *sampleFields) {
	s.Line = p.line
	if _, ok := s.reward("score"); seen.reward && !ok {
		s.Evals = append(s.Evals, Eval{"score", seen.rewardValue})
	}
	if _, ok := s.reward("reward"); seen.reward && !ok {
		s.Evals = append(s.Evals, Eval{"reward", seen.rewardValue})
	}
	if s.HasTokens && s.HasLogprobs && seen.logprobs > seen.tokens {
		p.fail(RuleLogprobs, "logprobs", "%d logprobs for %d token_ids", seen.logprobs, seen.tokens)
	}
}

func (p *rowParser) evals(s *Sample) {
	if p.peek() != '{' {
		p.skip()
		p.fail(RuleType, "evals", "is no object")
	}
	p.object(func(key []byte) {
		name := shown(key)
		v := p.finite("evals." + name)
		s.Evals = append(s.Evals, Eval{string(key), v})
	})
}

var knownRoles = map[string]bool{"system": true, "developer": true, "user": true, "assistant": true, "tool": true, "function": true}

func (p *rowParser) messages(s *Sample) {
	if p.peek() != '[' {
		p.skip()
		p.fail(RuleType, "messages", "is no array")
	}
	start := p.at
	p.array(func(i int) {
		if i >= MaxMessages {
			p.fail(RuleTooManyMessages, "messages", "a sample has more than %d messages", MaxMessages)
		}
		s.Turns = append(s.Turns, p.message(i))
	})
	s.Messages = p.b[start:p.at]
}

func (p *rowParser) message(i int) Turn {
	where := "messages[" + strconv.Itoa(i) + "]"
	if p.peek() != '{' {
		p.skip()
		p.fail(RuleType, where, "is no object")
	}
	t := Turn{Weight: -1}
	start := p.at
	role, content, calls := false, false, false
	p.object(func(key []byte) {
		switch string(key) {
		case "role":
			role = true
			if p.peek() != '"' {
				p.skip()
				p.fail(RuleRole, where+".role", "is no string")
			}
			name := p.scanner.key()
			if !knownRoles[string(name)] {
				p.fail(RuleRole, where+".role", "the role is unknown; known are system, developer, user, assistant, tool and function")
			}
			t.Assistant = string(name) == "assistant"
		case "content":
			switch c := p.peek(); {
			case c == '"' || c == '[':
				content = true
			case c == 'n':
			default:
				p.skip()
				p.fail(RuleType, where+".content", "is no string, array or null")
			}
			p.skip()
		case "tool_calls", "function_call", "reasoning_content":
			calls = true
			p.skip()
		case "weight":
			t.Weight = p.weight(where)
		default:
			p.skip()
		}
	})
	t.raw = p.b[start:p.at]
	if !role {
		p.fail(RuleRole, where+".role", "the message has no role")
	}
	if !content && !calls {
		p.fail(RuleType, where+".content", "the message has no content")
	}
	return t
}

func (p *rowParser) weight(where string) int8 {
	c := p.peek()
	if c == 'n' && p.null() {
		return -1
	}
	if c >= '0' && c <= '9' {
		switch string(p.num()) {
		case "0", "0.0":
			return 0
		case "1", "1.0":
			return 1
		}
	} else {
		p.skip()
	}
	p.fail(RuleWeight, where+".weight", "a message's weight is 0 or 1")
	return 0
}

func (p *rowParser) tokenIDs(s *Sample, seen *sampleFields) {
	if p.null() {
		return
	}
	if p.peek() != '[' {
		p.skip()
		p.fail(RuleTokens, "token_ids", "is no array")
	}
	s.HasTokens = true
	p.array(func(i int) {
		id, err := int64(-1), error(nil)
		if c := p.peek(); c >= '0' && c <= '9' {
			id, err = strconv.ParseInt(string(p.num()), 10, 32)
		}
		if err != nil || id < 0 {
			p.fail(RuleTokens, "token_ids", "entry %d is no token id", i)
		}
		seen.tokens++
		if p.keep {
			s.TokenIDs = append(s.TokenIDs, int32(id))
		}
	})
}

func (p *rowParser) logprobs(s *Sample, seen *sampleFields) {
	if p.null() {
		return
	}
	if p.peek() != '[' {
		p.skip()
		p.fail(RuleType, "logprobs", "is no array")
	}
	s.HasLogprobs = true
	p.array(func(i int) {
		v := math.NaN()
		if !p.null() {
			v = p.finite("logprobs")
		}
		seen.logprobs++
		if p.keep {
			s.Logprobs = append(s.Logprobs, v)
		}
	})
}

// scored lists the messages that are scored: without any weight the last
// assistant message, else the assistant messages of weight 1 or none.
func (s *Sample) scored() []int {
	weighted := false
	for _, t := range s.Turns {
		weighted = weighted || t.Weight >= 0
	}
	var out []int
	for i, t := range s.Turns {
		if t.Assistant && t.Weight != 0 && (weighted || i == len(s.Turns)-1) {
			out = append(out, i)
		}
	}
	return out
}

// promptTurns is the number of messages before the first scored one.
func (s *Sample) promptTurns() int {
	if at := s.scored(); len(at) > 0 {
		return at[0]
	}
	return len(s.Turns) - 1
}
