package identity

import (
	"context"
	"io"
	"strings"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Finding is the outcome of one check of a connection.
type Finding struct {
	Check  string
	Passed bool
	Got    string // what happened, in words
	// TooWide is the statement on the other side that allows what it should not.
	TooWide string
}

// Report is what probing a connection found.
type Report struct {
	State    string // store.ConnectionReady, ...
	Code     string // kind of what failed, "OK"
	Message  string
	Findings []Finding
}

// probe is one probing of a connection.
type probe struct {
	*Broker
	ctx    context.Context
	conn   Connection
	conf   objstore.Config
	report Report
	failed error // why nothing more can be found out
	// pending says what the owner has still to do.
	pending string
	left    []string // objects that a probe wrote and could not remove
}

// Probe tries a connection: what it must be able to do, and what it must not.
// It asks as a wrong subject and for a wrong audience, and with a session that
// is not narrowed it reads, lists and writes outside of the prefix. Whatever of
// that succeeds makes the connection OVER_BROAD. Secrets are only asked to read
// and list: to write with somebody's key where nobody asked for it is not ours.
func (b *Broker) Probe(ctx context.Context, c Connection, conf objstore.Config) Report {
	p := &probe{Broker: b, ctx: ctx, conn: c, conf: conf}
	if c.Auth.Federated() {
		p.federated()
	} else {
		p.secret()
	}
	return p.conclude()
}

func (p *probe) conclude() Report {
	r := &p.report
	r.State, r.Code = store.ConnectionReady, "OK"
	var wide []string
	for _, f := range r.Findings {
		if f.TooWide != "" {
			wide = append(wide, f.Check+" succeeded: "+f.TooWide)
		}
	}
	if len(p.left) > 0 {
		wide = append(wide, "remove what the probe could not: "+strings.Join(p.left, ", "))
	}
	switch {
	case len(wide) > 0:
		r.State, r.Code, r.Message = store.ConnectionOverBroad, string(rft.KindFailedPrecondition), "too wide: "+strings.Join(wide, "; ")
	case p.failed != nil:
		r.State, r.Code, r.Message = store.ConnectionFailed, string(rft.KindOf(p.failed)), rft.PublicMessage(p.failed)
	case p.pending != "":
		r.State, r.Code, r.Message = store.ConnectionPending, string(rft.KindFailedPrecondition), p.pending
	}
	return *r
}

// works notes the outcome of what must succeed.
func (p *probe) works(check string, err error) bool {
	f := Finding{Check: check, Passed: err == nil, Got: "done"}
	if err != nil {
		f.Got = rft.PublicMessage(err)
		if p.failed == nil {
			p.failed = err
		}
	}
	p.report.Findings = append(p.report.Findings, f)
	return err == nil
}

// denied notes the outcome of what must be refused; tooWide names the statement
// that allows it. An outage proves nothing, so it is a failure too.
func (p *probe) denied(check, tooWide string, err error) {
	f := Finding{Check: check}
	switch kind := rft.KindOf(err); {
	case err == nil:
		f.Got, f.TooWide = "it succeeded", tooWide
	case kind == rft.KindPermissionDenied:
		f.Passed, f.Got = true, "refused"
	case kind == rft.KindNotFound:
		// Not refused, but nothing was there either. Stores that say so let the
		// credential look; whether it may also list is another check.
		f.Passed, f.Got = true, "not there: write the object to make this check conclusive"
	default:
		f.Got = rft.PublicMessage(err)
		if p.failed == nil {
			p.failed = err
		}
	}
	p.report.Findings = append(p.report.Findings, f)
}

func (p *probe) job() Job { return Job{Account: p.conn.Account, Kind: "probe", ID: p.conn.UID} }

// mint exchanges a token and has the credential audited, as for a job.
func (p *probe) mint(a asked) (Credential, error) {
	a.from, a.job, a.life = p.conn, p.job(), p.life()
	a.url = p.conn.URL
	if p.Federation == nil {
		return Credential{}, rft.Errorf(rft.KindFailedPrecondition, "this server has no token issuer; the operator must set issuer.url in config.json")
	}
	s, err := p.Federation.exchange(p.ctx, a)
	if err != nil {
		return Credential{}, err
	}
	c := Credential{ID: seal.RandomID(16), URL: a.url, Access: a.access, Expiry: s.expiry, Secret: s.secret, TokenID: s.tokenID, Encryption: p.conn.Options.Encryption, dropped: p.Dropped}
	if p.Audit != nil {
		if err := p.Audit(p.ctx, a.job, p.conn, c); err != nil {
			return Credential{}, rft.Wrap(rft.KindUnavailable, err, "the probe could not be audited")
		}
	}
	return c, nil
}

// federated probes a connection whose credentials come from a cloud.
func (p *probe) federated() {
	p.conn.eachAccess(func(a Access, _ string) {
		if p.failed != nil {
			return
		}
		c, err := p.mint(asked{access: a})
		if !p.works("exchange a token to "+string(a), err) {
			return
		}
		p.forget(c)
		p.foreign(a)
		if a == Read {
			p.ownership(c)
		}
		p.beyond(a)
	})
}

func (p *probe) forget(c Credential) { _ = c.Drop(p.ctx) } // the record's expiry stands

// foreign asks as somebody else, and for somebody else.
func (p *probe) foreign(a Access) {
	sub, aud, _ := p.statements(a)
	none := strings.Repeat("z", len(p.conn.UID)) // an id that nobody has
	c, err := p.mint(asked{access: a, subject: subject(none, none, a)})
	p.forget(c)
	p.denied("exchange as another subject to "+string(a), sub, err)
	c, err = p.mint(asked{access: a, audience: "https://audience.invalid/" + none})
	p.forget(c)
	p.denied("exchange for another audience to "+string(a), aud, err)
}

// ownership looks for the object that only somebody who may write into the
// prefix can have put there: read access alone proves nothing.
func (p *probe) ownership(c Credential) {
	b, err := c.Open(p.ctx, p.conf)
	if err == nil {
		_, err = b.Stat(p.ctx, p.conn.proof())
		_ = b.Close()
	}
	if rft.KindOf(err) == rft.KindNotFound {
		p.pending = "write the object " + p.conn.proof() + " into the bucket to prove that it is yours, then check again"
		p.report.Findings = append(p.report.Findings, Finding{Check: "find the proof of ownership", Got: "not there"})
		return
	}
	p.works("find the proof of ownership", err)
}

// beyond uses a session that is as wide as the role itself where it must not
// reach. The prefix beside ours differs in the last slash only: that is what a
// policy forgets.
func (p *probe) beyond(a Access) {
	c, err := p.mint(asked{access: a, unscoped: true})
	if !p.works("exchange a token without narrowing to "+string(a), err) {
		return
	}
	defer p.forget(c)
	conf := p.conf
	conf.Encryption = c.Encryption
	b, err := objstore.Open(p.ctx, p.conn.URL, c.Secret, conf)
	if !p.works("open the bucket", err) {
		return
	}
	defer b.Close()
	_, _, grant := p.statements(a)
	if p.conn.URL.Key != "" {
		p.outside(b, string(a), grant, a == Write)
	}
	if a == Read {
		p.denied("write with the identity that reads", grant("write"), p.write(b, p.conn.URL.Key+proofDir+"probe-"+seal.RandomID(12)))
	} else if _, err := p.conn.identity(Read); err == nil && p.pending == "" {
		p.denied("read with the identity that writes", grant("read"), read(p.ctx, b, p.conn.proof()))
	}
}

// outside reads, lists and writes beyond the prefix.
func (p *probe) outside(b objstore.Bucket, with string, grant func(string) string, write bool) {
	beside := strings.TrimSuffix(p.conn.URL.Key, "/") + "-firekeep-probe/"
	if p.conn.Options.Nonce != "" {
		p.denied("read outside of the prefix ("+with+")", grant("read"), read(p.ctx, b, p.conn.outside()))
	}
	for _, at := range []string{"", beside} {
		p.denied("list "+quoted(at)+" ("+with+")", grant("list"), list(p.ctx, b, at))
	}
	if write {
		for _, at := range []string{"", beside} {
			p.denied("write below "+quoted(at), grant("write"), p.write(b, at+"firekeep-probe-"+seal.RandomID(12)))
		}
	}
}

func quoted(prefix string) string {
	if prefix == "" {
		return "the whole bucket"
	}
	return `"` + prefix + `"`
}

// statements name, on the other side, what decides about the subject, the
// audience and each kind of access.
func (p *probe) statements(a Access) (sub, aud string, grant func(what string) string) {
	who, _ := p.conn.identity(a)
	switch p.conn.Auth {
	case AWSRole:
		host := strings.TrimPrefix(p.Federation.Issuer.URL, "https://")
		actions := map[string]string{"read": "s3:GetObject (its Resource)", "list": "s3:ListBucket (its Condition s3:prefix)", "write": "s3:PutObject (its Resource)"}
		return "the trust policy of " + who + " does not compare " + host + ":sub", "the trust policy of " + who + " does not compare " + host + ":aud",
			func(what string) string { return "a permission of " + who + " is too wide: " + actions[what] }
	case GCPWIF:
		return "roles/iam.workloadIdentityUser on " + who + " is granted to more than one subject (principalSet, or the whole pool)",
			"the provider " + p.conn.Options.GCP.Provider + " allows other audiences",
			func(what string) string {
				return "a role of " + who + " on the bucket lets it " + what + " without a condition on resource.name"
			}
	case AzureFederated:
		return "a federated credential of " + who + " matches other subjects", "a federated credential of " + who + " matches other audiences",
			func(what string) string {
				return "a role assignment of " + who + " lets it " + what + " without a condition on the path"
			}
	}
	return "", "", func(what string) string { return "the key may " + what + " there" }
}

// secret probes a sealed key.
func (p *probe) secret() {
	secret, err := p.open(p.conn)
	if !p.works("open the sealed secret", err) {
		return
	}
	b, err := objstore.Open(p.ctx, p.conn.URL, secret, p.conf)
	if !p.works("open the bucket", err) {
		return
	}
	defer b.Close()
	if !p.works("list the prefix", list(p.ctx, b, p.conn.URL.Key)) || p.conn.URL.Key == "" {
		return
	}
	_, _, grant := p.statements(Read)
	p.outside(b, "read", grant, false)
}

// list looks at the first name below a prefix.
func list(ctx context.Context, b objstore.Bucket, prefix string) error {
	err := b.List(ctx, prefix, "", func(objstore.Info) error { return io.EOF })
	if err == io.EOF {
		return nil
	}
	return err
}

// read opens an object and takes one byte of it.
func read(ctx context.Context, b objstore.Bucket, key string) error {
	r, err := b.Open(ctx, key, objstore.Pin{}, 0, 1)
	if err != nil {
		return err
	}
	_, err = io.ReadAll(r)
	_ = r.Close()
	return err
}

// write creates an object of one byte and removes it again. A credential that may
// write need not be one that may remove: then the report names what stays.
func (p *probe) write(b objstore.Bucket, key string) error {
	_, err := b.Create(p.ctx, key, strings.NewReader("x"), objstore.PutOptions{Size: 1})
	if err == nil && b.Delete(p.ctx, key) != nil {
		p.left = append(p.left, key)
	}
	return err
}
