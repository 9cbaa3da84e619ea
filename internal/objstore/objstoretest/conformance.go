package objstoretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// Store says what the tested store itself cannot do.
type Store struct {
	// CleansPaths: it keeps objects as files and takes "a//b" for "a/b".
	CleansPaths bool
	// MarkersBlock: with versions, the marker of a deletion counts as an object
	// for a create-only write. AWS does not do so.
	MarkersBlock bool
	// Refuses reports keys that the store would keep under another name; the driver
	// must refuse them.
	Refuses func(key string) bool
}

// Conformance checks the promises of objstore.Bucket. open returns a Bucket and
// a prefix below which nothing exists yet.
func Conformance(t *testing.T, store Store, open func(t *testing.T) (b objstore.Bucket, prefix string)) {
	remove := func(t *testing.T, b objstore.Bucket, prefix string) { deletion(t, b, prefix, store) }
	keys := func(t *testing.T, b objstore.Bucket, prefix string) { oddNames(t, b, prefix, store) }
	tests := []struct {
		name string
		run  func(*testing.T, objstore.Bucket, string)
	}{
		{"RoundTrip", roundTrip}, {"CreateOnly", createOnly}, {"OneCreatorWins", oneCreatorWins}, {"Replace", replace},
		{"Pins", pins}, {"Ranges", ranges}, {"Keys", keys}, {"List", list}, {"Delete", remove},
		{"BadSources", badSources}, {"Absent", notThere}, {"Cancelled", cancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, prefix := open(t)
			tt.run(t, b, prefix)
		})
	}
}

// Bytes are n reproducible bytes.
func Bytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func hexSum(b []byte) string { sum := sha256.Sum256(b); return hex.EncodeToString(sum[:]) }

func create(t *testing.T, b objstore.Bucket, key string, body []byte) objstore.Info {
	t.Helper()
	info, err := b.Create(t.Context(), key, bytes.NewReader(body), objstore.PutOptions{Size: int64(len(body)), SHA256: hexSum(body)})
	if err != nil {
		t.Fatalf("create %q: %v (%v)", key, err, errors.Unwrap(err))
	}
	return info
}

func wantKind(t *testing.T, what string, err error, kind rft.Kind) {
	t.Helper()
	if _, ok := errors.AsType[*rft.Error](err); !ok || rft.KindOf(err) != kind {
		t.Errorf("%s: %v of kind %q, want %q (%v)", what, err, rft.KindOf(err), kind, errors.Unwrap(err))
	}
}

func wantChanged(t *testing.T, what string, err error) {
	t.Helper()
	wantKind(t, what, err, rft.KindFailedPrecondition)
	if !errors.Is(err, objstore.ErrChanged) {
		t.Errorf("%s: not ErrChanged: %v", what, err)
	}
}

func wantBytes(t *testing.T, b objstore.Bucket, key string, pin objstore.Pin, want []byte) {
	t.Helper()
	got, err := ReadAll(t, b, key, pin)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q: %d bytes, want %d: %v", key, len(got), len(want), err)
	}
}

// roundTrip writes bodies of one request and of many parts, of known and of
// unknown size, and reads them back.
func roundTrip(t *testing.T, b objstore.Bucket, prefix string) {
	for i, n := range []int{0, 1, 1000, 5 << 20, 5<<20 + 1, 12<<20 + 345} {
		body := Bytes(uint64(i), n)
		for _, known := range []bool{true, false} {
			key := fmt.Sprintf("%strip/%d-%v", prefix, n, known)
			o := objstore.PutOptions{Size: int64(n), ContentType: "application/x-test", SHA256: hexSum(body)}
			if !known {
				o = objstore.PutOptions{Size: -1}
			}
			made, err := b.Create(t.Context(), key, iotest.HalfReader(bytes.NewReader(body)), o)
			if err != nil {
				t.Fatalf("%d bytes: %v (%v)", n, err, errors.Unwrap(err))
			}
			info, err := b.Stat(t.Context(), key)
			if err != nil || info.Pin != made.Pin || info.Pin.Size != int64(n) || info.Key != key || info.Modified.IsZero() {
				t.Errorf("%d bytes: stat %+v, create said %+v: %v", n, info, made, err)
			}
			if info.Pin.ETag == "" && info.Pin.Version == "" {
				t.Error("the pin pins nothing")
			}
			wantBytes(t, b, key, info.Pin, body)
			wantBytes(t, b, key, objstore.Pin{}, body)
		}
	}
}

