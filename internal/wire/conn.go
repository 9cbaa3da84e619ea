package wire

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// ErrClosed is what a connection ends with when the peer closed it between
// frames. Messages that arrived before are still received.
var ErrClosed = errors.New("the peer closed the connection")

// ErrSilent is what a connection ends with when the peer sent no whole frame
// for Options.Silence.
var ErrSilent = errors.New("the peer has stopped responding")

// maxStreams bounds the incoming streams that are unfinished or hold bytes.
const maxStreams = 8

// Options configure one end of a connection.
type Options struct {
	Side Side
	// Urgent gets Threads and Cancel as they arrive, ahead of everything that
	// waits in the inbox. It runs on the reading goroutine and must not block.
	Urgent func(m any)
	// Heartbeat is the time between heartbeats that this end sends; 0 = none.
	Heartbeat time.Duration
	// Silence is the longest time without a frame from the peer; 0 = any.
	Silence time.Duration
}

// Conn is one end of a connection. Send, Receive and streams may be used by
// several goroutines; only one of them should Receive.
type Conn struct {
	rw  io.ReadWriteCloser
	opt Options

	turn chan struct{} // holds one token: the right to send ordered frames

	writeMu sync.Mutex
	wbuf    []byte

	mu      sync.Mutex
	changed *sync.Cond       // anything below changed
	err     error            // why the connection ended
	credit  map[uint32]int64 // what we may send: 0 = ordered frames, else a stream of ours
	nextOut uint32           // id of our next stream
	lastIn  uint32           // id of the peer's latest stream
	in      map[uint32]*Inbound
	heavy   int // incoming streams that are unfinished or hold bytes
	inbox   []received
	window  int64 // what the peer may still send in ordered frames
	owed    int64 // consumed ordered bytes that no Credit returned yet
	tasked  bool  // a Task went by, either way
	grouped bool  // the peer's last ordered frame was a Group with More
	ended   bool  // the peer sent its last frame
	seen    time.Time
	done    chan struct{} // closed with err set
}

// received is an ordered frame in the inbox.
type received struct {
	message any // Group for the first frame of a group, groupPiece for others
	more    bool
	cost    int64
}

type groupPiece []byte

// New prepares a connection over rw, which it owns. Call Handshake next.
func New(rw io.ReadWriteCloser, opt Options) *Conn {
	c := &Conn{
		rw: rw, opt: opt, turn: make(chan struct{}, 1), credit: map[uint32]int64{0: InitialCredit}, nextOut: 1,
		in: map[uint32]*Inbound{}, window: InitialCredit, seen: time.Now(), done: make(chan struct{}),
	}
	if opt.Side == Engine {
		c.nextOut = 2
	}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// Handshake exchanges hellos, the engine's first, and starts the connection.
// On an error the connection is closed.
func (c *Conn) Handshake(ctx context.Context, own Hello) (Hello, error) {
	own.Protocol = Version
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	peer, err := c.hello(own)
	if err != nil {
		c.fail(err)
		return Hello{}, c.Err()
	}
	go c.read()
	if c.opt.Heartbeat > 0 {
		go c.beat()
	}
	if c.opt.Silence > 0 {
		go c.watch()
	}
	return peer, nil
}

func (c *Conn) hello(own Hello) (peer Hello, err error) {
	if c.opt.Side == Engine {
		if err := c.writeJSON(TypeHello, own); err != nil {
			return peer, err
		}
	}
	f, err := ReadFrame(c.rw)
	if err != nil {
		return peer, closedEarly(err)
	}
	if f.Type != TypeHello {
		return peer, violation("no-hello", "the connection begins with frame type %d", f.Type)
	}
	m, err := decode(f.Type, f.Payload)
	if err != nil {
		return peer, err
	}
	if peer = m.(Hello); peer.Protocol != Version {
		return peer, violation("version", "the peer speaks version %d of the protocol, this side version %d", peer.Protocol, Version)
	}
	if c.opt.Side == Broker {
		err = c.writeJSON(TypeHello, own)
	}
	return peer, err
}

func closedEarly(err error) error {
	if err == io.EOF {
		return ErrClosed
	}
	return err
}

// Close ends the connection. Err is then ErrClosed unless it had failed before.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	return nil
}

// Err says why the connection ended, nil while it lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

func (c *Conn) fail(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
		close(c.done)
		c.changed.Broadcast()
	}
	c.mu.Unlock()
	if first {
		c.rw.Close()
	}
}

// beat sends heartbeats. It has its own goroutine so that a busy engine still
// shows that it lives.
func (c *Conn) beat() {
	t := time.NewTicker(c.opt.Heartbeat)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-t.C:
			if c.writeFrame(Frame{Type: TypeHeartbeat}) != nil {
				return
			}
		}
	}
}

// watch ends the connection when the peer is silent. A frame that never
// completes is silence too.
func (c *Conn) watch() {
	t := time.NewTicker(c.opt.Silence / 4)
	defer t.Stop()
	for {
		select {
		case <-c.done:
			return
		case now := <-t.C:
			c.mu.Lock()
			silent := now.Sub(c.seen) > c.opt.Silence
			c.mu.Unlock()
			if silent {
				c.fail(ErrSilent)
				return
			}
		}
	}
}
