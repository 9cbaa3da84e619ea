package custody_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/kms"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// service is one place where a key can be, as the suite works it.
type service struct {
	kind       string
	config     kms.Config
	services   *kms.Services // nil = made of config
	settings   string
	credential string
	// another is a second key of the same service.
	another string
	// disable and enable work the key at its service; down and up the service.
	disable, enable func()
	down, up        func()
}

// world is two accounts whose keys are at a service.
type world struct {
	t     *testing.T
	s     service
	db    *store.DB
	host  *seal.Keyring
	dir   string
	keys  *custody.Keys
	audit *recorder
	a, b  store.Account

	clock atomic.Int64 // seconds since the epoch
}

// recorder is an audit log in memory.
type recorder struct {
	mu   sync.Mutex
	acts []store.Act
	fail error
}

func (r *recorder) Record(_ context.Context, act store.Act, result string) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return 0, r.fail
	}
	r.acts = append(r.acts, act)
	return int64(len(r.acts)), nil
}

var act = store.Act{Actor: "test", Method: "Test"}

const life = 5 * time.Minute

func newWorld(t *testing.T, s service) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, s: s, dir: dir, audit: &recorder{}}
	w.clock.Store(1_800_000_000)
	var err error
	if w.db, err = store.Open(t.Context(), filepath.Join(dir, "firekeep.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close() })
	if w.host, err = seal.CreateKeyring(filepath.Join(dir, "keyring.json")); err != nil {
		t.Fatal(err)
	}
	w.keys = w.open()
	w.a, w.b = w.account("acme"), w.account("other")
	if s.kind == custody.KindLocal { // the operator takes the file away
		file := filepath.Join(dir, "keys", w.a.UID+".json")
		move := func(from, to string) func() {
			return func() {
				if err := os.Rename(from, to); err != nil {
					t.Error(err)
				}
			}
		}
		w.s.disable, w.s.enable = move(file, file+".away"), move(file+".away", file)
	}
	return w
}

// open is another process with the same home.
func (w *world) open() *custody.Keys {
	services := w.s.services
	if services == nil {
		services = &kms.Services{Config: w.s.config}
	}
	return custody.New(custody.Config{DB: w.db, Dir: filepath.Join(w.dir, "keys"), Host: w.host, Services: services, Audit: w.audit,
		Now: func() time.Time { return time.Unix(w.clock.Load(), 0) }, Life: life, Patience: 5 * time.Second})
}

func (w *world) pass(d time.Duration) { w.clock.Add(int64(d / time.Second)) }

// account makes an account whose key is the service's.
func (w *world) account(id string) store.Account {
	w.t.Helper()
	a, err := w.db.CreateAccount(w.t.Context(), store.Account{ID: id}, act)
	if err != nil {
		w.t.Fatal(err, errors.Unwrap(err))
	}
	if w.s.kind != custody.KindLocal {
		w.set(id, w.s.settings)
	}
	return a
}

func (w *world) set(account, settings string) store.AccountKey {
	w.t.Helper()
	row, err := w.keys.Set(w.t.Context(), account, custody.NewKey{Kind: w.s.kind, Settings: json.RawMessage(settings), Credential: seal.NewSecret(w.s.credential)}, act)
	if err != nil {
		w.t.Fatal(err, errors.Unwrap(err))
	}
	return row
}

// put seals a word as an artefact and returns its envelope and content.
func (w *world) put(account, artefact string) (envelope, content []byte) {
	w.t.Helper()
	key, envelope, err := w.keys.Seal(w.t.Context(), account, artefact)
	if err != nil {
		w.t.Fatal(err, errors.Unwrap(err))
	}
	var out strings.Builder
	sealed, err := key.NewWriter(&out, []byte(artefact))
	if err == nil {
		_, err = sealed.Write([]byte("the content"))
	}
	if err = errors.Join(err, sealed.Close()); err != nil {
		w.t.Fatal(err, errors.Unwrap(err))
	}
	return envelope, []byte(out.String())
}

// get opens what put sealed.
func get(k *custody.Keys, account, artefact string, envelope, content []byte) (string, error) {
	key, err := k.Open(context.Background(), account, artefact, envelope)
	if err != nil {
		return "", err
	}
	plain, err := key.NewReader(strings.NewReader(string(content)), []byte(artefact))
	if err != nil {
		return "", err
	}
	var out strings.Builder
	buf := make([]byte, 64)
	for {
		n, err := plain.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			if err.Error() == "EOF" {
				return out.String(), nil
			}
			return "", err
		}
	}
}

