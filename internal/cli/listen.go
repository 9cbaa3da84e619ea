package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"

	"google.golang.org/grpc"

	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/server"
)

// defaultGRPCListen is the address of the gRPC service; "-" turns it off.
const defaultGRPCListen = "127.0.0.1:8081"

// listenFlags are the flags of serve about its listeners.
type listenFlags struct {
	Listen     string `help:"Address of the HTTP API; 127.0.0.1:8080 by default." placeholder:"HOST:PORT"`
	GRPCListen string `name:"grpc-listen" help:"Address of the gRPC service; 127.0.0.1:8081 by default, - = none." placeholder:"HOST:PORT"`
	TLSCert    string `name:"tls-cert" help:"Certificate in PEM; it is read again when it changes." placeholder:"PATH"`
	TLSKey     string `name:"tls-key" help:"Key of the certificate." placeholder:"PATH"`
	ClientCA   string `name:"tls-client-ca" help:"Let in only clients with a certificate of this CA." placeholder:"PATH"`
	Plaintext  bool   `name:"send-keys-in-plaintext-over-the-network" help:"Listen off this host without TLS: everybody on the way can read API keys, prompts and answers."`
}

// apply puts the flags over the configuration; a flag wins.
func (f listenFlags) apply(c *Config) {
	for _, x := range []struct {
		flag string
		to   *string
	}{{f.Listen, &c.Listen}, {f.GRPCListen, &c.GRPCListen}, {f.TLSCert, &c.TLS.Cert}, {f.TLSKey, &c.TLS.Key}, {f.ClientCA, &c.TLS.ClientCA}} {
		if x.flag != "" {
			*x.to = x.flag
		}
	}
	c.plaintext = f.Plaintext
}

// TLSConfig names the files of the listeners' certificate.
type TLSConfig struct {
	// Cert and Key are PEM files, read again when they change.
	Cert string `json:"cert"`
	Key  string `json:"key"`
	// ClientCA lets in only clients with a certificate of this CA.
	ClientCA string `json:"clientCa"`
}

// listeners are the open addresses of a server.
type listeners struct {
	http net.Listener
	grpc net.Listener // nil = none
	// noGRPC is why the default address could not be had; nil = it could, or
	// another one was asked for.
	noGRPC error
	// certs is nil without TLS.
	certs *server.Certificates
	hosts []string
}

// open opens the addresses of the configuration, or refuses them: whoever listens
// to the network without TLS must have said so.
func (c Config) open() (l *listeners, err error) {
	l = &listeners{hosts: c.Hosts}
	if c.TLS.Cert != "" || c.TLS.Key != "" || c.TLS.ClientCA != "" {
		if c.TLS.Cert == "" || c.TLS.Key == "" {
			return nil, rft.FieldErrorf("tls", "TLS needs a certificate and its key: --tls-cert and --tls-key, or tls.cert and tls.key in config.json")
		}
		if l.certs, err = server.LoadCertificates(server.TLSFiles{Cert: c.TLS.Cert, Key: c.TLS.Key, ClientCA: c.TLS.ClientCA}); err != nil {
			return nil, err
		}
		l.hosts = append(l.hosts, l.certs.Names()...)
	}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && host != "" {
		l.hosts = append(l.hosts, host)
	}
	if l.http, err = c.listen("listen", c.Listen, l.certs != nil); err != nil {
		return nil, err
	}
	switch c.GRPCListen {
	case "-":
		return l, nil
	case "":
		// Nobody asked for this address: another server of this host may have it, and
		// HTTP does without.
		l.grpc, l.noGRPC = c.listen("grpcListen", defaultGRPCListen, l.certs != nil)
		return l, nil
	}
	if l.grpc, err = c.listen("grpcListen", c.GRPCListen, l.certs != nil); err != nil {
		l.http.Close()
		return nil, err
	}
	return l, nil
}

func (c Config) listen(field, address string, secured bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, rft.FieldErrorf(field, "%s: %q is not HOST:PORT", field, address)
	}
	if !loopback(host) && !secured && !c.plaintext {
		return nil, rft.FieldErrorf(field, "%s: %s is not an address of this host alone, and without TLS everybody on the way reads API keys: give --tls-cert and --tls-key, or put a proxy with TLS in front of 127.0.0.1 (--send-keys-in-plaintext-over-the-network overrides this)", field, address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, rft.Wrap(rft.KindUnavailable, err, "cannot listen on %s: %s", address, cause(err))
	}
	return l, nil
}

// QuotaConfig are limits of accounts; 0 = none, but for requests.
type QuotaConfig struct {
	// RequestsPerSecond is 1000 by default; -1 = no limit.
	RequestsPerSecond int64 `json:"requestsPerSecond"`
	QueuedJobs        int64 `json:"queuedJobs"`
	StorageBytes      int64 `json:"storageBytes"`
}

