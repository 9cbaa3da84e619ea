package server

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// TLSFiles are the paths of a certificate and its key in PEM, and of the CA whose
// clients are let in, "" = clients show no certificate.
type TLSFiles struct {
	Cert, Key, ClientCA string
}

// Certificates is a TLS configuration that follows its files: when they change,
// the next handshake uses the new ones. A change that cannot be read keeps what
// was there, so that a half-written file stops nobody.
type Certificates struct {
	files TLSFiles
	// Failed is told of a change that cannot be read; nil = nobody.
	Failed func(error)

	mu      sync.Mutex
	config  *tls.Config
	stamps  [3]time.Time
	checked time.Time
}

// checkFilesEvery is how often the files are looked at: a handshake costs more.
const checkFilesEvery = time.Second

// LoadCertificates reads the files.
func LoadCertificates(f TLSFiles) (*Certificates, error) {
	c := &Certificates{files: f, stamps: stampsOf(f)}
	var err error
	if c.config, err = f.load(); err != nil {
		return nil, err
	}
	c.checked = time.Now()
	return c, nil
}

// load makes the configuration of one state of the files. TLS 1.3 is the least:
// every client of this API has it.
func (f TLSFiles) load() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "the certificate %s and its key %s cannot be read, or do not belong together", f.Cert, f.Key)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}, SessionTicketsDisabled: true}
	if f.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "the CA of clients %s cannot be read", f.ClientCA)
	}
	c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "the CA of clients %s holds no certificate in PEM", f.ClientCA)
	}
	return c, nil
}

// Config is the configuration for a listener. Every handshake asks for the
// current one. Sessions are not resumed, so that a client whose CA is gone does
// not come back by an old ticket.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, SessionTicketsDisabled: true,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil }}
}

// Names are the host names of the certificate.
func (c *Certificates) Names() []string {
	leaf := c.current().Certificates[0].Leaf
	if leaf == nil {
		return nil
	}
	return leaf.DNSNames
}

func (c *Certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < checkFilesEvery {
		return c.config
	}
	c.checked = time.Now()
	stamps := stampsOf(c.files)
	if stamps == c.stamps {
		return c.config
	}
	next, err := c.files.load()
	if err != nil {
		if c.Failed != nil {
			c.Failed(err)
		}
		return c.config // looked at again at the next check
	}

	c.config, c.stamps = next, stamps
	return c.config
}

func stampsOf(f TLSFiles) (out [3]time.Time) {
	for i, path := range []string{f.Cert, f.Key, f.ClientCA} {
		if info, err := os.Stat(path); path != "" && err == nil {
			out[i] = info.ModTime()
		}
	}
	return out
}