func createOnly(t *testing.T, b objstore.Bucket, prefix string) {
	for _, n := range []int{10, 11 << 20} {
		key, body := fmt.Sprint(prefix, "once/", n), Bytes(1, n)
		create(t, b, key, body)
		_, err := b.Create(t.Context(), key, bytes.NewReader(Bytes(2, n)), objstore.PutOptions{Size: int64(n)})
		wantKind(t, "second create", err, rft.KindAlreadyExists)
		wantBytes(t, b, key, objstore.Pin{}, body)
	}
}

// oneCreatorWins lets several writers create the same key at once, with bodies
// of one request and of several parts.
func oneCreatorWins(t *testing.T, b objstore.Bucket, prefix string) {
	for _, n := range []int{100, 6 << 20} {
		key := fmt.Sprint(prefix, "race/", n)
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = b.Create(t.Context(), key, bytes.NewReader(Bytes(uint64(i), n)), objstore.PutOptions{Size: int64(n)})
			})
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			if err == nil && winner >= 0 {
				t.Errorf("%d and %d both won", winner, i)
			}
			if err == nil {
				winner = i
			} else {
				wantKind(t, "loser", err, rft.KindAlreadyExists)
			}
		}
		if winner < 0 {
			t.Fatal("nobody won")
		}
		wantBytes(t, b, key, objstore.Pin{}, Bytes(uint64(winner), n))
	}
}

func replace(t *testing.T, b objstore.Bucket, prefix string) {
	for _, n := range []int{20, 6 << 20} {
		key := fmt.Sprint(prefix, "replace/", n)
		first := create(t, b, key, Bytes(1, n))
		put := func(pin objstore.Pin, seed uint64) (objstore.Info, error) {
			return b.Replace(t.Context(), key, pin, bytes.NewReader(Bytes(seed, n)), objstore.PutOptions{Size: int64(n)})
		}
		second, err := put(first.Pin, 2)
		if err != nil || second.Pin == first.Pin {
			t.Fatalf("replace: %+v after %+v: %v", second.Pin, first.Pin, err)
		}
		_, err = put(first.Pin, 3)
		wantChanged(t, "replace with the old pin", err)
		wantBytes(t, b, key, second.Pin, Bytes(2, n))
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		_, err = put(second.Pin, 4)
		wantChanged(t, "replace of nothing", err)
		if _, err := b.Stat(t.Context(), key); rft.KindOf(err) != rft.KindNotFound {
			t.Errorf("a refused replacement left something: %v", err)
		}
	}
}

// pins checks that an old pin gives the old bytes (a store that keeps versions)
// or ErrChanged, and never other bytes.
func pins(t *testing.T, b objstore.Bucket, prefix string) {
	key, old, fresh := prefix+"pin", Bytes(1, 4000), Bytes(2, 4000)
	was := create(t, b, key, old).Pin
	now, err := b.Replace(t.Context(), key, was, bytes.NewReader(fresh), objstore.PutOptions{Size: 4000})
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		switch got, err := ReadAll(t, b, key, was); {
		case err == nil && was.Version != "" && bytes.Equal(got, old):
		case err == nil:
			t.Errorf("%s: the old pin reads %d bytes", when, len(got))
		default:
			wantChanged(t, when, err)
		}
	}
	check("replaced")
	wantBytes(t, b, key, now.Pin, fresh)
	for _, wrong := range []objstore.Pin{{Size: 4001, ETag: now.Pin.ETag, Version: now.Pin.Version}, {Size: 4000, ETag: `"0123"`}, {Size: 4000, Version: "99"}} {
		_, err := ReadAll(t, b, key, wrong)
		wantChanged(t, fmt.Sprintf("pin %+v", wrong), err)
	}
	if err := b.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	check("deleted")
}

func ranges(t *testing.T, b objstore.Bucket, prefix string) {
	key, body := prefix+"ranges", Bytes(3, 100_000)
	pin := create(t, b, key, body).Pin
	for _, r := range []struct{ offset, length, want int64 }{
		{0, -1, 100_000}, {0, 0, 0}, {0, 1, 1}, {99_999, 1, 1}, {99_999, -1, 1}, {50_000, 10, 10},
		{100_000, -1, 0}, {100_000, 5, 0}, {99_990, 1000, 10}, {1, 99_998, 99_998},
	} {
		got := readRange(t, b, key, pin, r.offset, r.length)
		if !bytes.Equal(got, body[r.offset:r.offset+r.want]) {
			t.Errorf("%d+%d: %d bytes, want %d", r.offset, r.length, len(got), r.want)
		}
	}
	for _, offset := range []int64{-1, 100_001, 1 << 50} {
		_, err := b.Open(t.Context(), key, pin, offset, -1)
		wantKind(t, fmt.Sprint("offset ", offset), err, rft.KindOutOfRange)
	}
}