// defaultRequests is a rate that no person and few programs reach, and that keeps
// one account's flood from being everybody's.
const defaultRequests = 1000

func (q QuotaConfig) limits() authz.Limits {
	l := authz.Limits{RequestsPerSecond: q.RequestsPerSecond, QueuedJobs: q.QueuedJobs, StorageBytes: q.StorageBytes}
	switch {
	case l.RequestsPerSecond == 0:
		l.RequestsPerSecond = defaultRequests
	case l.RequestsPerSecond < 0:
		l.RequestsPerSecond = 0
	}
	return l
}

// close closes what no server has closed.
func (l *listeners) close() {
	l.http.Close()
	if l.grpc != nil {
		l.grpc.Close()
	}
}

// url is the address of the API for people.
func (l *listeners) url() string {
	if l.certs != nil {
		return "https://" + l.http.Addr().String()
	}
	return "http://" + l.http.Addr().String()
}

// httpAuthority is the address of the HTTP API for a client that called the gRPC
// service by authority: the same name, the other port.
func (l *listeners) httpAuthority(authority string) string {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority
	}
	_, port, err := net.SplitHostPort(l.http.Addr().String())
	if err != nil {
		return authority
	}
	return net.JoinHostPort(host, port)
}

// tlsConfig is the configuration of both listeners, nil = plaintext.
func (l *listeners) tlsConfig() *tls.Config {
	if l.certs == nil {
		return nil
	}
	return l.certs.Config()
}

// serveHTTP serves until the server is shut down.
func (l *listeners) serveHTTP(h *http.Server) error {
	var err error
	if l.certs != nil {
		h.TLSConfig = l.tlsConfig()
		err = h.ServeTLS(l.http, "", "")
	} else {
		err = h.Serve(l.http)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return rft.Wrap(rft.KindUnavailable, err, "the HTTP server failed")
}

// serveGRPC serves until the server is stopped.
func (l *listeners) serveGRPC(g *grpc.Server) error {
	if l.grpc == nil {
		return nil
	}
	if err := g.Serve(l.grpc); err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the gRPC server failed")
	}
	return nil
}

// stopGRPC ends the calls in work, by force once ctx ends.
func stopGRPC(ctx context.Context, g *grpc.Server) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		g.Stop()
	}
}

// baseURL is the address of the server that commands speak to.
func (a *app) baseURL() (base string, local bool, err error) {
	if base = a.url; base == "" {
		if base, err = a.setting("FIREKEEP_BASE_URL", func(p *profile) string { return p.BaseURL }); err != nil {
			return "", false, err
		}
	}
	if base == "" {
		base = defaultURL
	}
	u, err := parseBase(base)
	if err != nil {
		return "", false, err
	}
	return base, loopback(u.Hostname()), nil
}

func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return nil, rft.FieldErrorf("base-url", "the base URL must look like http://127.0.0.1:8080, without a key in it")
	}
	return u, nil
}

// httpClient trusts the CA of FIREKEEP_CA_FILE beside the system's, and shows the
// certificate of FIREKEEP_CLIENT_CERT and FIREKEEP_CLIENT_KEY, or those of a profile.
func (a *app) httpClient() (*http.Client, error) {
	ca, err := a.setting("FIREKEEP_CA_FILE", func(p *profile) string { return p.CAFile })
	if err != nil {
		return nil, err
	}
	cert, key := a.Env("FIREKEEP_CLIENT_CERT"), a.Env("FIREKEEP_CLIENT_KEY")
	if p, flag, _ := a.chosen(); p != nil && p.ClientCert != "" && (cert == "" || flag) {
		cert, key = p.ClientCert, p.ClientKey // the two belong together
	}
	if ca == "" && cert == "" {
		return http.DefaultClient, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12} // of proxies; the server itself has 1.3
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, rft.Wrap(rft.KindInvalidArgument, err, "FIREKEEP_CA_FILE: %s cannot be read", ca)
		}
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, rft.Errorf(rft.KindInvalidArgument, "FIREKEEP_CA_FILE: %s holds no certificate in PEM", ca)
		}
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, rft.Wrap(rft.KindInvalidArgument, err, "FIREKEEP_CLIENT_CERT and FIREKEEP_CLIENT_KEY cannot be read")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = c
	return &http.Client{Transport: t}, nil
}

// String says what the listeners are, for the log.
func (l *listeners) String() string {
	if l.grpc == nil {
		return l.http.Addr().String()
	}
	return fmt.Sprintf("%s, %s (gRPC)", l.http.Addr(), l.grpc.Addr())
}