// opens requires that the artefact opens.
func (w *world) opens(k *custody.Keys, envelope, content []byte) {
	w.t.Helper()
	if got, err := get(k, w.a.UID, "acme/model/1/", envelope, content); err != nil || got != "the content" {
		w.t.Fatalf("%q, %v (cause %v)", got, err, errors.Unwrap(err))
	}
}

// refuses requires an error of a kind that names the account's key.
func (w *world) refuses(kind rft.Kind, k *custody.Keys, envelope, content []byte) {
	w.t.Helper()
	_, err := get(k, w.a.UID, "acme/model/1/", envelope, content)
	if rft.KindOf(err) != kind || !strings.Contains(rft.PublicMessage(err), "the key of accounts/acme ("+w.s.kind) {
		w.t.Fatalf("%s: %v, want %s that names the key (cause %v)", rft.KindOf(err), err, kind, errors.Unwrap(err))
	}
}

// suite is what every key must do, wherever it is.
func suite(t *testing.T, make func(t *testing.T) service) {
	begin := func(t *testing.T) (*world, []byte, []byte) {
		w := newWorld(t, make(t))
		envelope, content := w.put(w.a.UID, "acme/model/1/")
		return w, envelope, content
	}

	t.Run("opens what it sealed, in another process too", func(t *testing.T) {
		w, envelope, content := begin(t)
		w.opens(w.keys, envelope, content)
		w.opens(w.open(), envelope, content)
		if again, _ := w.put(w.a.UID, "acme/model/1/"); string(again) == string(envelope) {
			t.Error("two artefacts have one envelope")
		}
	})

	t.Run("unwraps once within the cache's life, and says what for", func(t *testing.T) {
		w, envelope, content := begin(t)
		ctx := custody.For(t.Context(), custody.Use{Purpose: "step", Resource: "accounts/acme/rlorTrainerJobs/j", Actor: "runner"})
		for range 3 {
			if _, err := w.keys.Open(ctx, w.a.UID, "acme/model/1/", envelope); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.audit.acts); n != 1 {
			t.Fatalf("%d rows for three openings", n)
		}
		row := w.audit.acts[0]
		if row.Method != "UnwrapDataKey" || row.Actor != "runner" || row.Account != "acme" || row.Detail["purpose"] != "step" || row.Detail["artefact"] != "acme/model/1/" {
			t.Errorf("%+v", row)
		}
		w.pass(life)
		w.opens(w.keys, envelope, content)
		if n := len(w.audit.acts); n != 2 {
			t.Errorf("%d rows after the cache's life", n)
		}
	})

	t.Run("no key is handed out that could not be audited", func(t *testing.T) {
		w, envelope, content := begin(t)
		w.audit.fail = errors.New("the disk is full")
		if _, err := get(w.keys, w.a.UID, "acme/model/1/", envelope, content); rft.KindOf(err) != rft.KindUnavailable {
			t.Errorf("%v", err)
		}
	})

	t.Run("another account, another artefact, a changed envelope", func(t *testing.T) {
		w, envelope, content := begin(t)
		w.put(w.b.UID, "other/model/1/")
		rows, err := w.db.EncryptionKeys(t.Context(), w.b.UID)
		if err != nil {
			t.Fatal(err)
		}
		foreign, _, err := seal.ParseEnvelope(envelope)
		if err != nil {
			t.Fatal(err)
		}
		foreign.KeyID = rows[len(rows)-1].UID
		for name, try := range map[string]func() (string, error){
			"another account":                  func() (string, error) { return get(w.keys, w.b.UID, "acme/model/1/", envelope, content) },
			"another account, its key named":   func() (string, error) { return get(w.keys, w.b.UID, "acme/model/1/", foreign.Bytes(), content) },
			"another artefact":                 func() (string, error) { return get(w.keys, w.a.UID, "acme/model/2/", envelope, content) },
			"an artefact that begins the same": func() (string, error) { return get(w.keys, w.a.UID, "acme/model/1", envelope, content) },
			"cut off": func() (string, error) {
				return get(w.keys, w.a.UID, "acme/model/1/", envelope[:len(envelope)-1], content)
			},
			"one bit": func() (string, error) {
				bad := append([]byte(nil), envelope...)
				bad[len(bad)-2] ^= 1
				return get(w.keys, w.a.UID, "acme/model/1/", bad, content)
			},
		} {
			if got, err := try(); rft.KindOf(err) != rft.KindDataLoss {
				t.Errorf("%s: %q, %s: %v (cause %v)", name, got, rft.KindOf(err), err, errors.Unwrap(err))
			}
		}
		w.opens(w.keys, envelope, content)
	})

	t.Run("rotate", func(t *testing.T) {
		w, envelope, content := begin(t)
		if w.s.kind == custody.KindLocal {
			if _, err := w.keys.NewVersion(t.Context(), "acme"); err != nil {
				t.Fatal(err)
			}
		} else {
			w.set("acme", w.s.another)
		}
		w.opens(w.keys, envelope, content) // the old one still opens what it wrapped
		w.opens(w.open(), envelope, content)
		fresh, err := w.keys.Rewrap(t.Context(), w.a.UID, "acme/model/1/", envelope)
		if err != nil {
			t.Fatal(err)
		}
		if string(fresh) == string(envelope) {
			t.Error("the envelope was not written anew")
		}
		w.opens(w.keys, fresh, content)
		if w.s.kind != custody.KindLocal {
			w.s.disable() // the first key; nothing needs it any more
			w.opens(w.open(), fresh, content)
			w.refuses(rft.KindFailedPrecondition, w.open(), envelope, content)
		}
	})

	t.Run("disabled at its service", func(t *testing.T) {
		w, envelope, content := begin(t)
		w.opens(w.keys, envelope, content)
		lost := &lost{}
		defer w.keys.Hold(w.a.UID, custody.Children, lost.children)()
		defer w.keys.Hold(w.a.UID, custody.Memory, lost.memory)()
		w.s.disable()
		w.pass(life) // the promise; a fifth of it is what it takes
		w.keys.CheckHolds(t.Context())
		if got := lost.told(); got != "children memory" {
			t.Errorf("told %q", got)
		}
		w.refuses(rft.KindFailedPrecondition, w.keys, envelope, content)
		w.refuses(rft.KindFailedPrecondition, w.open(), envelope, content)
		if _, _, err := w.keys.Seal(t.Context(), w.a.UID, "acme/model/9/"); !custody.IsRefusal(err) {
			t.Errorf("seals: %v", err)
		}
		w.s.enable()
		w.opens(w.keys, envelope, content)
	})

	t.Run("disabled here", func(t *testing.T) {
		w, envelope, content := begin(t)
		w.opens(w.keys, envelope, content)
		other := w.open()
		w.opens(other, envelope, content)
		lost := &lost{}
		defer w.keys.Hold(w.a.UID, custody.Children, lost.children)()
		if err := w.keys.SetState(t.Context(), "acme", store.KeyDisabled, act); err != nil {
			t.Fatal(err)
		}
		if got := lost.told(); got != "children" { // before SetState returned
			t.Errorf("told %q", got)
		}
		w.refuses(rft.KindFailedPrecondition, w.keys, envelope, content)
		if _, _, err := w.keys.Seal(t.Context(), w.a.UID, "acme/model/9/"); !custody.IsRefusal(err) {
			t.Errorf("seals: %v", err)
		}
		w.pass(life)
		w.refuses(rft.KindFailedPrecondition, other, envelope, content) // another process notices within the cache's life
		if err := w.keys.SetState(t.Context(), "acme", store.KeyEnabled, act); err != nil {
			t.Fatal(err)
		}
		w.opens(w.keys, envelope, content)
	})

	t.Run("outage", func(t *testing.T) {
		w, envelope, content := begin(t)
		if w.s.down == nil {
			t.Skip("a local file has no outage")
		}
		w.opens(w.keys, envelope, content)
		lost := &lost{}
		defer w.keys.Hold(w.a.UID, custody.Children, lost.children)()
		w.s.down()
		w.pass(life / 2)
		w.opens(w.keys, envelope, content) // what was opened stays so for the cache's life
		w.keys.CheckHolds(t.Context())
		if got := lost.told(); got != "" {
			t.Errorf("told %q though the last proof still counts", got)
		}
		if _, _, err := w.keys.Seal(t.Context(), w.a.UID, "acme/model/9/"); rft.KindOf(err) != rft.KindUnavailable || !custody.IsOutage(err) {
			t.Errorf("seals: %v", err)
		}
		w.pass(life / 2)
		w.keys.CheckHolds(t.Context())
		if got := lost.told(); got != "children" {
			t.Errorf("told %q after the cache's life", got)
		}
		w.refuses(rft.KindUnavailable, w.keys, envelope, content)
		w.s.up()
		w.opens(w.keys, envelope, content)
	})

	t.Run("shred", func(t *testing.T) {
		w, envelope, content := begin(t)
		w.opens(w.keys, envelope, content)
		if err := w.keys.Shred(t.Context(), "acme", act); err != nil {
			t.Fatal(err)
		}
		w.refuses(rft.KindFailedPrecondition, w.keys, envelope, content)
		w.refuses(rft.KindFailedPrecondition, w.open(), envelope, content)
		if err := w.keys.SetState(t.Context(), "acme", store.KeyEnabled, act); rft.KindOf(err) != rft.KindFailedPrecondition {
			t.Errorf("enabled again: %v", err)
		}
		if files, _ := filepath.Glob(filepath.Join(w.dir, "keys", w.a.UID+"*")); len(files) > 0 {
			t.Errorf("left: %v", files)
		}
		rows, err := w.db.EncryptionKeys(t.Context(), w.a.UID)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if len(r.Credential)+len(r.Proof) > 0 {
				t.Errorf("key %s keeps a credential or a proof", r.UID)
			}
		}
		if _, _, err := w.keys.Seal(t.Context(), w.a.UID, "acme/model/9/"); !custody.IsRefusal(err) {
			t.Errorf("seals: %v", err)
		}
	})

	t.Run("small secrets", func(t *testing.T) {
		w, _, _ := begin(t)
		sealed, err := seal.SealBytes(w.keys.Sealer("acme"), []byte("hunter2"), []byte("connection c"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := seal.OpenBytes(w.keys.Sealer("acme"), sealed, []byte("connection c")); err != nil || string(got) != "hunter2" {
			t.Errorf("%q, %v", got, err)
		}
		for name, try := range map[string]func() ([]byte, error){
			"another account": func() ([]byte, error) { return seal.OpenBytes(w.keys.Sealer("other"), sealed, []byte("connection c")) },
			"another place":   func() ([]byte, error) { return seal.OpenBytes(w.keys.Sealer("acme"), sealed, []byte("connection d")) },
		} {
			if got, err := try(); !errors.Is(err, seal.ErrDamaged) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		w.s.disable()
		w.pass(life)
		if _, err := seal.OpenBytes(w.keys.Sealer("acme"), sealed, []byte("connection c")); !custody.IsRefusal(err) {
			t.Errorf("disabled: %v", err)
		}
	})
}

// lost notes who was told that a key is lost, in order.
type lost struct {
	mu    sync.Mutex
	names []string
}

func (l *lost) children(error) { l.add("children") }
func (l *lost) memory(error)   { l.add("memory") }

func (l *lost) add(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(l.names, name)
}

func (l *lost) told() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.names, " ")
}
