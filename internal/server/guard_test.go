package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHosts: names of strangers that point here (DNS rebinding) are refused,
// addresses and the configured names are not.
func TestHosts(t *testing.T) {
	f := newFixture(t)
	f.srv.hosts = hosts{"firekeep.example.com": true}
	for host, want := range map[string]int{
		"127.0.0.1:8080": 200, "localhost": 200, "localhost:8080": 200, "[::1]:8080": 200, "FireKeep.example.com.:443": 200,
		"evil.example": 421, "firekeep.example.com.evil.example": 421, "localhost.evil.example:8080": 421, "127.0.0.1.evil.example": 421,
	} {
		req, _ := http.NewRequest("GET", f.http.URL+"/healthz", nil)
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %s: %d, want %d", host, resp.StatusCode, want)
		}
	}
}

// TestBrowsersGetNothing: no CORS header, no cookie, no request of a page of
// another place.
func TestBrowsersGetNothing(t *testing.T) {
	f := newFixture(t)
	key := f.keys["main/admin"]
	for name, c := range map[string]struct {
		method string
		header []string
		want   int
	}{
		"a page elsewhere":   {"GET", []string{"Origin", "https://evil.example"}, 403},
		"a file":             {"GET", []string{"Origin", "null"}, 403},
		"a preflight":        {"OPTIONS", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}, 403},
		"a page of this one": {"GET", []string{"Origin", f.http.URL}, 200},
		"a program":          {"GET", nil, 200},
	} {
		status, h, _ := f.do("main/admin", c.method, "/v1/accounts/main", "", c.header...)
		if status != c.want {
			t.Errorf("%s: %d, want %d", name, status, c.want)
		}
		for k := range h {
			if strings.HasPrefix(k, "Access-Control-") || k == "Set-Cookie" {
				t.Errorf("%s: %s is set", name, k)
			}
		}
	}
	for _, header := range [][]string{{"Cookie", "key=" + key}, {"Cookie", "Authorization=Bearer " + key}, {"Authorization", "Basic " + key}, {"Proxy-Authorization", "Bearer " + key}} {
		if status, _, _ := f.do("", "GET", "/v1/accounts", "", header...); status != 401 {
			t.Errorf("%s: %d", header[0], status)
		}
	}
	if status, _, _ := f.do("", "GET", "/v1/accounts?key="+key+"&access_token="+key, ""); status != 401 {
		t.Errorf("a key in the URL: %d", status)
	}
}

// TestSlowClients: who sends the header too slowly is cut off.
func TestSlowClients(t *testing.T) {
	f := newFixture(t)
	h := f.srv.HTTPServer()
	if h.ReadHeaderTimeout == 0 || h.IdleTimeout == 0 || h.MaxHeaderBytes == 0 {
		t.Fatal("a limit is missing")
	}
	h.ReadHeaderTimeout = 50 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go h.Serve(l)
	defer h.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow")
	must(t, err)
	// The read ends when the server hangs up, however slow the machine is.
	if b, err := io.ReadAll(c); err != nil || strings.Contains(string(b), "200 OK") {
		t.Errorf("%q %v", b, err)
	}
	c2, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer c2.Close()
	_, _ = io.WriteString(c2, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Big: "+strings.Repeat("x", 200<<10)+"\r\n\r\n")
	if b, _ := io.ReadAll(c2); strings.Contains(string(b), "200 OK") {
		t.Error("a header of 200 KiB was taken")
	}
}

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	must(t, err)
	c, err = x509.ParseCertificate(der)
	must(t, err)
	return &authority{c, key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// issue writes a certificate and its key.
func (a *authority) issue(t *testing.T, name, certPath, keyPath string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	must(t, err)
	k, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), 0o600))
}

// TestTLS: 1.3 at least, the certificate follows its files, a damaged change
// changes nothing, and with a client CA only its clients are let in.
func TestTLS(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	files := TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	ca := newAuthority(t, "servers")
	ca.issue(t, "one.example", files.Cert, files.Key)
	var failures []error
	serve := func(files TLSFiles) (*Certificates, string) {
		certs, err := LoadCertificates(files)
		must(t, err)
		certs.Failed = func(err error) { failures = append(failures, err) }
		l, err := tls.Listen("tcp", "127.0.0.1:0", certs.Config())
		must(t, err)
		h := f.srv.HTTPServer()
		go h.Serve(l)
		t.Cleanup(func() { h.Close() })
		return certs, l.Addr().String()
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	name := func(addr string, c *tls.Config) (string, error) {
		c.RootCAs = roots
		conn, err := tls.Dial("tcp", addr, c)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
			return "", err
		}
		if _, err := io.ReadAll(conn); err != nil { // the server's verdict on a client comes here
			return "", err
		}
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
	}
	certs, addr := serve(files)
	if n, err := name(addr, &tls.Config{}); n != "one.example" {
		t.Fatal(n, err)
	}
	if _, err := name(addr, &tls.Config{MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is spoken")
	}
	later := time.Now()
	change := func() { // as of a later second, and looked at again
		later = later.Add(time.Hour)
		must(t, os.Chtimes(files.Cert, later, later))
		certs.mu.Lock()
		certs.checked = time.Time{}
		certs.mu.Unlock()
	}
	ca.issue(t, "two.example", files.Cert, files.Key)
	change()
	if n, err := name(addr, &tls.Config{}); n != "two.example" {
		t.Error(n, err)
	}
	must(t, os.WriteFile(files.Cert, []byte("half a fi"), 0o600))
	change()
	if n, err := name(addr, &tls.Config{}); n != "two.example" || len(failures) != 1 {
		t.Error(n, err, failures)
	}
	if _, err := LoadCertificates(files); err == nil {
		t.Error("a damaged certificate was loaded at the start")
	}

	ca.issue(t, "three.example", files.Cert, files.Key)
	clients := newAuthority(t, "clients")
	files.ClientCA = filepath.Join(dir, "ca.pem")
	must(t, os.WriteFile(files.ClientCA, clients.pem(), 0o600))
	_, addr = serve(files)
	show := func(a *authority) (string, error) {
		cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
		a.issue(t, "client", cert, key)
		pair, err := tls.LoadX509KeyPair(cert, key)
		must(t, err)
		return name(addr, &tls.Config{Certificates: []tls.Certificate{pair}})
	}
	if n, err := show(clients); n != "three.example" {
		t.Error(n, err)
	}
	if _, err := show(ca); err == nil {
		t.Error("a client of another CA was let in")
	}
	if _, err := name(addr, &tls.Config{}); err == nil {
		t.Error("a client without a certificate was let in")
	}
	must(t, os.WriteFile(files.ClientCA, []byte("nothing"), 0o600))
	if _, err := LoadCertificates(files); err == nil {
		t.Error("an empty CA was loaded")
	}
}
