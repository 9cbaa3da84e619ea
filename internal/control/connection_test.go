package control_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// buckets is a Control that reaches a real object store, with an issuer.
type buckets struct {
	*control.Control
	who control.Caller
	s3  *objstoretest.Server
	now time.Time
}

func newBuckets(t *testing.T) *buckets {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	kek, err := seal.CreateKeyring(filepath.Join(dir, "kek"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"main", "acme"} {
		if _, err := db.CreateAccount(t.Context(), store.Account{ID: a}, store.Act{}); err != nil {
			t.Fatal(err)
		}
	}
	keys := custody.New(custody.Config{DB: db, Dir: filepath.Join(dir, "keys"), Host: kek})
	home, err := objstore.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bases, err := catalog.NewBases(filepath.Join(dir, "models"))
	if err != nil {
		t.Fatal(err)
	}
	b := &buckets{s3: objstoretest.VersityGW(t), now: time.Now().UTC(), who: control.NewCaller(authz.Principal{Account: "main", User: "admin", Name: "admin", Role: authz.Admin}, "", "")}
	clock := func() time.Time { return b.now }
	is := &issuer.Issuer{URL: "https://issuer.firekeep.example/tokens", DB: db, KEK: kek, Now: clock}
	b.Control = &control.Control{DB: db, Keys: &authz.Keys{DB: db, Operator: "main"}, KEK: kek, Catalog: catalog.New(db, catalog.NewVault(home, keys), bases), Log: slog.New(slog.DiscardHandler), Broker: catalog.Credentials(db, kek, nil),
		Objects: b.s3.Config(""), Issuer: is, Clock: clock}
	b.Broker.Sealer = keys.Sealer
	b.Broker.Federation = &identity.Federation{Issuer: is, Objects: b.Objects}
	return b
}

// secret is the store's root key as users write it.
func (b *buckets) secret(t *testing.T) map[string]any {
	t.Helper()
	text := b.s3.Secret().Reveal()
	cut := func(name string) string {
		_, rest, _ := strings.Cut(text, `"`+name+`":"`)
		v, _, _ := strings.Cut(rest, `"`)
		return v
	}
	return map[string]any{"access_key_id": cut("accessKeyId"), "secret_access_key": cut("secretAccessKey")}
}

// TestSecretConnection: a secret is tried when it is made, found too wide where it
// is, still serves, grows old, and is replaced.
func TestSecretConnection(t *testing.T) {
	b := newBuckets(t)
	b.s3.Bucket("bkt")
	ctx := t.Context()
	whole, err := b.CreateConnection(ctx, b.who, "main", "whole", &api.Connection{URL: "s3://bkt/", Secret: b.secret(t)})
	if err != nil || whole.State != store.ConnectionReady || whole.Secret != nil {
		t.Fatalf("%+v, %v", whole, err)
	}
	wide, err := b.CreateConnection(ctx, b.who, "main", "wide", &api.Connection{URL: "s3://bkt/data/", Secret: b.secret(t)})
	if err != nil || wide.State != store.ConnectionOverBroad || !strings.Contains(wide.Status.Message, "list the whole bucket") {
		t.Fatalf("%+v, %v", wide, err)
	}
	wrong := b.secret(t)
	wrong["secret_access_key"] = "no"
	bad, err := b.CreateConnection(ctx, b.who, "main", "bad", &api.Connection{URL: "s3://bkt/bad/", Secret: wrong})
	if err != nil || bad.State != store.ConnectionFailed || bad.Status.Code != string(rft.KindPermissionDenied) {
		t.Fatalf("%+v, %v", bad, err)
	}
	// A key that is too wide serves on; the broker narrows it.
	c, err := b.Broker.Credential(ctx, identity.Job{Account: "main", Kind: "step", ID: "j"}, mustURL(t, "s3://bkt/data/x"), identity.Read)
	if err != nil || c.Secret.Empty() {
		t.Fatalf("%v", err)
	}
	fixed, err := b.RotateConnection(ctx, b.who, "main", "bad", b.secret(t))
	if err != nil || fixed.State == store.ConnectionFailed || len(fixed.Warnings) != 0 {
		t.Fatalf("%+v, %v", fixed, err)
	}
	b.now = b.now.Add(91 * 24 * time.Hour)
	old, err := b.GetConnection(ctx, b.who, "main", "bad")
	if err != nil || len(old.Warnings) != 1 || !strings.Contains(old.Warnings[0], "rotate") {
		t.Errorf("%+v, %v", old, err)
	}
}

func mustURL(t *testing.T, s string) objstore.URL {
	t.Helper()
	u, err := objstore.ParseURL(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestFederatedConnection: it waits for its other side, says exactly what that
// is, and serves nobody before.
func TestFederatedConnection(t *testing.T) {
	b := newBuckets(t)
	ctx := t.Context()
	request := &api.Connection{URL: "s3://bkt/data/", Auth: "aws-role", AWS: &api.AWSRoles{ReadRole: "arn:aws:iam::123456789012:role/r", WriteRole: "arn:aws:iam::123456789012:role/w",
		BucketOwner: "123456789012", Region: "eu-central-1"}}
	made, err := b.CreateConnection(ctx, b.who, "main", "fed", request)
	if err != nil || made.State != store.ConnectionPending || made.Trust == nil {
		t.Fatalf("%+v, %v", made, err)
	}
	account, err := b.DB.Account(ctx, "main")
	if err != nil {
		t.Fatal(err)
	}
	row, err := b.DB.Connection(ctx, "main", "fed")
	if err != nil {
		t.Fatal(err)
	}
	if want := "account:" + account.UID + ":connection:" + row.UID + ":access:read"; made.Trust.ReadSubject != want || made.Trust.Audience != "sts.amazonaws.com" {
		t.Errorf("%+v, want the subject %s", made.Trust, want)
	}
	text := ""
	for _, s := range made.Trust.Steps {
		text += s.Title + "\n" + s.Text + "\n"
	}
	for _, want := range []string{`"issuer.firekeep.example/tokens:sub"`, made.Trust.ReadSubject, made.Trust.WriteSubject, "sts:AssumeRoleWithWebIdentity", `resource "aws_iam_role"`, made.Trust.Proof, made.Trust.Outside} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not printed", want)
		}
	}
	if _, err := b.Broker.Credential(ctx, identity.Job{Account: "main", Kind: "step", ID: "j"}, mustURL(t, "s3://bkt/data/x"), identity.Read); rft.KindOf(err) != rft.KindFailedPrecondition ||
		!strings.Contains(rft.PublicMessage(err), "not proven") { // and not for want of an issuer, which comes behind it
		t.Errorf("a pending connection serves: %v", err)
	}
	if _, err := b.RotateConnection(ctx, b.who, "main", "fed", map[string]any{}); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("%v", err)
	}
	for field, edit := range map[string]func(*api.Connection){
		"connection.aws":             func(c *api.Connection) { c.AWS.WriteRole = c.AWS.ReadRole },
		"connection.aws.bucketOwner": func(c *api.Connection) { c.AWS.BucketOwner = "me" },
		"connection.aws.region":      func(c *api.Connection) { c.AWS.Region = "eu-central-1/../" },
		"connection.auth":            func(c *api.Connection) { c.AWS = nil },
		"connection.secret":          func(c *api.Connection) { c.Secret = map[string]any{"a": "b"} },
		"connection.url":             func(c *api.Connection) { c.URL = "s3://bkt/data/*/" },
	} {
		r := *request
		roles := *request.AWS
		r.AWS = &roles
		edit(&r)
		_, err := b.CreateConnection(ctx, b.who, "main", "", &r)
		if rft.KindOf(err) != rft.KindInvalidArgument || !strings.HasPrefix(rft.PublicMessage(err), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestDailyProbe: connections are probed again after a day and not before. The
// clock is the test's.
func TestDailyProbe(t *testing.T) {
	b := newBuckets(t)
	b.s3.Bucket("bkt")
	if _, err := b.CreateConnection(t.Context(), b.who, "main", "c", &api.Connection{URL: "s3://bkt/", Secret: b.secret(t)}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	tick := make(chan time.Time)
	var wg sync.WaitGroup
	wg.Go(func() { b.KeepConnections(ctx, tick) })
	checked := func() time.Time {
		row, err := b.DB.Connection(t.Context(), "main", "c")
		if err != nil {
			t.Fatal(err)
		}
		return row.Checked
	}
	first := checked()
	tick <- time.Now() // taken when the round at the start is over
	tick <- time.Now()
	if !checked().Equal(first) {
		t.Error("it was probed again at once")
	}
	stop()
	wg.Wait()
	b.now = b.now.Add(25 * time.Hour)
	// The store is gone: an outage is no verdict.
	healthy := b.Objects
	b.Objects.S3.Endpoint = "http://127.0.0.1:1"
	round(t, b)
	if row, _ := b.DB.Connection(t.Context(), "main", "c"); row.State != store.ConnectionReady || row.Status.Code == "OK" {
		t.Errorf("after an outage: %s %+v", row.State, row.Status)
	}
	b.Objects = healthy
	round(t, b)
	if !checked().After(first) {
		t.Error("it was not probed after a day")
	}
	acts, err := b.DB.ListAudit(t.Context(), "main", store.AuditRange{}, store.ListOptions{Filter: []store.Term{{Field: "method", Op: "=", Value: "CheckConnection"}}})
	if err != nil || acts.Total != 3 {
		t.Errorf("%d probes in the audit log, %v", acts.Total, err)
	}
}

// round is one round of the upkeep.
func round(t *testing.T, b *buckets) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	tick := make(chan time.Time)
	done := make(chan struct{})
	go func() { defer close(done); b.KeepConnections(ctx, tick) }()
	tick <- time.Now()
	stop()
	<-done
}