func readRange(t *testing.T, b objstore.Bucket, key string, pin objstore.Pin, offset, length int64) []byte {
	t.Helper()
	r, err := b.Open(t.Context(), key, pin, offset, length)
	if err != nil {
		t.Fatalf("%d+%d: %v (%v)", offset, length, err, errors.Unwrap(err))
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%d+%d: %v", offset, length, err)
	}
	return got
}

// OddKeys are names that careless code rewrites.
var OddKeys = []string{
	"a b", " lead", "trail ", "plus+plus", "per%cent", "per%20cent", "%2e%2e", "ha#sh", "que?ry=1&x", "a;b=c", "ünïcödé", "日本語", "🙂", "e\u0301",
	"semi:colon", "back\\slash", "quo\"te", "apo'strophe", "star*", "br[ack]et", "cur{l}y", "pi|pe", "less<more>", "am&amp;", "til~de", "ca^ret", "dollar$",
	"dots..inside", "...", ".hidden", "dir/./x", "dir/../x", "../up", "a//b", "/lead", "x/", "__0x2f__", "CON", "-", "a/b/c/d/e/f",
}

// oddNames checks that every key is kept byte for byte or refused; never is
// another object touched.
func oddNames(t *testing.T, b objstore.Bucket, prefix string, store Store) {
	prefix += "keys/"
	var made []string
	for i, odd := range OddKeys {
		if store.CleansPaths && !plain(odd) {
			continue
		}
		key, body := prefix+odd, Bytes(uint64(i), 100+i)
		_, err := b.Create(t.Context(), key, bytes.NewReader(body), objstore.PutOptions{Size: int64(len(body))})
		if err != nil {
			if k := rft.KindOf(err); k == rft.KindAlreadyExists || k == rft.KindUnavailable || k == rft.KindInternal || plain(odd) && (store.Refuses == nil || !store.Refuses(odd)) {
				t.Errorf("%q: %v (%v)", odd, err, errors.Unwrap(err))
			}
			continue
		}
		made = append(made, key)
		info, err := b.Stat(t.Context(), key)
		if err != nil || info.Key != key {
			t.Errorf("%q: stat says %q: %v", key, info.Key, err)
		}
	}
	listed := listKeys(t, b, prefix, "")
	slices.Sort(made)
	if !slices.Equal(listed, made) {
		t.Errorf("listed %q\nmade   %q", listed, made)
	}
	for i, odd := range OddKeys {
		if slices.Contains(made, prefix+odd) {
			wantBytes(t, b, prefix+odd, objstore.Pin{}, Bytes(uint64(i), 100+i))
		}
	}
}

// plain reports whether every store must accept the key: its path has no empty
// or dotted segments.
func plain(key string) bool {
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func listKeys(t *testing.T, b objstore.Bucket, prefix, after string) []string {
	t.Helper()
	var got []string
	err := b.List(t.Context(), prefix, after, func(i objstore.Info) error {
		if i.Pin.Version == "" && i.Pin.ETag == "" {
			t.Errorf("%q is listed without a pin", i.Key)
		}
		got = append(got, i.Key)
		return nil
	})
	if err != nil {
		t.Fatalf("list: %v (%v)", err, errors.Unwrap(err))
	}
	return got
}

func list(t *testing.T, b objstore.Bucket, prefix string) {
	prefix += "list/"
	all := []string{"a", "a-b", "a.b", "ab/c", "ab0", "b/a/1", "b/a/2", "b/b", "z"}
	for i := range all {
		all[i] = prefix + all[i]
		create(t, b, all[i], []byte("x"))
	}
	slices.Sort(all)
	for _, tt := range []struct{ prefix, after string }{
		{"", ""}, {"a", ""}, {"ab", ""}, {"b/", ""}, {"b/a/", "b/a/1"}, {"", "a"}, {"", "a-b"}, {"", "ab/c"}, {"", "ab/"}, {"", "zz"}, {"b", "a"}, {"none", ""}, {"b/a/1", ""},
	} {
		var want []string
		for _, k := range all {
			if strings.HasPrefix(k, prefix+tt.prefix) && (tt.after == "" || k > prefix+tt.after) {
				want = append(want, k)
			}
		}
		after := ""
		if tt.after != "" {
			after = prefix + tt.after
		}
		if got := listKeys(t, b, prefix+tt.prefix, after); !slices.Equal(got, want) {
			t.Errorf("prefix %q after %q: %q, want %q", tt.prefix, tt.after, got, want)
		}
	}
	stop, n := errors.New("enough"), 0
	err := b.List(t.Context(), prefix, "", func(objstore.Info) error { n++; return stop })
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("yield's error: %v after %d", err, n)
	}
}

