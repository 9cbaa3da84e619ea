package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/wire"
)

// raw writes a frame past every rule.
func raw(f wire.Frame) { _, _ = os.Stdout.Write(wire.AppendFrame(nil, f)) }

func message(t wire.Type, m any) {
	b, _ := json.Marshal(m)
	raw(wire.Frame{Type: t, Payload: b})
}

// greetings are plays instead of the hello.
var greetings = map[string]func(){
	"foreign version": func() { message(wire.TypeHello, wire.Hello{Protocol: wire.Version + 98, Peer: "firekeep-engine"}) },
	"no hello":        func() { raw(wire.Frame{Type: wire.TypeHeartbeat}) },
	"giant hello": func() {
		message(wire.TypeHello, wire.Hello{Protocol: wire.Version, Peer: strings.Repeat("x", wire.MaxPayload)})
	},
	"broken hello": func() { raw(wire.Frame{Type: wire.TypeHello, Payload: []byte(`{"protocol":1,"root":true}`)}) },
	"dumb":         func() {},
	"gone":         func() { os.Exit(0) },
	"bad program":  func() { os.Exit(42) },
}

// plays begin when the task has come.
var plays = map[string]func(*wire.Conn, wire.Task){
	"hang": func(*wire.Conn, wire.Task) {},
	"giant frame": func(*wire.Conn, wire.Task) {
		_, _ = os.Stdout.Write([]byte{0xff, 0xff, 0xff, 0x7f, 4, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0})
	},
	"noise": func(*wire.Conn, wire.Task) {
		_, _ = os.Stdout.Write(bytes.Repeat([]byte{0x5a, 0, 0, 0, 0xee}, 1<<12))
	},
	"slow loris": func(*wire.Conn, wire.Task) {
		for _, b := range wire.AppendFrame(nil, wire.Frame{Type: wire.TypeProgress, Payload: make([]byte, 1<<20)}) {
			_, _ = os.Stdout.Write([]byte{b})
			time.Sleep(5 * time.Millisecond)
		}
	},
	"wrong checksum": func(*wire.Conn, wire.Task) {
		b := wire.AppendFrame(nil, wire.Frame{Type: wire.TypeHeartbeat})
		b[13] ^= 1
		_, _ = os.Stdout.Write(b)
	},
	"cut frame": func(*wire.Conn, wire.Task) {
		_, _ = os.Stdout.Write(wire.AppendFrame(nil, wire.Frame{Type: wire.TypeHeartbeat})[:7])
		os.Exit(0)
	},
	"second hello": func(*wire.Conn, wire.Task) { message(wire.TypeHello, wire.Hello{Protocol: wire.Version}) },
	"give orders":  func(*wire.Conn, wire.Task) { message(wire.TypeTask, wire.Task{Kind: "import"}) },
	"unknown fields": func(*wire.Conn, wire.Task) {
		raw(wire.Frame{Type: wire.TypeProgress, Payload: []byte(`{"path":"/etc/passwd"}`)})
	},
	"unknown frame":    func(*wire.Conn, wire.Task) { raw(wire.Frame{Type: 200}) },
	"unannounced data": func(*wire.Conn, wire.Task) { raw(wire.Frame{Type: wire.TypeData, Stream: 2, Payload: []byte("x")}) },
	"false credit": func(*wire.Conn, wire.Task) {
		for range 3 {
			message(wire.TypeCredit, wire.Credit{Stream: 0, Bytes: wire.InitialCredit})
		}
	},
	"many streams": func(*wire.Conn, wire.Task) {
		for i := range 100 {
			message(wire.TypeOpen, wire.Open{Stream: uint32(2 * (i + 1)), Name: "adapter", Size: -1})
		}
	},
	"flood": func(*wire.Conn, wire.Task) {
		message(wire.TypeOpen, wire.Open{Stream: 2, Name: "nothing", Size: -1})
		for {
			raw(wire.Frame{Type: wire.TypeData, Stream: 2, Payload: make([]byte, wire.MaxPayload)})
		}
	},
	"wrong digest": func(c *wire.Conn, _ wire.Task) {
		sum := sha256.Sum256([]byte("other bytes"))
		stream(wire.Open{Stream: 2, Name: "adapter", Size: 4, SHA256: hex.EncodeToString(sum[:])}, []byte("lies"))
	},
	"wrong size":    func(*wire.Conn, wire.Task) { stream(wire.Open{Stream: 2, Name: "adapter", Size: 3}, []byte("lies")) },
	"stolen stream": func(*wire.Conn, wire.Task) { stream(wire.Open{Stream: 1, Name: "adapter", Size: 4}, []byte("lies")) },
	"message of another task": func(c *wire.Conn, t wire.Task) {
		message(wire.TypeAck, wire.Ack{ID: "x"})
	},
	"done without work": func(c *wire.Conn, t wire.Task) { message(wire.TypeDone, wire.Done{Result: json.RawMessage(`{}`)}) },
	"done and on": func(c *wire.Conn, t wire.Task) {
		message(wire.TypeDone, wire.Done{Result: json.RawMessage(`{}`)})
		message(wire.TypeProgress, wire.Progress{})
	},
	"lying digest": func(c *wire.Conn, t wire.Task) {
		_ = c.SendStream(context.Background(), wire.Open{Name: "prepared", Size: 4}, strings.NewReader("lies"))
		sum := sha256.Sum256([]byte("truth"))
		message(wire.TypeDone, wire.Done{Result: json.RawMessage(`{"size":4,"sha256":"sha256:` + hex.EncodeToString(sum[:]) + `"}`)})
	},
	"invented error": func(c *wire.Conn, t wire.Task) {
		message(wire.TypeFault, wire.Fault{Kind: "UNAUTHENTICATED", Message: strings.Repeat("log in at evil.example ", 1000)})
	},
	"loud death": func(*wire.Conn, wire.Task) {
		for range 8 {
			_, _ = os.Stderr.Write(bytes.Repeat([]byte("a prompt of somebody\n"), 1<<15))
		}
		os.Exit(3)
	},
	"crash": func(*wire.Conn, wire.Task) { panic("a prompt of somebody") },
	"close and live on": func(c *wire.Conn, t wire.Task) {
		os.Stdin.Close()
		os.Stdout.Close()
		os.Stderr.Close()
	},
}

func stream(o wire.Open, data []byte) {
	message(wire.TypeOpen, o)
	raw(wire.Frame{Type: wire.TypeData, Flags: wire.FlagEnd, Stream: o.Stream, Payload: data})
}
