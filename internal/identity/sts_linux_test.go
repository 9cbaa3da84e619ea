package identity_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// The token service fetches keys from public addresses on port 443 only. So the
// test runs in a network of its own, where a documentation address is ours and
// /etc/hosts names it.
const (
	namespaced    = "FIREKEEP_TEST_NAMESPACED"
	issuerHost    = "issuer.firekeep.example"
	issuerAddress = "192.0.2.10"
	issuerURL     = "https://" + issuerHost + "/tokens"
)

// TestRealExchange exchanges tokens with a real STS in front of a real S3 server
// (versitygw). The roles are made of the text that `connection create` prints.
func TestRealExchange(t *testing.T) {
	if os.Getenv(namespaced) == "" {
		inNamespaces(t)
		return
	}
	prepareNetwork(t)
	w := newWorld(t)
	t.Run("Scope", w.scope)
	t.Run("Refused", w.refused)
	t.Run("Check", w.check)
	t.Run("Encryption", w.encryption)
}

// inNamespaces runs this test again in user, network and mount namespaces.
func inNamespaces(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), namespaced+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Skipf("host lacks user namespaces: %v", err)
	}
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatal("the test did not run")
	}
}

// prepareNetwork brings up loopback with one more address, and names it.
func prepareNetwork(t *testing.T) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	defer unix.Close(s)
	up, err := unix.NewIfreq("lo")
	must(err)
	up.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	must(unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, up))
	more, err := unix.NewIfreq("lo:1")
	must(err)
	must(more.SetInet4Addr(net.ParseIP(issuerAddress).To4()))
	must(unix.IoctlIfreq(s, unix.SIOCSIFADDR, more))
	hosts := filepath.Join(t.TempDir(), "hosts")
	must(os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"+issuerAddress+" "+issuerHost+"\n"), 0o644))
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""))
}

// world is an issuer, a cloud that trusts it, and a bucket.
type world struct {
	iam        *objstoretest.IAM
	issuer     *issuer.Issuer
	db         *store.DB
	federation *identity.Federation
	conn       identity.Connection
	bucket     objstore.URL
	root       objstore.Bucket
	audited    []string
}

const (
	readRole  = "arn:aws:iam::000000000000:role/firekeep-read"
	writeRole = "arn:aws:iam::000000000000:role/firekeep-write"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{iam: objstoretest.VersityIAM(t)}
	w.issuer, w.db = newIssuer(t, issuerURL)
	w.bucket = w.iam.Bucket("bkt")
	w.root = w.iam.Open(w.bucket)
	w.federation = &identity.Federation{Issuer: w.issuer, Objects: w.iam.Config()}
	w.conn = identity.Connection{Account: "main", AccountUID: "aaaaaaaaaaaaaaaaaaaaaaaaaa", ID: "conn", UID: "cccccccccccccccccccccccccc",
		URL: parse(t, "s3://bkt/data/"), Auth: identity.AWSRole, Usable: true, Options: identity.Options{Nonce: "nonce0nonce0nonce0nonce0",
			AWS: &identity.AWS{ReadRole: readRole, WriteRole: writeRole, BucketOwner: "000000000000", Region: "us-east-1"}}}
	if err := w.conn.Options.Check(w.conn.Auth, w.conn.URL); err != nil {
		t.Fatal(err)
	}
	thumbprint := serveIssuer(t, w.issuer)
	w.iam.Act("CreateOpenIDConnectProvider", map[string]string{"Url": issuerURL, "ClientIDList.member.1": "sts.amazonaws.com", "ThumbprintList.member.1": thumbprint})
	for _, role := range []string{"firekeep-read", "firekeep-write"} {
		w.iam.Act("CreateRole", map[string]string{"RoleName": role, "AssumeRolePolicyDocument": w.printed(t, "Trust policy of the role "+role)})
		w.iam.Act("PutRolePolicy", map[string]string{"RoleName": role, "PolicyName": "firekeep", "PolicyDocument": w.printed(t, "Permissions of the role "+role)})
	}
	trust := w.conn.Trust(issuerURL)
	for _, key := range []string{"data/ds1/rows.jsonl", "data/ds2/rows.jsonl", "data/ds10", "other/rows.jsonl", trust.Proof, trust.Outside} {
		w.put(t, key)
	}
	return w
}

func (w *world) put(t *testing.T, key string) {
	t.Helper()
	if _, err := w.root.Create(t.Context(), key, strings.NewReader(key), objstore.PutOptions{Size: int64(len(key))}); err != nil {
		t.Fatalf("%s: %v (%v)", key, err, errors.Unwrap(err))
	}
}

