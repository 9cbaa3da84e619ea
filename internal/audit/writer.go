package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"
)

// batches are the sizes in which entries are handed to Tessera, and never wanted
// in flights larger than one: a batch that fails must not be overtaken by the
// next, or entries would not lie in the order of their numbers. Tessera ends a
// batch by its size or its age. An appender per size ends each by its size, the
// moment that it is whole: nothing waits for a timer, and nothing is split.
var batches = []int{256, 64, 16, 4, 1}

const (
	// headEvery is the shortest time between two tree heads.
	headEvery = 200 * time.Millisecond
	// never is a time that no process lives to see.
	never = 10000 * time.Hour
)

// writer appends entries to a log on disk. It is not safe for concurrent use.
type writer struct {
	dir    string
	add    map[int]tessera.AddFn
	reader tessera.LogReader
	stop   context.CancelFunc
}

// appending is what Tessera's drivers do for its append lifecycle. It is called
// without tessera.NewAppender, whose statistics would read the disk ten times a
// second for each appender.
type appending interface {
	Appender(context.Context, *tessera.AppendOptions) (*tessera.Appender, tessera.LogReader, error)
}

// openWriter opens the log in dir, making it when there is none.
func openWriter(dir string, signer note.Signer, log *slog.Logger) (*writer, error) {
	routeLibraryLog(log)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &writer{dir: dir, add: map[int]tessera.AddFn{}, stop: stop}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		stop()
		return nil, err
	}
	d, ok := driver.(appending)
	if !ok {
		stop()
		return nil, errors.New("audit: the library's driver cannot append")
	}
	for _, size := range batches {
		o := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithBatching(uint(size), never).WithCheckpointRepublishInterval(0)
		if size == 1 { // one of them signs and tidies for all
			o = o.WithCheckpointInterval(headEvery)
		} else {
			o = o.WithCheckpointInterval(never).WithGarbageCollectionInterval(0)
		}
		a, reader, err := d.Appender(ctx, o)
		if err != nil {
			stop()
			return nil, err
		}
		w.add[size], w.reader = a.Add, reader
	}
	return w, nil
}

// size is how many entries are durably in the log.
func (w *writer) size(ctx context.Context) (int64, error) {
	n, err := w.reader.IntegratedSize(ctx)
	return int64(n), err
}

// head is the text of the newest signed tree head.
func (w *writer) head(ctx context.Context) ([]byte, error) { return w.reader.ReadCheckpoint(ctx) }

// append adds entries behind the first at of the log and returns when they are
// durable. On an error some of them may be: size says how many.
func (w *writer) append(ctx context.Context, at int64, leaves [][]byte) error {
	if err := w.lockable(); err != nil {
		return err
	}
	for _, size := range batches {
		for len(leaves) >= size {
			if err := w.batch(ctx, at, leaves[:size]); err != nil {
				return err
			}
			at, leaves = at+int64(size), leaves[size:]
		}
	}
	return nil
}

// batch adds one batch.
func (w *writer) batch(ctx context.Context, at int64, leaves [][]byte) error {
	futures := make([]tessera.IndexFuture, len(leaves))
	add := w.add[len(leaves)]
	for i, leaf := range leaves {
		futures[i] = add(ctx, tessera.NewEntry(leaf))
	}
	for i, f := range futures {
		index, err := await(ctx, f)
		if err != nil {
			return err
		}
		if int64(index.Index) != at+int64(i) {
			return fmt.Errorf("audit: entry %d was put at index %d", at+int64(i), index.Index)
		}
	}
	return nil
}

// await waits for a future, or for ctx: a disk that hangs must not hang callers.
func await(ctx context.Context, f tessera.IndexFuture) (tessera.Index, error) {
	type answer struct {
		index tessera.Index
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		index, err := f()
		done <- answer{index, err}
	}()
	select {
	case a := <-done:
		return a.index, a.err
	case <-ctx.Done():
		return tessera.Index{}, ctx.Err()
	}
}

// lockable opens and closes the file that the library locks for each batch: the
// library ends the process when it cannot, an error here only fails the batch.
func (w *writer) lockable() error {
	f, err := os.OpenFile(filepath.Join(w.dir, ".state", "probe.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// close ends the log's background work once a tree head covers every entry, or
// ctx ends.
func (w *writer) close(ctx context.Context, covered func() bool) {
	t := time.NewTicker(headEvery / 8)
	defer t.Stop()
	for !covered() {
		select {
		case <-ctx.Done():
			w.stop()
			return
		case <-t.C:
		}
	}
	w.stop()
}

var routed sync.Once

// routeLibraryLog sends what the library logs, warnings and worse, to log: its
// own output would go unformatted to standard error.
func routeLibraryLog(log *slog.Logger) {
	routed.Do(func() { klog.SetSlogLogger(slog.New(warnings{log.Handler()})) })
}

// warnings is a handler that drops what is of less weight.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && w.Handler.Enabled(ctx, l)
}

func (w warnings) WithAttrs(a []slog.Attr) slog.Handler { return warnings{w.Handler.WithAttrs(a)} }

func (w warnings) WithGroup(g string) slog.Handler { return warnings{w.Handler.WithGroup(g)} }
