package objstore_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

func sum(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

func TestParseURL(t *testing.T) {
	for s, want := range map[string]objstore.URL{
		"s3://bkt/":                {Scheme: "s3", Bucket: "bkt"},
		"s3://bkt":                 {Scheme: "s3", Bucket: "bkt"},
		"s3://bkt/a b?c#d%20+/../": {Scheme: "s3", Bucket: "bkt", Key: "a b?c#d%20+/../"},
		"s3://bkt//x":              {Scheme: "s3", Bucket: "bkt", Key: "/x"},
		"gs://my_bkt.x-1/日本":       {Scheme: "gs", Bucket: "my_bkt.x-1", Key: "日本"},
		"file:///a/b%20c":          {Scheme: "file", Key: "a/b%20c"},
		"file:///":                 {Scheme: "file"},
	} {
		u, err := objstore.ParseURL(s)
		if err != nil || u != want {
			t.Errorf("%q: %+v, %v", s, u, err)
		}
		if again, err := objstore.ParseURL(u.String()); err != nil || again != u {
			t.Errorf("%q writes as %q", s, u)
		}
	}
	for _, s := range []string{"", "x", "s3:/b/k", "http://b/k", "s3://user:pw@bkt/k", "s3://a:80/k", "s3:///k", "s3://B/k", "s3://ab/", "file://host/x", "file://", "file:///a/../b", "file:///a//b",
		"s3://bkt/\x00", "s3://bkt/a\nb", "s3://bkt/\xff", "s3://bkt/" + strings.Repeat("k", 1025), "S3://bkt/k", "https://x.blob.core.windows.net/c/k"} {
		if u, err := objstore.ParseURL(s); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("%q: %+v, %v", s, u, err)
		} else if strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: the error repeats the URL: %v", s, err)
		}
	}
}

func TestScope(t *testing.T) {
	for s, ok := range map[string]bool{
		"s3://bkt/": true, "s3://bkt/data/": true, "gs://bkt/a=b/(c)/d@e,f+g!/": true,
		"s3://bkt/data": false, "s3://bkt/*/": false, "s3://bkt/a?/": false, "s3://bkt/a$/": false, "s3://bkt/{x}/": false, "s3://bkt/a\\/": false,
		"s3://bkt/\"/": false, "s3://bkt/'/": false, "s3://bkt/../": false, "s3://bkt/a b/": false, "s3://bkt/é/": false,
	} {
		u, err := objstore.ParseURL(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.CheckScope("url"); ok != (err == nil) {
			t.Errorf("%s: %v", s, err)
		}
	}
	under := func(a, b string) bool {
		u, err1 := objstore.ParseURL(a)
		p, err2 := objstore.ParseURL(b)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		return u.Under(p)
	}
	if !under("s3://bkt/a/b", "s3://bkt/a/") || !under("s3://bkt/a/", "s3://bkt/a/") || !under("s3://bkt/a", "s3://bkt/") {
		t.Error("what lies under does not")
	}
	if under("s3://bkt/ab", "s3://bkt/a") || under("s3://bkt/a", "s3://bkt/a/") || under("gs://bkt/a/b", "s3://bkt/a/") || under("s3://bkt2/a/b", "s3://bkt/a/") {
		t.Error("what does not lie under does")
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"s3://bkt/k", "gs://bkt/a//b", "file:///a/b", "s3://u:p@h/k", "://", "file:///../x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := objstore.ParseURL(s)
		if err != nil {
			return
		}
		if again, err := objstore.ParseURL(u.String()); err != nil || again != u {
			t.Errorf("%q: %+v writes as %q", s, u, u.String())
		}
	})
}

// TestKeysOnTheWire checks that each odd key goes into the request byte for
// byte: what the server decodes from the path is the key.
func TestKeysOnTheWire(t *testing.T) {
	var path string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.RequestURI
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	c := objstore.Config{
		AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		S3:             objstore.S3Config{Endpoint: server.URL, PathStyle: true},
		GS:             objstore.GSConfig{Endpoint: server.URL + "/storage/v1/"},
	}
	for scheme, prefix := range map[objstore.Scheme]string{objstore.S3: "/bkt/", objstore.GS: "/storage/v1/b/bkt/o/"} {
		b, err := objstore.Open(t.Context(), objstore.URL{Scheme: scheme, Bucket: "bkt"}, objstore.Secret{}, c)
		if err != nil {
			t.Fatal(err)
		}
		calls := map[string]func(key string){
			"stat": func(key string) { _, _ = b.Stat(t.Context(), key) },
			"open": func(key string) { _, _ = b.Open(t.Context(), key, objstore.Pin{Size: 9, Version: "1"}, 0, -1) },
		}
		for _, key := range objstoretest.OddKeys {
			for name, call := range calls {
				call(key)
				raw, _, _ := strings.Cut(path, "?")
				got, err := url.PathUnescape(strings.TrimPrefix(raw, prefix))
				if err != nil || got != key || !strings.HasPrefix(raw, prefix) {
					t.Errorf("%s %s %q went out as %q", scheme, name, key, raw)
				}
			}
		}
		_ = b.Close()
	}
}