// printed is the text of a step that the owner of the bucket pastes.
func (w *world) printed(t *testing.T, title string) string {
	t.Helper()
	for _, s := range w.conn.Trust(issuerURL).Steps {
		if strings.HasPrefix(s.Title, title) {
			return s.Text
		}
	}
	t.Fatalf("nothing is printed about %q", title)
	return ""
}

// broker is a Broker over the one connection.
func (w *world) broker() *identity.Broker {
	return &identity.Broker{Connections: rows{w.conn}, Federation: w.federation, Audit: func(_ context.Context, _ identity.Job, _ identity.Connection, c identity.Credential) error {
		w.audited = append(w.audited, c.ID)
		return nil
	}}
}

// open is the bucket with exactly what a credential's session may, and nothing
// of ours in between.
func (w *world) open(t *testing.T, c identity.Credential) objstore.Bucket {
	t.Helper()
	b, err := objstore.Open(t.Context(), w.bucket, c.Secret, w.iam.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func (w *world) credential(t *testing.T, url string, a identity.Access) identity.Credential {
	t.Helper()
	c, err := w.broker().Credential(t.Context(), job, parse(t, url), a)
	if err != nil {
		t.Fatalf("%s: %v (%v)", url, err, errors.Unwrap(err))
	}
	if len(w.audited) == 0 || w.audited[len(w.audited)-1] != c.ID {
		t.Errorf("%s: not audited", url)
	}
	if life := time.Until(c.Expiry); life > identity.MaxLife || life < 0 {
		t.Errorf("%s: lives %v", url, life)
	}
	return c
}

// scope holds what the server enforces against what was asked for.
func (w *world) scope(t *testing.T) {
	create := func(b objstore.Bucket, key string) error {
		_, err := b.Create(t.Context(), key, strings.NewReader("x"), objstore.PutOptions{Size: 1})
		return err
	}
	get := func(b objstore.Bucket, key string) error {
		_, err := objstoretest.ReadAll(t, b, key, objstore.Pin{})
		return err
	}
	names := func(b objstore.Bucket, prefix string) error {
		return b.List(t.Context(), prefix, "", func(objstore.Info) error { return nil })
	}
	r := w.open(t, w.credential(t, "s3://bkt/data/ds1/", identity.Read))
	one := w.open(t, w.credential(t, "s3://bkt/data/ds1/rows.jsonl", identity.Read))
	out := w.open(t, w.credential(t, "s3://bkt/data/out/", identity.Write))
	for name, tt := range map[string]struct {
		err  error
		kind rft.Kind
	}{
		"read":               {get(r, "data/ds1/rows.jsonl"), ""},
		"list":               {names(r, "data/ds1/"), ""},
		"read one":           {get(one, "data/ds1/rows.jsonl"), ""},
		"write":              {create(out, "data/out/model"), ""},
		"other dataset":      {get(r, "data/ds2/rows.jsonl"), rft.KindPermissionDenied},
		"longer name":        {get(r, "data/ds10"), rft.KindPermissionDenied},
		"outside":            {get(r, "other/rows.jsonl"), rft.KindPermissionDenied},
		"list above":         {names(r, "data/"), rft.KindPermissionDenied},
		"list all":           {names(r, ""), rft.KindPermissionDenied},
		"list beside":        {names(r, "data/ds1"), rft.KindPermissionDenied},
		"write by reader":    {create(r, "data/ds1/x"), rft.KindPermissionDenied},
		"delete by reader":   {r.Delete(t.Context(), "data/ds1/rows.jsonl"), rft.KindPermissionDenied},
		"another of the one": {get(one, "data/ds2/rows.jsonl"), rft.KindPermissionDenied},
		"write elsewhere":    {create(out, "data/ds1/y"), rft.KindPermissionDenied},
		"read by writer":     {get(out, "data/ds1/rows.jsonl"), rft.KindPermissionDenied},
		"read own by writer": {get(out, "data/out/model"), rft.KindPermissionDenied},
	} {
		if tt.kind == "" && tt.err != nil || tt.kind != "" && rft.KindOf(tt.err) != tt.kind {
			t.Errorf("%s: %v (%v), want %q", name, tt.err, errors.Unwrap(tt.err), tt.kind)
		}
	}
	if _, err := w.root.Stat(t.Context(), "data/ds1/rows.jsonl"); err != nil {
		t.Error(err)
	}
}

// refused asks for exchanges that the token service must not make.
func (w *world) refused(t *testing.T) {
	ask := func(edit func(*identity.Connection), f *identity.Federation, a identity.Access) error {
		c := w.conn
		o := *c.Options.AWS
		c.Options.AWS = &o
		edit(&c)
		b := &identity.Broker{Connections: rows{c}, Federation: f}
		got, err := b.Credential(t.Context(), identity.Job{Account: c.Account, Kind: "step", ID: "s1"}, parse(t, "s3://bkt/data/ds1/"), a)
		if err == nil || !got.Secret.Empty() {
			t.Logf("a credential came: %+v", got)
		}
		return err
	}
	nothing := func(*identity.Connection) {}
	late := *w.federation
	late.Issuer = &issuer.Issuer{URL: issuerURL, DB: w.db, KEK: w.issuer.KEK, Now: func() time.Time { return time.Now().Add(-time.Hour) }}
	addKey(t, late.Issuer) // a key that signed an hour ago
	forged := *w.federation
	forged.Issuer, _ = newIssuer(t, issuerURL)
	for name, err := range map[string]error{
		"another tenant":     ask(func(c *identity.Connection) { c.AccountUID = "bbbbbbbbbbbbbbbbbbbbbbbbbb" }, w.federation, identity.Read),
		"another connection": ask(func(c *identity.Connection) { c.UID = "dddddddddddddddddddddddddd" }, w.federation, identity.Read),
		"the other access": ask(func(c *identity.Connection) {
			c.Options.AWS.ReadRole, c.Options.AWS.WriteRole = writeRole, readRole
		}, w.federation, identity.Read),
		"a foreign key": ask(nothing, &forged, identity.Read),
		"expired":       ask(nothing, &late, identity.Read),
	} {
		if rft.KindOf(err) != rft.KindPermissionDenied {
			t.Errorf("%s: %v (%v)", name, err, errors.Unwrap(err))
		}
	}
	if err := ask(nothing, w.federation, identity.Read); err != nil {
		t.Errorf("the right one is refused too: %v (%v)", err, errors.Unwrap(err))
	}
	// The right session on a bucket that somebody else owns.
	stolen := w.conn
	o := *w.conn.Options.AWS
	o.BucketOwner = "111111111111"
	stolen.Options.AWS = &o
	b := &identity.Broker{Connections: rows{stolen}, Federation: w.federation}
	c, err := b.Credential(t.Context(), job, parse(t, "s3://bkt/data/ds1/"), identity.Read)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.open(t, c).Stat(t.Context(), "data/ds1/rows.jsonl"); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("a bucket of another owner: %v", err)
	}
	// What was proven once is not believed for ever.
	if err := ask(func(c *identity.Connection) { c.Usable = false }, w.federation, identity.Read); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("not proven: %v", err)
	}
}

