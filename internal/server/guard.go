package server

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
)

// hosts says by which names the server may be called. A page of a stranger that
// points its own name at this server (DNS rebinding) comes with that name in the
// Host header. Addresses cannot be rebound, so they always pass.
type hosts map[string]bool

// allow reports whether a Host header names this server.
func (h hosts) allow(host string) bool {
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return name == "localhost" || h[name]
}

// AllowHost reports whether a name is one of this server's; the other skins ask
// too.
func (s *Server) AllowHost(host string) bool { return s.hosts.allow(host) }

// guard refuses what no client of this API sends, before anything is looked up.
func (s *Server) guard(r *http.Request) error {
	if !s.hosts.allow(r.Host) {
		return &statusError{http.StatusMisdirectedRequest, rft.Errorf(rft.KindInvalidArgument, "this server does not go by the name of the Host header; the operator may add it to hosts in config.json")}
	}
	// Browsers send Origin with every request of a page that is not a plain visit.
	// Nothing here answers to pages of other places, and no answer carries CORS
	// headers.
	if o := r.Header.Get("Origin"); o != "" && !sameOrigin(o, r.Host) {
		return rft.Errorf(rft.KindPermissionDenied, "requests of web pages of other places are refused")
	}
	return nil
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// meter lets a bounded number of requests pass that nobody is known for yet.
type meter struct {
	mu     sync.Mutex
	tokens float64
	last   time.Time
}

// strangersPerSecond bounds token exchanges of the whole server: each costs a
// signature check, and may fetch keys from an issuer.
const strangersPerSecond = 50

func (m *meter) take(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last.IsZero() {
		m.tokens = strangersPerSecond
	} else {
		m.tokens = min(strangersPerSecond, m.tokens+strangersPerSecond*max(0, now.Sub(m.last).Seconds()))
	}
	m.last = now
	if m.tokens < 1 {
		return false
	}
	m.tokens--
	return true
}

func tooManyStrangers() error {
	return rft.Wrap(rft.KindResourceExhausted, &serving.Busy{After: time.Second}, "too many token exchanges; try again in a moment")
}
