package server

import (
	"net/http"
	"net/url"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/rft"
)

// connectionRoutes are the routes of connections, of what was minted from them,
// and of the issuer that the mints come from.
func (s *Server) connectionRoutes(cp func(method, pattern string, h func(*request) error) route) []route {
	const a = "/v1/accounts/{account}"
	out := []route{
		cp("POST", a+"/connections/{connection}:check", checkConnection),
		cp("POST", a+"/connections/{connection}:rotate", rotateConnection),
		cp("GET", a+"/rlorTrainerJobs/{step}/credentials", stepCredentials),
		cp("POST", "/v1/issuer:rotate", rotateIssuer),
		cp("POST", "/v1/issuer:export", exportIssuer),
	}
	if base, ok := s.issuerPath(); ok {
		out = append(out, cp("GET", base+issuer.DiscoveryPath, discovery), cp("GET", base+issuer.KeysPath, issuerKeys))
	}
	return out
}

// issuerPath is where, below this server's root, the issuer's URL lies.
func (s *Server) issuerPath() (string, bool) {
	if s.control == nil || s.control.Issuer == nil {
		return "", false
	}
	u, err := url.Parse(s.control.Issuer.URL)
	return u.EscapedPath(), err == nil
}

func checkConnection(rq *request) error {
	a, id, err := rq.ref("connection", rft.Connections)
	if err != nil {
		return err
	}
	v, err := rq.s.control.CheckConnection(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func rotateConnection(rq *request) error {
	var b api.RotateConnectionRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	a, id, err := rq.ref("connection", rft.Connections)
	if err != nil {
		return err
	}
	v, err := rq.s.control.RotateConnection(rq.ctx(), rq.caller, a, id, b.Secret)
	return rq.reply(v, err)
}

func stepCredentials(rq *request) error {
	a, id, err := rq.ref("step", rft.Steps)
	if err != nil {
		return err
	}
	v, err := rq.s.control.StepCredentials(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func rotateIssuer(rq *request) error {
	v, err := rq.s.control.RotateIssuer(rq.ctx(), rq.caller)
	return rq.reply(v, err)
}

func exportIssuer(rq *request) error {
	var b api.ExportIssuerRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.ExportIssuer(rq.ctx(), rq.caller, b.URL)
	return rq.reply(v, err)
}

func discovery(rq *request) error {
	docs, err := rq.s.control.IssuerDocuments(rq.ctx())
	return rq.document(docs.Discovery, err)
}

func issuerKeys(rq *request) error {
	docs, err := rq.s.control.IssuerDocuments(rq.ctx())
	return rq.document(docs.JWKS, err)
}

// document writes a public document that clouds are to cache.
func (rq *request) document(body []byte, err error) error {
	if err != nil {
		return err
	}
	h := rq.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", issuer.CacheControl)
	rq.w.WriteHeader(http.StatusOK)
	_, _ = rq.w.Write(body) // the caller has left
	return nil
}