// check makes the other side too wide in one way after the other; the probe must
// say in which.
func (w *world) check(t *testing.T) {
	said := ""
	probe := func() identity.Report {
		r := w.broker().Probe(t.Context(), w.conn, w.iam.Config())
		said += r.Message
		return r
	}
	if r := probe(); r.State != store.ConnectionReady || len(r.Findings) < 15 {
		t.Fatalf("%+v", r)
	}
	trust := func(role string, edit func(string) string) {
		w.iam.Act("UpdateAssumeRolePolicy", map[string]string{"RoleName": role, "PolicyDocument": edit(w.printed(t, "Trust policy of the role "+role))})
	}
	grant := func(role string, edit func(string) string) {
		w.iam.Act("PutRolePolicy", map[string]string{"RoleName": role, "PolicyName": "firekeep", "PolicyDocument": edit(w.printed(t, "Permissions of the role "+role))})
	}
	same := func(s string) string { return s }
	replace := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("%q is not in %s", old, s)
			}
			return strings.ReplaceAll(s, old, new)
		}
	}
	host := strings.TrimPrefix(issuerURL, "https://")
	for name, tt := range map[string]struct {
		set, reset func()
		names      string
	}{
		"any subject":          {func() { trust("firekeep-read", dropCondition(t, host+":sub")) }, func() { trust("firekeep-read", same) }, host + ":sub"},
		"any subject to write": {func() { trust("firekeep-write", dropCondition(t, host+":sub")) }, func() { trust("firekeep-write", same) }, "trust policy of " + writeRole},
		"any audience": {func() {
			trust("firekeep-read", dropCondition(t, host+":aud"))
			w.iam.Act("AddClientIDToOpenIDConnectProvider", map[string]string{"OpenIDConnectProviderArn": "arn:aws:iam::000000000000:oidc-provider/" + host,
				"ClientID": "https://audience.invalid/" + strings.Repeat("z", 26)})
		}, func() { trust("firekeep-read", same) }, host + ":aud"},
		"reads everything":  {func() { grant("firekeep-read", replace("bkt/data/*", "bkt/*")) }, func() { grant("firekeep-read", same) }, "s3:GetObject"},
		"lists everything":  {func() { grant("firekeep-read", replace(`"data/*"`, `"*"`)) }, func() { grant("firekeep-read", same) }, "s3:ListBucket"},
		"lists beside":      {func() { grant("firekeep-read", replace(`"data/*"`, `"data*"`)) }, func() { grant("firekeep-read", same) }, "s3:ListBucket"},
		"writes everything": {func() { grant("firekeep-write", replace("bkt/data/*", "bkt/*")) }, func() { grant("firekeep-write", same) }, "s3:PutObject"},
		"the reader writes": {func() { grant("firekeep-read", replace(`"s3:GetObject"`, `"s3:GetObject","s3:PutObject"`)) }, func() { grant("firekeep-read", same) }, "write with the identity that reads"},
		"the writer reads":  {func() { grant("firekeep-write", replace(`"s3:PutObject"`, `"s3:PutObject","s3:GetObject"`)) }, func() { grant("firekeep-write", same) }, "read with the identity that writes"},
	} {
		tt.set()
		if r := probe(); r.State != store.ConnectionOverBroad || !strings.Contains(r.Message, tt.names) {
			t.Errorf("%s: %s %q, want %q in it", name, r.State, r.Message, tt.names)
		}
		tt.reset()
	}
	if err := w.root.Delete(t.Context(), w.conn.Trust(issuerURL).Proof); err != nil {
		t.Fatal(err)
	}
	if r := probe(); r.State != store.ConnectionPending || !strings.Contains(r.Message, w.conn.Trust(issuerURL).Proof) {
		t.Errorf("without a proof: %+v", r)
	}
	w.put(t, w.conn.Trust(issuerURL).Proof)
	if r := probe(); r.State != store.ConnectionReady {
		t.Errorf("at the end: %+v", r)
	}
	// The probes left nothing behind that they did not name.
	var left []string
	_ = w.root.List(t.Context(), "", "", func(i objstore.Info) error {
		if strings.Contains(i.Key, "probe") && !strings.Contains(said, i.Key) {
			left = append(left, i.Key)
		}
		return nil
	})
	if len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// dropCondition removes a key from every condition of a policy.
