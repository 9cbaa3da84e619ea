// Package objstoretest tests implementations of objstore.Bucket: it starts real
// object stores on loopback and checks every promise of the interface. Only
// tests import it.
package objstoretest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/seal"
)

// Server is a running object store.
type Server struct {
	Scheme   objstore.Scheme
	Endpoint string // http://127.0.0.1:PORT
	// Dir is where an S3 store keeps its buckets, as directories.
	Dir    string
	secret objstore.Secret
	t      testing.TB
}

// VersityGW starts an S3 server on a fresh directory and stops it with the test.
func VersityGW(t testing.TB) *Server { return versityGW(t, false) }

// VersityGWVersioned is VersityGW where buckets can keep versions.
func VersityGWVersioned(t testing.TB) *Server { return versityGW(t, true) }

func versityGW(t testing.TB, versioned bool) *Server {
	t.Helper()
	bin := find(t, "FIREKEEP_VERSITYGW", "versitygw")
	s := &Server{Scheme: objstore.S3, Dir: t.TempDir(), t: t}
	access, secret := "AK"+seal.RandomID(18), seal.RandomID(40)
	s.secret = secretJSON(objstore.S3Credential{AccessKeyID: access, SecretAccessKey: secret})
	address := freeAddress(t)
	args := []string{"--port", address, "--quiet", "posix", "--sidecar", t.TempDir()}
	if versioned {
		args = append(args, "--versioning-dir", t.TempDir())
	}
	s.start(bin, address, append(args, s.Dir), "ROOT_ACCESS_KEY="+access, "ROOT_SECRET_KEY="+secret)
	return s
}

// FakeGCS starts a server of Google's JSON API in memory and stops it with the test.
func FakeGCS(t testing.TB) *Server {
	t.Helper()
	bin := find(t, "FIREKEEP_FAKE_GCS", "fake-gcs-server")
	s := &Server{Scheme: objstore.GS, t: t}
	address := freeAddress(t)
	host, port, _ := net.SplitHostPort(address)
	s.start(bin, address, []string{"-scheme", "http", "-host", host, "-port", port, "-backend", "memory",
		"-public-host", address, "-external-url", "http://" + address, "-log-level", "error"})
	return s
}

// Bucket makes a bucket.
func (s *Server) Bucket(name string) objstore.URL {
	s.t.Helper()
	if s.Scheme == objstore.S3 {
		if err := os.Mkdir(filepath.Join(s.Dir, name), 0o755); err != nil {
			s.t.Fatal(err)
		}
	} else {
		body := bytes.NewReader(fmt.Appendf(nil, `{"name":%q}`, name))
		res, err := http.Post(s.Endpoint+"/storage/v1/b?project=test", "application/json", body)
		if err != nil {
			s.t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			s.t.Fatalf("make bucket: %s", res.Status)
		}
	}
	return objstore.URL{Scheme: s.Scheme, Bucket: name}
}

// Secret is the store's root credential.
func (s *Server) Secret() objstore.Secret { return s.secret }

// Config reaches the store, through another endpoint (a proxy) when one is
// given. Waits are short and parts small.
func (s *Server) Config(endpoint string) objstore.Config {
	if endpoint == "" {
		endpoint = s.Endpoint
	}
	c := objstore.Config{
		AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Backoff:        time.Millisecond, PartBytes: 5 << 20,
	}
	if s.Scheme == objstore.S3 {
		c.S3 = objstore.S3Config{Endpoint: endpoint, PathStyle: true}
	} else {
		c.GS.Endpoint = endpoint + "/storage/v1/"
	}
	return c
}

// Open opens a bucket of the store.
func (s *Server) Open(u objstore.URL) objstore.Bucket {
	s.t.Helper()
	b, err := objstore.Open(s.t.Context(), u, s.secret, s.Config(""))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = b.Close() })
	return b
}

func secretJSON(v any) objstore.Secret {
	b, _ := json.Marshal(v)
	return seal.NewSecret(string(b))
}

// start runs a server and waits until it listens.
func (s *Server) start(bin, address string, args []string, env ...string) {
	s.t.Helper()
	s.Endpoint = "http://" + address
	var out bytes.Buffer
	cmd := exec.Command(bin, args...)
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+s.t.TempDir(), "TMPDIR="+os.TempDir())
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	s.t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	if err := waitForListener(address, ended); err != nil {
		_ = cmd.Process.Kill()
		<-ended
		s.t.Fatalf("%s: %v\n%s", filepath.Base(bin), err, out.String())
	}
}

// waitForListener tries to connect until somebody listens, the process ends or
// half a minute has passed.
func waitForListener(address string, ended <-chan struct{}) error {
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", address); err == nil {
			return c.Close()
		}
		select {
		case <-ended:
			return errors.New("the server ended")
		case <-deadline:
			return errors.New("nobody listens")
		case <-tick.C:
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// find locates a server program: by the environment, else in .cache/bin of the
// checkout. It skips only where FIREKEEP_WITHOUT_ORACLES=1 allows it.
func find(t testing.TB, env, name string) string {
	t.Helper()
	path := os.Getenv(env)
	if path == "" {
		path = filepath.Join(checkout(), ".cache", "bin", name)
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skipf("%s is not installed", name)
		}
		t.Fatalf("%s is missing; run `make doubles` or set %s", name, env)
	}
	return path
}

// checkout is the directory above that holds go.mod.
func checkout() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
	}
}

// ReadAll opens and reads an object.
func ReadAll(t testing.TB, b objstore.Bucket, key string, pin objstore.Pin) ([]byte, error) {
	t.Helper()
	r, err := b.Open(t.Context(), key, pin, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
