package objstore_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

func TestAzureConformance(t *testing.T) {
	s := objstoretest.StartAzurite(t)
	u := s.Container("plain")
	b := s.Open(u)
	var n atomic.Int64
	objstoretest.Conformance(t, objstoretest.Store{Refuses: azureRefuses}, func(t *testing.T) (objstore.Bucket, string) {
		return b, fmt.Sprintf("p%d/", n.Add(1))
	})
	// The emulator does not know encryption scopes: no answer names one.
	conf := s.Config()
	conf.Encryption = objstore.Encryption{Scope: "customer"}
	under, err := objstore.Open(t.Context(), u, s.Secret(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer under.Close()
	refusesUnconfirmed(t, under, b)
}

// azureRefuses are the plain names of the suite that Azure would keep under others.
func azureRefuses(key string) bool { return key == "..." || strings.Contains(key, `\`) }

func TestAzureURL(t *testing.T) {
	for _, s := range []string{"https://acct.blob.core.windows.net/cont/", "https://acct.blob.core.windows.net/cont/a/b c%20d", "https://acct.blob.core.usgovcloudapi.net/cont/x"} {
		u, err := objstore.ParseURL(s)
		if err != nil || u.String() != s || u.Scheme != objstore.Azure {
			t.Errorf("%s: %v, %v", s, u, err)
		}
		if a, c := u.AzureAccount(); a != "acct" || c != "cont" {
			t.Errorf("%s: %q %q", s, a, c)
		}
	}
	if u, err := objstore.ParseURL("https://acct.blob.core.windows.net/cont"); err != nil || !u.IsPrefix() {
		t.Errorf("%v, %v", u, err)
	}
	for _, s := range []string{"https://acct.blob.core.windows.net", "https://acct.blob.core.windows.net/", "https://example.org/cont/x", "https://acct.blob.core.windows.net.example.org/cont/x",
		"https://acct.blob.core.windows.net@example.org/cont/x", "https://acct.blob.core.windows.net:444/cont/x", "https://ACCT.blob.core.windows.net/cont/x",
		"https://acct.blob.core.windows.net/Cont/x", "https://acct.blob.core.windows.net/a--b/x", "http://acct.blob.core.windows.net/cont/x", "https://acct.blob.core.windows.net/cont?sig=x"} {
		if u, err := objstore.ParseURL(s); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("%s: %+v, %v", s, u, err)
		}
	}
}

// refusesUnconfirmed writes where no answer names the customer's key; b sees
// what is left of that.
func refusesUnconfirmed(t *testing.T, under, b objstore.Bucket) {
	t.Helper()
	for _, n := range []int{0, 10, 6 << 20} {
		body := objstoretest.Bytes(1, n)
		_, err := under.Create(t.Context(), "sealed", bytes.NewReader(body), objstore.PutOptions{Size: int64(n)})
		if rft.KindOf(err) != rft.KindFailedPrecondition {
			t.Errorf("%d bytes: %v", n, err)
		}
		if _, err := b.Stat(t.Context(), "sealed"); rft.KindOf(err) != rft.KindNotFound {
			t.Errorf("%d bytes: something is left: %v", n, err)
		}
	}
}

// TestCMEKUnconfirmed: fake-gcs-server drops the key's name.
func TestCMEKUnconfirmed(t *testing.T) {
	s := objstoretest.FakeGCS(t)
	u := s.Bucket("bkt")
	conf := s.Config("")
	conf.Encryption = objstore.Encryption{KMSKeyName: "projects/p/locations/l/keyRings/r/cryptoKeys/k"}
	under, err := objstore.Open(t.Context(), u, s.Secret(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer under.Close()
	refusesUnconfirmed(t, under, s.Open(u))
}

const kmsKey = "arn:aws:kms:eu-central-1:123456789012:key/k1"

// TestKMSHeaders: what is asked of S3, and which answers pass. The server is our
// own double: no free one confirms a KMS key.
func TestKMSHeaders(t *testing.T) {
	for name, tt := range map[string]struct {
		first, last string // key in the answers to the first and to the last request
		ok          bool
	}{
		"confirmed": {kmsKey, kmsKey, true}, "not at first": {"", kmsKey, false}, "another at first": {kmsKey + "2", kmsKey, false}, "not at last": {kmsKey, "", false},
	} {
		d := &kmsDouble{t: t, first: tt.first, last: tt.last}
		s := httptest.NewServer(d)
		conf := objstore.Config{S3: objstore.S3Config{Endpoint: s.URL, PathStyle: true}, AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Backoff: time.Millisecond,
			Encryption: objstore.Encryption{KMSKeyID: kmsKey, KMSContext: map[string]string{"team": "a b", "app": "x"}}}
		b, err := objstore.Open(t.Context(), objstore.URL{Scheme: objstore.S3, Bucket: "bkt"}, seal.NewSecret(`{"accessKeyId":"a","secretAccessKey":"b"}`), conf)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Create(t.Context(), "k", strings.NewReader("body"), objstore.PutOptions{Size: 4})
		if (err == nil) != tt.ok || !tt.ok && rft.KindOf(err) != rft.KindFailedPrecondition {
			t.Errorf("%s: %v", name, err)
		}
		if tt.first != kmsKey && d.body > 0 {
			t.Errorf("%s: %d bytes left before the key was confirmed", name, d.body)
		}
		if d.visible != tt.ok {
			t.Errorf("%s: visible %v", name, d.visible)
		}
		_ = b.Close()
		s.Close()
	}
}

// kmsDouble is a strict double of multipart uploads with SSE-KMS.
type kmsDouble struct {
	t           *testing.T
	first, last string
	body        int
	visible     bool
}

func (d *kmsDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	answer := func(key, xml string) {
		if key != "" {
			w.Header().Set("X-Amz-Server-Side-Encryption", "aws:kms")
			w.Header().Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", key)
		}
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprint(w, xml)
	}
	switch {
	case r.Method == http.MethodPost && q.Has("uploads"):
		for h, want := range map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": kmsKey,
			"X-Amz-Server-Side-Encryption-Context": "eyJhcHAiOiJ4IiwidGVhbSI6ImEgYiJ9"} {
			if got := r.Header.Get(h); got != want {
				d.t.Errorf("%s: %q, want %q", h, got, want)
			}
		}
		answer(d.first, `<InitiateMultipartUploadResult><Bucket>bkt</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == http.MethodPut && q.Get("uploadId") == "u":
		d.body += int(r.ContentLength)
		w.Header().Set("ETag", `"p"`)
	case r.Method == http.MethodPost && q.Get("uploadId") == "u":
		if r.Header.Get("If-None-Match") != "*" {
			d.t.Error("the last request is not conditional")
		}
		d.visible = true
		answer(d.last, `<CompleteMultipartUploadResult><Bucket>bkt</Bucket><Key>k</Key><ETag>"e"</ETag></CompleteMultipartUploadResult>`)
	case r.Method == http.MethodDelete:
		if !q.Has("uploadId") {
			d.visible = false
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		d.t.Errorf("%s %s", r.Method, r.URL)
		w.WriteHeader(http.StatusBadRequest)
	}
}