func dropCondition(t *testing.T, key string) func(string) string {
	return func(s string) string {
		var doc map[string]any
		if err := json.Unmarshal([]byte(s), &doc); err != nil {
			t.Fatal(err)
		}
		for _, st := range doc["Statement"].([]any) {
			equals := st.(map[string]any)["Condition"].(map[string]any)["StringEquals"].(map[string]any)
			if _, ok := equals[key]; !ok {
				t.Fatalf("no %s in %s", key, s)
			}
			delete(equals, key)
		}
		b, _ := json.Marshal(doc)
		return string(b)
	}
}

// encryption: this server takes SSE-KMS headers without a word, so a write under
// the customer's key must fail and leave nothing.
func (w *world) encryption(t *testing.T) {
	conf := w.iam.Config()
	conf.Encryption = objstore.Encryption{KMSKeyID: "arn:aws:kms:us-east-1:000000000000:key/k1"}
	b, err := objstore.Open(t.Context(), w.bucket, w.iam.Secret(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, n := range []int{0, 10, 6 << 20} {
		body := objstoretest.Bytes(1, n)
		_, err := b.Create(t.Context(), "data/sealed", bytes.NewReader(body), objstore.PutOptions{Size: int64(n)})
		if rft.KindOf(err) != rft.KindFailedPrecondition {
			t.Errorf("%d bytes: %v", n, err)
		}
		if _, err := w.root.Stat(t.Context(), "data/sealed"); rft.KindOf(err) != rft.KindNotFound {
			t.Errorf("%d bytes: something is left: %v", n, err)
		}
	}
}

// serveIssuer serves an issuer's documents over HTTPS and returns the SHA-1 of
// its certificate, by which the provider is pinned.
func serveIssuer(t *testing.T, i *issuer.Issuer) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: issuerHost}, DNSNames: []string{issuerHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", issuerAddress+":443")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: documents(i), TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
	go func() { _ = s.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = s.Close() })
	sum := sha1.Sum(der)
	return hex.EncodeToString(sum[:])
}

// documents serves an issuer's documents below its path.
func documents(i *issuer.Issuer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		docs, err := i.Documents(r.Context())
		if err != nil {
			http.Error(w, "", http.StatusInternalServerError)
			return
		}
		path := strings.TrimPrefix(r.URL.Path, "/tokens")
		w.Header().Set("Cache-Control", issuer.CacheControl)
		switch path {
		case issuer.DiscoveryPath:
			_, _ = w.Write(docs.Discovery)
		case issuer.KeysPath:
			_, _ = w.Write(docs.JWKS)
		default:
			http.NotFound(w, r)
		}
	})
}
