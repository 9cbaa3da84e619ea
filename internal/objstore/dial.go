package objstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"syscall"
	"time"
)

// errBlocked says that an endpoint's name led to an address of this host or of
// its surroundings.
var errBlocked = errors.New("the address is blocked; the operator may allow it")

// metadata addresses that do not lie in a link-local network.
var metadata = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200")}

// blocked reports whether a connection to addr could reach the host itself or
// the cloud's metadata service.
func (c Config) blocked(addr netip.Addr) bool {
	addr = addr.Unmap()
	for _, p := range c.AllowAddresses {
		if p.Contains(addr) {
			return false
		}
	}
	for _, m := range metadata {
		if addr == m {
			return true
		}
	}
	return addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified()
}

// HTTPClient is the client of every request to a store or to a token service of
// its cloud. The check is made on
// the address that is really dialled, after names have been resolved.
func (c Config) HTTPClient() *http.Client {
	c = c.withDefaults()
	dialer := &net.Dialer{
		Timeout:   10 * time.Second,
		KeepAlive: 30 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil || c.blocked(a.Addr()) {
				return fmt.Errorf("dial %s: %w", address, errBlocked)
			}
			return nil
		},
	}
	t := &http.Transport{
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: c.Stall,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // bytes as they are stored
	}
	if pool, err := c.roots(); err == nil && pool != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	if c.Proxy != "" {
		if u, err := url.Parse(c.Proxy); err == nil { // Check has parsed it
			t.Proxy = http.ProxyURL(u)
		}
	}
	return &http.Client{
		Transport: t,
		// A redirect would carry the request to a place that nobody chose.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// maxCABytes bounds the operator's file of authorities.
const maxCABytes = 4 << 20

// roots are the system's authorities and those of CAFile; nil = the system's.
func (c Config) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	if info, err := os.Stat(c.CAFile); err != nil || info.Size() > maxCABytes {
		return nil, errors.New("no such file, or too large")
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in it")
	}
	return pool, nil
}
