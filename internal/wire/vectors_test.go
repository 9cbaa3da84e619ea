package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

// vectors is testdata/vectors.json, which every implementation of the protocol
// passes.
type vectors struct {
	Version int `json:"version"`
	// Frames encode to exactly these bytes and decode to exactly these fields.
	Frames []frameVector `json:"frames"`
	// Broken bytes are refused when read as one frame.
	Broken []brokenVector `json:"broken"`
	// Canaries are the tokens that a capability "canary" computes on.
	Canaries []canaryVector `json:"canaries"`
	// Conversations end with a refusal of the last frame, not before.
	Conversations []conversationVector `json:"conversations"`
}

type frameVector struct {
	Name    string          `json:"name"`
	Type    Type            `json:"type"`
	Flags   uint8           `json:"flags"`
	Stream  uint32          `json:"stream"`
	Message json.RawMessage `json:"message,omitempty"` // of a JSON payload
	Payload string          `json:"payload"`           // hex
	Hex     string          `json:"hex"`               // of the frame
}

type brokenVector struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
	Rule string `json:"rule"`
}

type canaryVector struct {
	Sequence string  `json:"sequence"`
	Vocab    int     `json:"vocab"`
	Tokens   []int32 `json:"tokens"`
}

// conversationVector is what one side gets after the hellos. A frame that ends
// in "*N" comes N times.
type conversationVector struct {
	Name     string   `json:"name"`
	Receiver string   `json:"receiver"` // "broker" or "engine"
	Frames   []string `json:"frames"`   // hex
	Rule     string   `json:"rule"`
}

func jsonFrame(t Type, m any) Frame {
	payload, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return Frame{Type: t, Payload: payload}
}

func dataFrameOf(stream uint32, flags uint8, payload string) Frame {
	return Frame{Type: TypeData, Flags: flags, Stream: stream, Payload: []byte(payload)}
}

func groupFrame(flags uint8, g Group) Frame {
	return Frame{Type: TypeGroup, Flags: flags, Payload: append(appendGroupHeader(nil, g), g.Rows...)}
}