func deletion(t *testing.T, b objstore.Bucket, prefix string, store Store) {
	key := prefix + "gone"
	create(t, b, key, []byte("x"))
	for range 2 {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := b.Stat(t.Context(), key); rft.KindOf(err) != rft.KindNotFound {
		t.Errorf("after delete: %v", err)
	}
	if !store.MarkersBlock {
		create(t, b, key, []byte("again"))
	}
}

// badSources feeds readers that fail, that hold other bytes than announced, or
// another number; nothing may be left of them.
func badSources(t *testing.T, b objstore.Bucket, prefix string) {
	trouble := errors.New("disk on fire")
	for _, n := range []int{100, 13 << 20} {
		body := Bytes(5, n)
		for name, tt := range map[string]struct {
			r    io.Reader
			o    objstore.PutOptions
			kind rft.Kind
		}{
			"fails":     {io.MultiReader(bytes.NewReader(body), iotest.ErrReader(trouble)), objstore.PutOptions{Size: -1}, rft.KindInternal},
			"kind":      {io.MultiReader(bytes.NewReader(body), iotest.ErrReader(rft.Errorf(rft.KindAborted, "lost"))), objstore.PutOptions{Size: -1}, rft.KindAborted},
			"too long":  {bytes.NewReader(body), objstore.PutOptions{Size: int64(n - 1)}, rft.KindDataLoss},
			"too short": {bytes.NewReader(body), objstore.PutOptions{Size: int64(n + 1)}, rft.KindDataLoss},
			"digest":    {bytes.NewReader(body), objstore.PutOptions{Size: int64(n), SHA256: hexSum(body[1:])}, rft.KindDataLoss},
		} {
			key := fmt.Sprint(prefix, "bad/", name, n)
			_, err := b.Create(t.Context(), key, tt.r, tt.o)
			wantKind(t, name, err, tt.kind)
			if name == "fails" && !errors.Is(err, trouble) {
				t.Errorf("the source's error is lost: %v", err)
			}
			if _, err := b.Stat(t.Context(), key); rft.KindOf(err) != rft.KindNotFound {
				t.Errorf("%s, %d bytes: something is left: %v", name, n, err)
			}
		}
	}
	if left := listKeys(t, b, prefix, ""); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func notThere(t *testing.T, b objstore.Bucket, prefix string) {
	key := prefix + "nothing/here"
	_, err := b.Stat(t.Context(), key)
	wantKind(t, "stat", err, rft.KindNotFound)
	_, err = b.Open(t.Context(), key, objstore.Pin{}, 0, -1)
	wantKind(t, "open", err, rft.KindNotFound)
	_, err = b.Open(t.Context(), key, objstore.Pin{Size: 3, Version: "1", ETag: `"x"`}, 0, -1)
	wantChanged(t, "open pinned", err)
	if got := listKeys(t, b, prefix+"nothing/", ""); len(got) != 0 {
		t.Errorf("listed %q", got)
	}
	_, err = b.Stat(t.Context(), "")
	wantKind(t, "no key", err, rft.KindInvalidArgument)
}

// cancelled ends the context while a body is written and while one is read.
func cancelled(t *testing.T, b objstore.Bucket, prefix string) {
	ctx, cancel := context.WithCancel(t.Context())
	body := Bytes(7, 12<<20)
	half := io.MultiReader(bytes.NewReader(body[:6<<20]), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }), bytes.NewReader(body[6<<20:]))
	_, err := b.Create(ctx, prefix+"cancelled", half, objstore.PutOptions{Size: -1})
	wantKind(t, "create", err, rft.KindCancelled)
	if _, err := b.Stat(t.Context(), prefix+"cancelled"); rft.KindOf(err) != rft.KindNotFound {
		t.Errorf("something is left: %v", err)
	}
	pin := create(t, b, prefix+"whole", body).Pin
	ctx, cancel = context.WithCancel(t.Context())
	r, err := b.Open(ctx, prefix+"whole", pin, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = io.Copy(io.Discard, r)
	wantKind(t, "read", err, rft.KindCancelled)
	_, err = b.Stat(ctx, prefix+"whole")
	wantKind(t, "stat", err, rft.KindCancelled)
}

// readerFunc is a Reader that is called once with each Read until it errs; one
// that returns nothing gives way to the next of a MultiReader by EOF.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) {
	n, err := f(p)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}
