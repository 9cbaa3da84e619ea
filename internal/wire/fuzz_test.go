package wire

import (
	"bytes"
	"io"
	"testing"
	"time"
)

// FuzzFrame: any bytes are refused by a rule or are a frame that encodes to the
// same bytes.
func FuzzFrame(f *testing.F) {
	for _, g := range goldenFrames() {
		f.Add(AppendFrame(nil, g.f))
	}
	for _, b := range brokenFrames() {
		f.Add(b.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := ReadFrame(bytes.NewReader(b))
		if err != nil {
			if err != io.EOF && ruleOf(err) == "" {
				t.Fatalf("%v names no rule", err)
			}
			return
		}
		if again := AppendFrame(nil, frame); !bytes.HasPrefix(b, again) {
			t.Fatalf("%x encodes to %x", b, again)
		}
	})
}

// fuzzPipe gives the fuzzer's bytes and swallows answers.
type fuzzPipe struct{ io.Reader }

func (fuzzPipe) Write(p []byte) (int, error) { return len(p), nil }
func (fuzzPipe) Close() error                { return nil }

// FuzzConversation plays frames with a right checksum to both sides and reads
// whatever they accept: nothing may crash, wait for ever or hold more than the
// credit allows.
func FuzzConversation(f *testing.F) {
	for _, c := range conversations() {
		var all []byte
		for _, text := range c.frames {
			if len(text) > 1<<12 {
				continue
			}
			raw, _ := expand(&testing.T{}, text)
			all = append(all, raw...)
		}
		f.Add(c.receiver == "broker", all)
	}
	f.Fuzz(func(t *testing.T, broker bool, script []byte) {
		opt := Options{Side: Engine}
		if broker {
			opt.Side = Broker
		}
		c := New(fuzzPipe{io.MultiReader(bytes.NewReader(AppendFrame(nil, jsonFrame(TypeHello, Hello{Protocol: Version}))), bytes.NewReader(mend(script)))}, opt)
		if _, err := c.Handshake(t.Context(), Hello{}); err != nil {
			t.Fatal(err)
		}
		stuck := time.AfterFunc(20*time.Second, func() { panic("the conversation does not end") })
		defer stuck.Stop()
		for {
			m, err := c.Receive(t.Context())
			if err != nil {
				return
			}
			if in, ok := m.(*Inbound); ok {
				_, _ = io.Copy(io.Discard, in)
			}
		}
	})
}

// mend cuts a script into frames and gives each the checksum it needs.
func mend(script []byte) []byte {
	var out []byte
	for len(script) >= HeaderLen {
		n := min(int(script[0])|int(script[1])<<8, len(script)-HeaderLen)
		out = AppendFrame(out, Frame{Type: Type(script[4] % 24), Flags: script[5] % 4, Stream: uint32(script[8] % 16), Payload: script[HeaderLen : HeaderLen+n]})
		script = script[HeaderLen+n:]
	}
	return out
}