// goldenFrames has one frame of every type, with values that show how they encode.
func goldenFrames() []struct {
	name string
	f    Frame
} {
	seed, prompt := int64(-1), "2+2=\u2028<\"\\\u00e9\U0001f525>"
	return []struct {
		name string
		f    Frame
	}{
		{"hello", jsonFrame(TypeHello, Hello{Protocol: 1, Peer: "firekeep-engine", Build: "v0", Capabilities: []string{"train"}, Levels: []string{"avx512", "go"}, Level: "avx512"})},
		{"task-train", jsonFrame(TypeTask, Task{Kind: "train", Threads: 2, Weights: &Weights{FD: 3, Size: 1 << 33, Digest: "sha256:00"}, Train: &TrainTask{BaseName: "base", HasAdapter: true, GroupsPerEpoch: 1 << 40}})},
		{"task-import", jsonFrame(TypeTask, Task{Kind: "import", Threads: 1, Import: &ImportTask{Name: "m", Source: "file", Expects: 3}})},
		{"task-merge", jsonFrame(TypeTask, Task{Kind: "merge", Threads: 1, Weights: &Weights{FD: 3, Size: 1 << 33, Digest: "sha256:00"}, Merge: &MergeTask{Name: "m", BFloat16: true}})},
		{"open", jsonFrame(TypeOpen, Open{Stream: 1, Name: "adapter", Size: -1})},
		{"data", dataFrameOf(1, 0, "bytes")},
		{"data-end", dataFrameOf(2, FlagEnd, "")},
		{"credit", jsonFrame(TypeCredit, Credit{Stream: 1, Bytes: 4194304})},
		{"group", groupFrame(0, Group{Position: 1<<40 + 1, Line: 7, Object: 3, Rows: []byte("{\"samples\":[]}\n")})},
		{"group-more", groupFrame(FlagMore, Group{Position: 0, Line: 1, Rows: []byte{0, 255}})},
		{"epoch-end", jsonFrame(TypeEpochEnd, EpochEnd{Epoch: 1, Last: true})},
		{"threads", jsonFrame(TypeThreads, Threads{Threads: 8})},
		{"metrics", jsonFrame(TypeMetrics, Metrics{Update: 1, RewardMean: 0.1, Loss: -1e-7, KL: 1e21, GradNorm: 3})},
		{"progress", jsonFrame(TypeProgress, Progress{Stage: "train", Fraction: 0.5, ETASeconds: 12.25})},
		{"chunk", jsonFrame(TypeChunk, Chunk{Object: 1, Offset: 10, FirstLine: 2, Lengths: []int64{5, 6}, Lines: []int32{1, 1}})},
		{"mark", jsonFrame(TypeMark, Mark{Update: 4, Epoch: 1, Position: 16, Signal: 3, Totals: json.RawMessage(`{"a":1}`)})},
		{"done", jsonFrame(TypeDone, Done{Result: json.RawMessage(`{"updates":1}`)})},
		{"fault", jsonFrame(TypeFault, Fault{Kind: "INVALID_ARGUMENT", Message: "line 3: no samples"})},
		{"cancel", jsonFrame(TypeCancel, Cancel{})},
		{"heartbeat", Frame{Type: TypeHeartbeat}},
		{"sample", jsonFrame(TypeSample, SampleRequest{ID: 1<<53 - 1, Prompt: &prompt, N: 2, Temperature: 0.7, TopP: 1, Seed: &seed, Stop: []string{"\n"}})},
		{"sample-shaped", jsonFrame(TypeSample, SampleRequest{ID: 2, Tokens: []int32{1, 2}, N: 1, TopP: 0.5, MinP: 0.125, TypicalP: 0.75, EchoLast: 1, Echo: true,
			RepetitionPenalty: 1.25, FrequencyPenalty: -0.5, PresencePenalty: 2, Bias: []Bias{{ID: 7, Value: -100}}, TruncatePrompt: 64})},
		{"token", jsonFrame(TypeToken, SampleEvent{ID: 9, Index: 1, Text: "é", Tokens: []SampleToken{{ID: 5, Text: "\ufffd", Bytes: []byte{0xc3}, Logprob: -0.25, Sampling: -0.5}}, Finish: "stop"})},
		{"adapter", jsonFrame(TypeAdapter, AdapterChange{ID: "sha256:ab"})},
		{"ack", jsonFrame(TypeAck, Ack{ID: "sha256:ab"})},
		{"task-train-canary", jsonFrame(TypeTask, Task{Kind: "train", Threads: 1, Train: &TrainTask{BaseName: "base", Canary: 32}})},
		{"adapter-canary", jsonFrame(TypeAdapter, AdapterChange{ID: "sha256:ab", Canary: 32})},
		{"ack-canary", jsonFrame(TypeAck, Ack{ID: "sha256:ab", Canary: []float64{-0.25, -12.5}})},
		{"warning", jsonFrame(TypeWarning, Warning{Message: "rows have one sample each"})},
	}
}

