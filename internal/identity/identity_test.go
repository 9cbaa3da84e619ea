package identity_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// rows is a table of connections. It answers with all of them, so that the
// Source's own checks are what is tested.
type rows []identity.Connection

func (r rows) Covering(context.Context, string, objstore.URL) ([]identity.Connection, error) {
	return r, nil
}

func parse(t *testing.T, s string) objstore.URL {
	t.Helper()
	u, err := objstore.ParseURL(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func ring(t *testing.T) *seal.Keyring {
	t.Helper()
	k, err := seal.CreateKeyring(filepath.Join(t.TempDir(), "kek"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func connection(t *testing.T, k seal.KEK, account, id, url, secret string) identity.Connection {
	t.Helper()
	u := parse(t, url)
	sealed, err := identity.SealSecret(k, account, id, u, seal.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	return identity.Connection{Account: account, ID: id, URL: u, Sealed: sealed}
}

var job = identity.Job{Account: "main", Kind: "step", ID: "s1"}

func TestCoverage(t *testing.T) {
	k := ring(t)
	s := &identity.Broker{KEK: k, Connections: rows{
		connection(t, k, "main", "wide", "s3://bkt/data/", "wide"),
		connection(t, k, "main", "narrow", "s3://bkt/data/deep/", "narrow"),
		connection(t, k, "other", "theirs", "s3://theirs/", "theirs"),
	}}
	for url, want := range map[string]string{
		"s3://bkt/data/x.jsonl": "wide", "s3://bkt/data/": "wide", "s3://bkt/data/deep/x": "narrow", "s3://bkt/data/deeper/": "wide",
		"s3://bkt/data": "", "s3://bkt/datax": "", "s3://bkt/": "", "gs://bkt/data/x": "", "s3://theirs/x": "",
		"s3://bkt/data/../secret": "", "s3://bkt/data/./x": "", "s3://bkt/DATA/x": "",
	} {
		c, err := s.Credential(t.Context(), job, parse(t, url), identity.Read)
		if got := c.Secret.Reveal(); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", url, got, err, want)
		}
	}
}

// TestSealedIsBound moves a sealed secret to other records; it must not open.
func TestSealedIsBound(t *testing.T) {
	k := ring(t)
	good := connection(t, k, "main", "c", "s3://bkt/data/", "secret")
	for name, edit := range map[string]func(*identity.Connection){
		"url": func(c *identity.Connection) { c.URL = parse(t, "s3://bkt/") },
		"id":  func(c *identity.Connection) { c.ID = "d" },
		"bit": func(c *identity.Connection) { c.Sealed = bytes.Clone(c.Sealed); c.Sealed[len(c.Sealed)-1] ^= 1 },
	} {
		bad := good
		edit(&bad)
		s := &identity.Broker{KEK: k, Connections: rows{bad}}
		if _, err := s.Credential(t.Context(), job, parse(t, "s3://bkt/data/x"), identity.Read); rft.KindOf(err) != rft.KindFailedPrecondition {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := &identity.Broker{KEK: ring(t), Connections: rows{good}}
	if _, err := s.Credential(t.Context(), job, parse(t, "s3://bkt/data/x"), identity.Read); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("another key: %v", err)
	}
}

// TestAuditFirst checks that the act is recorded before the secret is handed
// out, with everything but the secret, and that a failing audit stops it.
func TestAuditFirst(t *testing.T) {
	k := ring(t)
	var log string
	fail := error(nil)
	s := &identity.Broker{KEK: k, Connections: rows{connection(t, k, "main", "c", "s3://bkt/", "s3cr3t")},
		Audit: func(_ context.Context, j identity.Job, from identity.Connection, c identity.Credential) error {
			log = fmt.Sprintf("%v %s %+v", j, from.ID, c)
			return fail
		}}
	c, err := s.Credential(t.Context(), job, parse(t, "s3://bkt/x"), identity.Write)
	if err != nil || !strings.Contains(log, c.ID) || !strings.Contains(log, "s1") || strings.Contains(log, "s3cr3t") {
		t.Errorf("%v; log %q", err, log)
	}
	if life := time.Until(c.Expiry); life > identity.MaxLife || life < identity.MaxLife-time.Minute {
		t.Errorf("lives %v", life)
	}
	fail = errors.New("disk full")
	c, err = s.Credential(t.Context(), job, parse(t, "s3://bkt/x"), identity.Write)
	if rft.KindOf(err) != rft.KindUnavailable || !c.Secret.Empty() || !errors.Is(err, fail) {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestNarrowed uses credentials for what they do not cover.
func TestNarrowed(t *testing.T) {
	dir := t.TempDir()
	conf, base := objstore.Config{FileRoots: []string{dir}}, parse(t, "file://"+dir+"/a/")
	s := &identity.Broker{}
	open := func(access identity.Access) objstore.Bucket {
		c, err := s.Credential(t.Context(), job, base, access)
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Open(t.Context(), conf)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	w, r := open(identity.Write), open(identity.Read)
	put := func(b objstore.Bucket, key string) error {
		_, err := b.Create(t.Context(), key, strings.NewReader("x"), objstore.PutOptions{Size: 1})
		return err
	}
	if err := put(w, base.Key+"k"); err != nil {
		t.Fatal(err)
	}
	if _, err := objstoretest.ReadAll(t, r, base.Key+"k", objstore.Pin{}); err != nil {
		t.Error(err)
	}
	none := func(objstore.Info) error { return nil }
	for name, err := range map[string]error{
		"write by read":    put(r, base.Key+"j"),
		"delete by read":   r.Delete(t.Context(), base.Key+"k"),
		"write outside":    put(w, dir[1:]+"/b/k"),
		"write beside":     put(w, dir[1:]+"/ab"),
		"write by climb":   put(w, base.Key+"../b/k"),
		"delete outside":   w.Delete(t.Context(), dir[1:]+"/b"),
		"list outside":     r.List(t.Context(), dir[1:]+"/", "", none),
		"read by write":    second(w.Open(t.Context(), base.Key+"k", objstore.Pin{}, 0, -1)),
		"stat outside":     second(r.Stat(t.Context(), dir[1:]+"/b/k")),
		"replace by read":  second(r.Replace(t.Context(), base.Key+"k", objstore.Pin{}, strings.NewReader("x"), objstore.PutOptions{Size: 1})),
		"outside of roots": openErr(t, s, conf, "file:///etc/"),
	} {
		if rft.KindOf(err) != rft.KindPermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	c, err := s.Credential(t.Context(), job, base, identity.Read)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(t.Context(), conf); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("expired: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func openErr(t *testing.T, s identity.Source, conf objstore.Config, url string) error {
	c, err := s.Credential(t.Context(), job, parse(t, url), identity.Read)
	if err != nil {
		return err
	}
	return second(c.Open(t.Context(), conf))
}

// TestRenewing reads one object across renewals, and stops when the lease is lost.
func TestRenewing(t *testing.T) {
	dir := t.TempDir()
	conf, base := objstore.Config{FileRoots: []string{dir}}, parse(t, "file://"+dir+"/")
	vends := 0
	// A life shorter than the margin of renewal: every call mints anew.
	s := &identity.Broker{Life: 30 * time.Second, Audit: func(context.Context, identity.Job, identity.Connection, identity.Credential) error {
		vends++
		return nil
	}}
	w := identity.Renewing(s, conf, job, base, identity.Write, nil)
	body := objstoretest.Bytes(1, 100_000)
	if _, err := w.Create(t.Context(), base.Key+"k", bytes.NewReader(body), objstore.PutOptions{Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	lost := error(nil)
	r := identity.Renewing(s, conf, job, base, identity.Read, func() error { return lost })
	in, err := r.Open(t.Context(), base.Key+"k", objstore.Pin{}, 10, 90_000)
	if err != nil {
		t.Fatal(err)
	}
	before := vends
	var got []byte
	for len(got) < 50_000 {
		p := make([]byte, 10_000)
		n, err := in.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p[:n]...)
	}
	if vends < before+5 || !bytes.Equal(got, body[10:10+len(got)]) {
		t.Errorf("%d renewals; %d bytes", vends-before, len(got))
	}
	rest, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(append(got, rest...), body[10:90_010]) {
		t.Errorf("%d more, %v", len(rest), err)
	}
	lost = rft.Errorf(rft.KindAborted, "lease lost")
	if _, err := r.Stat(t.Context(), base.Key+"k"); rft.KindOf(err) != rft.KindAborted {
		t.Errorf("without a lease: %v", err)
	}
	if err := errors.Join(in.Close(), r.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

// TestEnvironmentIsIgnored works with a real S3 store while the environment
// offers other credentials and another endpoint.
func TestEnvironmentIsIgnored(t *testing.T) {
	trap := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the trap got %s %s", r.Method, r.URL) }))
	defer trap.Close()
	server := objstoretest.VersityGW(t)
	server.Bucket("bkt")
	for k, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AMBIENT", "AWS_SECRET_ACCESS_KEY": "ambient", "AWS_ENDPOINT_URL": trap.URL, "AWS_PROFILE": "ambient",
		"GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent.json", "STORAGE_EMULATOR_HOST": trap.URL,
	} {
		t.Setenv(k, v)
	}
	k := ring(t)
	s := &identity.Broker{KEK: k, Connections: rows{connection(t, k, "main", "c", "s3://bkt/out/", server.Secret().Reveal())}}
	b := identity.Renewing(s, server.Config(""), job, parse(t, "s3://bkt/out/"), identity.Write, nil)
	defer b.Close()
	if _, err := b.Create(t.Context(), "out/k", strings.NewReader("x"), objstore.PutOptions{Size: 1}); err != nil {
		t.Errorf("%v (%v)", err, errors.Unwrap(err))
	}
	// Without a secret nothing is found that would do instead.
	bare := &identity.Broker{KEK: k, Connections: rows{{Account: "main", ID: "c", URL: parse(t, "s3://bkt/out/")}}}
	b2 := identity.Renewing(bare, server.Config(""), job, parse(t, "s3://bkt/out/"), identity.Write, nil)
	defer b2.Close()
	if _, err := b2.Create(t.Context(), "out/k2", strings.NewReader("x"), objstore.PutOptions{Size: 1}); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("without a secret: %v (%v)", err, errors.Unwrap(err))
	}
}