// TestBlockedAddresses points endpoints at this host and at metadata services.
func TestBlockedAddresses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") }))
	defer server.Close()
	port := server.Listener.Addr().(interface{ String() string }).String()[len("127.0.0.1:"):]
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]"} {
		for _, scheme := range []objstore.Scheme{objstore.S3, objstore.GS} {
			endpoint := "http://" + host + ":" + port
			c := objstore.Config{S3: objstore.S3Config{Endpoint: endpoint, PathStyle: true}, GS: objstore.GSConfig{Endpoint: endpoint}, Retries: 1, Backoff: 1}
			b, err := objstore.Open(t.Context(), objstore.URL{Scheme: scheme, Bucket: "bkt"}, objstore.Secret{}, c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Stat(t.Context(), "key"); rft.KindOf(err) != rft.KindPermissionDenied {
				t.Errorf("%s %s: %v (%v)", scheme, host, err, errors.Unwrap(err))
			}
			_ = b.Close()
		}
	}
}

// TestAmbientIsIgnored sets what SDKs like to find and checks that no request
// follows it.
func TestAmbientIsIgnored(t *testing.T) {
	trap := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the trap got %s %s", r.Method, r.URL) }))
	defer trap.Close()
	for k, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AMBIENT", "AWS_SECRET_ACCESS_KEY": "ambient", "AWS_SESSION_TOKEN": "ambient", "AWS_ENDPOINT_URL": trap.URL, "AWS_ENDPOINT_URL_S3": trap.URL,
		"AWS_REGION": "mars-1", "AWS_PROFILE": "ambient", "AWS_CONTAINER_CREDENTIALS_FULL_URI": trap.URL, "STORAGE_EMULATOR_HOST": trap.URL,
		"GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent/ambient.json", "GOOGLE_CLOUD_PROJECT": "ambient", "GOOGLE_CLOUD_UNIVERSE_DOMAIN": "ambient.example",
		"GCE_METADATA_HOST": strings.TrimPrefix(trap.URL, "http://"), "HTTP_PROXY": trap.URL, "http_proxy": trap.URL, "HTTPS_PROXY": trap.URL,
	} {
		t.Setenv(k, v)
	}
	var seen []string
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, fmt.Sprint(r.Header))
		w.WriteHeader(http.StatusNotFound)
	}))
	defer store.Close()
	c := objstore.Config{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		S3: objstore.S3Config{Endpoint: store.URL, PathStyle: true}, GS: objstore.GSConfig{Endpoint: store.URL}}
	for scheme, secret := range map[objstore.Scheme]string{objstore.S3: `{"accessKeyId":"EXPLICIT","secretAccessKey":"s3cr3t"}`, objstore.GS: `{"accessToken":"EXPLICIT"}`} {
		for _, sec := range []objstore.Secret{{}, seal.NewSecret(secret)} {
			seen = nil
			b, err := objstore.Open(t.Context(), objstore.URL{Scheme: scheme, Bucket: "bkt"}, sec, c)
			if err != nil {
				t.Fatal(err)
			}
			_, err = b.Stat(t.Context(), "key")
			all := strings.Join(seen, "")
			if rft.KindOf(err) != rft.KindNotFound || len(seen) != 1 || strings.Contains(strings.ToLower(all), "ambient") || strings.Contains(all, "mars-1") {
				t.Errorf("%s: %v; %s", scheme, err, all)
			}
			if explicit := strings.Contains(all, "EXPLICIT"); explicit == sec.Empty() || strings.Contains(all, "Authorization") == sec.Empty() {
				t.Errorf("%s: explicit %v; %s", scheme, explicit, all)
			}
			_ = b.Close()
		}
	}
}

// TestCredentialErrors checks that a bad credential is refused without being
// repeated.
func TestCredentialErrors(t *testing.T) {
	for scheme, bad := range map[objstore.Scheme][]string{
		objstore.S3: {"s3cr3t", `{"accessKeyId":"s3cr3t"}`, `["s3cr3t"]`, `{"accessKeyId":5,"x":"s3cr3t"}`},
		objstore.GS: {"s3cr3t", `{"type":"authorized_user","refresh_token":"s3cr3t"}`, `{"type":"external_account","token_url":"http://s3cr3t"}`},
	} {
		for _, text := range bad {
			_, err := objstore.Open(t.Context(), objstore.URL{Scheme: scheme, Bucket: "bkt"}, seal.NewSecret(text), objstore.Config{})
			if rft.KindOf(err) != rft.KindInvalidArgument || strings.Contains(fmt.Sprintf("%v %+v %v", err, err, errors.Unwrap(err)), "s3cr3t") {
				t.Errorf("%s %s: %v", scheme, text, err)
			}
		}
	}
}