// bend returns the bytes of f after change, with a checksum that fits.
func bend(f Frame, change func(b []byte) []byte) []byte {
	b := change(AppendFrame(nil, f))
	sum := checksum(b[:12], b[HeaderLen:])
	b[12], b[13], b[14], b[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	return b
}

func brokenFrames() []struct {
	name, rule string
	b          []byte
} {
	whole := AppendFrame(nil, dataFrameOf(1, 0, "bytes"))
	flipped := bytes.Clone(whole)
	flipped[HeaderLen] ^= 1
	stream := bytes.Clone(whole)
	stream[8] = 3
	set := func(f Frame, at int, v byte) []byte {
		return bend(f, func(b []byte) []byte { b[at] = v; return b })
	}
	beat := Frame{Type: TypeHeartbeat}
	return []struct {
		name, rule string
		b          []byte
	}{
		{"header cut", "short-frame", whole[:7]},
		{"payload cut", "short-frame", whole[:len(whole)-1]},
		{"payload changed", "bad-checksum", flipped},
		{"stream changed", "bad-checksum", stream},
		{"giant length", "payload-too-long", set(dataFrameOf(1, 0, ""), 3, 0x7f)},
		{"one byte too long", "payload-too-long", set(Frame{Type: TypeDone, Payload: []byte("x")}, 2, 0x10)},
		{"type 0", "unknown-type", set(beat, 4, 0)},
		{"type 22", "unknown-type", set(beat, 4, 22)},
		{"reserved bits", "reserved-bits", set(beat, 6, 1)},
		{"end flag on a message", "bad-flags", set(beat, 5, FlagEnd)},
		{"more flag on data", "bad-flags", set(dataFrameOf(1, 0, "x"), 5, FlagMore)},
		{"data without a stream", "bad-stream", set(dataFrameOf(1, 0, "x"), 8, 0)},
		{"a message on a stream", "bad-stream", set(beat, 8, 1)},
	}
}

func conversations() []struct {
	name, receiver, rule string
	frames               []string
} {
	h := func(f Frame) string { return hex.EncodeToString(AppendFrame(nil, f)) }
	raw := func(t Type, payload string) string { return h(Frame{Type: t, Payload: []byte(payload)}) }
	task := h(jsonFrame(TypeTask, Task{Kind: "train"}))
	open := func(id uint32, size int64) string {
		return h(jsonFrame(TypeOpen, Open{Stream: id, Name: "x", Size: size}))
	}
	credit := func(id uint32, n int64) string { return h(jsonFrame(TypeCredit, Credit{Stream: id, Bytes: n})) }
	done := h(jsonFrame(TypeDone, Done{}))
	metrics := h(jsonFrame(TypeMetrics, Metrics{}))
	mib := strings.Repeat("x", 1<<20)
	data := func(id uint32, flags uint8, payload string) string { return h(dataFrameOf(id, flags, payload)) }
	return []struct {
		name, receiver, rule string
		frames               []string
	}{
		{"second hello", "broker", "second-hello", []string{h(jsonFrame(TypeHello, Hello{Protocol: 1}))}},
		{"engine sends a task", "broker", "wrong-side", []string{task}},
		{"broker sends metrics", "engine", "wrong-side", []string{task, metrics}},
		{"group before the task", "engine", "no-task", []string{h(groupFrame(0, Group{}))}},
		{"stream before the task", "engine", "no-task", []string{open(1, 3)}},
		{"two tasks", "engine", "second-task", []string{task, task}},
		{"not JSON", "broker", "bad-json", []string{raw(TypeProgress, "{")}},
		{"JSON of another kind", "broker", "bad-json", []string{raw(TypeProgress, "null")}},
		{"unknown field", "broker", "bad-json", []string{raw(TypeProgress, `{"secret":1}`)}},
		{"bytes after the message", "broker", "trailing-bytes", []string{raw(TypeProgress, `{"stage":"x"} {}`)}},
		{"heartbeat with content", "broker", "bad-heartbeat", []string{raw(TypeHeartbeat, "x")}},
		{"message after done", "broker", "after-end", []string{done, metrics}},
		{"done within a stream", "broker", "unfinished-stream", []string{open(2, -1), done}},
		{"data after a fault", "broker", "after-end", []string{open(2, -1), h(jsonFrame(TypeFault, Fault{Kind: "INTERNAL"})), data(2, 0, "x")}},
		{"second done", "broker", "after-end", []string{done, done}},
		{"message after a fault", "broker", "after-end", []string{h(jsonFrame(TypeFault, Fault{Kind: "INTERNAL"})), metrics}},
		{"engine opens an odd stream", "broker", "bad-stream", []string{open(1, -1)}},
		{"broker opens an even stream", "engine", "bad-stream", []string{task, open(2, -1)}},
		{"stream 0", "broker", "bad-stream", []string{open(0, -1)}},
		{"stream reused", "broker", "stream-reused", []string{open(2, -1), data(2, FlagEnd, ""), open(2, -1)}},
		{"stream numbers fall", "broker", "stream-reused", []string{open(4, -1), open(2, -1)}},
		{"impossible size", "broker", "bad-size", []string{open(2, -2)}},
		{"nine unread streams", "broker", "too-many-streams", []string{open(2, -1), open(4, -1), open(6, -1), open(8, -1), open(10, -1), open(12, -1), open(14, -1), open(16, -1), open(18, -1)}},
		{"data of no stream", "broker", "unknown-stream", []string{data(2, 0, "x")}},
		{"data after the end", "broker", "unknown-stream", []string{open(2, -1), data(2, FlagEnd, "x"), data(2, 0, "x")}},
		{"empty data", "broker", "empty-data", []string{open(2, -1), data(2, 0, "")}},
		{"more than announced", "broker", "stream-too-long", []string{open(2, 3), data(2, 0, "1234")}},
		{"less than announced", "broker", "stream-too-short", []string{open(2, 3), data(2, FlagEnd, "12")}},
		{"stream past its credit", "broker", "credit-overrun", []string{open(2, -1), data(2, 0, mib) + "*4", data(2, 0, "x")}},
		{"messages past their credit", "broker", "credit-overrun", []string{raw(TypeProgress, `{"stage":"`+mib[:1<<20-12]+`"}`) + "*3", raw(TypeProgress, `{"stage":"`+mib[:1<<20-12]+`"}`)}},
		{"groups past their credit", "engine", "credit-overrun", []string{task, h(Frame{Type: TypeGroup, Flags: FlagMore, Payload: make([]byte, 1<<20)}) + "*3", h(Frame{Type: TypeGroup, Payload: make([]byte, 1<<20)})}},
		{"credit of nothing", "engine", "bad-credit", []string{credit(0, 0)}},
		{"negative credit", "engine", "bad-credit", []string{credit(0, -1)}},
		{"credit beyond the window", "engine", "credit-overflow", []string{credit(0, 1)}},
		{"credit for no stream", "engine", "unknown-stream", []string{credit(2, 1)}},
		{"credit for a stream of the sender", "engine", "unknown-stream", []string{credit(1, 1)}},
		{"a group without its header", "engine", "short-group", []string{task, raw(TypeGroup, "1234567890123456789")}},
		{"a group at a negative position", "engine", "bad-group", []string{task, raw(TypeGroup, strings.Repeat("\xff", 20))}},
		{"a message within a group", "engine", "group-interrupted", []string{task, h(groupFrame(FlagMore, Group{})), h(jsonFrame(TypeEpochEnd, EpochEnd{}))}},
	}
}

func currentVectors() vectors {
	v := vectors{Version: Version}
	for _, g := range goldenFrames() {
		e := frameVector{Name: g.name, Type: g.f.Type, Flags: g.f.Flags, Stream: g.f.Stream,
			Payload: hex.EncodeToString(g.f.Payload), Hex: hex.EncodeToString(AppendFrame(nil, g.f))}
		if len(g.f.Payload) > 0 && g.f.Payload[0] == '{' && g.f.Type != TypeData {
			e.Message = g.f.Payload
		}
		v.Frames = append(v.Frames, e)
	}
	for _, b := range brokenFrames() {
		v.Broken = append(v.Broken, brokenVector{b.name, hex.EncodeToString(b.b), b.rule})
	}
	for _, vocab := range []int{259, 49152, 262144} {
		v.Canaries = append(v.Canaries, canaryVector{engine.CanarySequence, vocab, engine.CanaryIDs(vocab, engine.MaxCanaryTokens)})
	}
	for _, c := range conversations() {
		for i, f := range c.frames { // a megabyte of one letter does not belong into a file
			c.frames[i] = shorten(f)
		}
		v.Conversations = append(v.Conversations, conversationVector{c.name, c.receiver, c.frames, c.rule})
	}
	return v
}

// shorten writes long runs of one byte as "<hex byte>{count}".
func shorten(f string) string {
	body, times, _ := strings.Cut(f, "*")
	for _, b := range []string{"78", "00"} {
		for i := 0; i+2 <= len(body); i += 2 {
			n := 0
			for strings.HasPrefix(body[i+2*n:], b) {
				n++
			}
			if n > 1000 {
				body = body[:i] + "<" + b + "x" + itoa(n) + ">" + body[i+2*n:]
				break
			}
		}
	}
	if times != "" {
		return body + "*" + times
	}
	return body
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// expand is the inverse of shorten: the bytes, and how often they come.
func expand(t *testing.T, f string) ([]byte, int) {
	t.Helper()
	body, times, found := strings.Cut(f, "*")
	n := 1
	if found {
		if err := json.Unmarshal([]byte(times), &n); err != nil {
			t.Fatal(err)
		}
	}
	if before, rest, run := strings.Cut(body, "<"); run {
		what, after, _ := strings.Cut(rest, ">")
		b, count, _ := strings.Cut(what, "x")
		var k int
		if err := json.Unmarshal([]byte(count), &k); err != nil {
			t.Fatal(err)
		}
		body = before + strings.Repeat(b, k) + after
	}
	raw, err := hex.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	return raw, n
}

const vectorFile = "testdata/vectors.json"

func readVectors(t *testing.T) vectors {
	t.Helper()
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVectorsAreCurrent: the file is what this version of the protocol encodes.
func TestVectorsAreCurrent(t *testing.T) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(currentVectors()); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(vectorFile, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, out.Bytes()) {
		t.Fatal("testdata/vectors.json is not what the code encodes: raise Version, or run with -update before the first release")
	}
}

func TestFrameVectors(t *testing.T) {
	seen := map[Type]bool{}
	for _, v := range readVectors(t).Frames {
		raw, _ := expand(t, v.Hex)
		f, err := ReadFrame(bytes.NewReader(raw))
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if f.Type != v.Type || f.Flags != v.Flags || f.Stream != v.Stream || hex.EncodeToString(f.Payload) != v.Payload {
			t.Errorf("%s: %+v", v.Name, f)
		}
		if again := AppendFrame(nil, f); !bytes.Equal(again, raw) {
			t.Errorf("%s encodes to %x", v.Name, again)
		}
		seen[f.Type] = true
		if v.Message == nil {
			continue
		}
		m, err := decode(f.Type, f.Payload)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if back, _ := json.Marshal(m); !bytes.Equal(back, f.Payload) {
			t.Errorf("%s: %s became %s", v.Name, f.Payload, back)
		}
	}
	for typ := range rules {
		if !seen[typ] {
			t.Errorf("no vector of frame type %v", typ)
		}
	}
}

func ruleOf(err error) string {
	var p *ProtocolError
	if errors.As(err, &p) {
		return p.Rule
	}
	return ""
}

func TestBrokenVectors(t *testing.T) {
	for _, v := range readVectors(t).Broken {
		raw, _ := expand(t, v.Hex)
		if _, err := ReadFrame(bytes.NewReader(raw)); ruleOf(err) != v.Rule {
			t.Errorf("%s: %v, want rule %s", v.Name, err, v.Rule)
		}
	}
}

// TestConversationVectors: the receiver takes every frame but the last and
// refuses that one by its rule.
func TestConversationVectors(t *testing.T) {
	for _, v := range readVectors(t).Conversations {
		t.Run(v.Name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			opt, hello := Options{Side: Broker}, Hello{Protocol: Version, Peer: "engine"}
			if v.Receiver == "engine" {
				opt.Side, hello.Peer = Engine, "broker"
			}
			c := New(ours, opt)
			defer c.Close()
			go io.Copy(io.Discard, theirs)
			go theirs.Write(AppendFrame(nil, jsonFrame(TypeHello, hello)))
			if _, err := c.Handshake(t.Context(), Hello{}); err != nil {
				t.Fatal(err)
			}
			for i, f := range v.Frames {
				raw, times := expand(t, f)
				for range times {
					if _, err := theirs.Write(raw); err != nil {
						t.Fatalf("frame %d: refused too early by %v", i, c.Err())
					}
				}
			}
			<-c.Done()
			if ruleOf(c.Err()) != v.Rule {
				t.Fatalf("%v, want rule %s", c.Err(), v.Rule)
			}
			if _, err := c.Receive(t.Context()); ruleOf(err) != v.Rule {
				t.Fatalf("Receive after the violation: %v", err)
			}
		})
	}
}
