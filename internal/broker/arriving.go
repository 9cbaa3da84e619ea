package broker

import (
	"io"
	"sync"
)

// arriving is a blob that comes: what of it is here can be read while the rest does.
// One goroutine writes it.
type arriving struct {
	mu      sync.Mutex
	changed sync.Cond // on mu
	data    []byte    // what is here never changes
	err     error     // io.EOF behind the last byte
}

// newArriving returns a blob of about size bytes.
func newArriving(size int64) *arriving {
	a := &arriving{data: make([]byte, 0, size)}
	a.changed.L = &a.mu
	return a
}

// Write implements io.Writer.
func (a *arriving) Write(p []byte) (int, error) {
	more := append(a.data, p...)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.data = more
	a.changed.Broadcast()
	return len(p), nil
}

// end says that all is here, or why the rest does not come.
func (a *arriving) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err = err; err == nil {
		a.err = io.EOF
	}
	a.changed.Broadcast()
}

// WriteTo implements io.WriterTo; it ends with the blob.
func (a *arriving) WriteTo(w io.Writer) (int64, error) {
	for at := 0; ; {
		a.mu.Lock()
		for a.err == nil && len(a.data) == at {
			a.changed.Wait()
		}
		piece, err := a.data[at:], a.err
		a.mu.Unlock()
		n, failed := w.Write(piece)
		switch at += n; {
		case failed != nil:
			return int64(at), failed
		case err == io.EOF:
			return int64(at), nil
		case err != nil:
			return int64(at), err
		}
	}
}
