// Package kms wraps data keys with keys that key management services hold: AWS
// KMS, Google Cloud KMS, Azure Key Vault, and the transit engine of HashiCorp
// Vault or OpenBao. Each is a seal.Wrapper; the key never leaves its service.
//
// Accounts name keys, the operator names places: an address that requests go to
// is that of a cloud, or stands in the operator's configuration.
package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// Kinds of keys.
const (
	AWS   = "aws-kms"
	GCP   = "gcp-kms"
	Azure = "azure-key-vault"
	Vault = "vault-transit"
)

// Config is the operator's part: where services are that are not at the clouds'
// own addresses. Every field may be left out.
type Config struct {
	// AWSEndpoint replaces AWS' own endpoints (a private endpoint of a VPC).
	AWSEndpoint string `json:"awsEndpoint,omitempty"`
	// GCPEndpoint and GCPTokenURL replace Google's.
	GCPEndpoint string `json:"gcpEndpoint,omitempty"`
	GCPTokenURL string `json:"gcpTokenUrl,omitempty"`
	// AzureAuthority replaces https://login.microsoftonline.com. AzureVaults are
	// the names of key vaults that accounts may use, or ".suffix" of such names;
	// default the public and the sovereign clouds'.
	AzureAuthority string   `json:"azureAuthority,omitempty"`
	AzureVaults    []string `json:"azureVaults,omitempty"`
	// VaultAddress is the server of vault-transit keys; without it there are none.
	VaultAddress   string `json:"vaultAddress,omitempty"`
	VaultNamespace string `json:"vaultNamespace,omitempty"`
}

// Check validates the operator's settings.
func (c Config) Check() error {
	for name, s := range map[string]string{"awsEndpoint": c.AWSEndpoint, "gcpEndpoint": c.GCPEndpoint, "gcpTokenUrl": c.GCPTokenURL,
		"azureAuthority": c.AzureAuthority, "vaultAddress": c.VaultAddress} {
		if s == "" {
			continue
		}
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
			return rft.FieldErrorf(name, "%s: must be an https URL (http only to this host itself)", name)
		}
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Services opens keys under the operator's settings.
type Services struct {
	Config
	// Client makes every request; nil = one that refuses addresses of this host
	// and of its surroundings, except where the operator's settings name them.
	Client *http.Client
}

// key is a parsed key of one service.
type key interface {
	// check validates settings and credential; errors name the field.
	check(c Config, credential seal.Secret) error
	// open returns the key; it does not reach out.
	open(s *Services, credential seal.Secret) (seal.Wrapper, error)
	// describe names the key for people.
	describe() string
}

// parse reads the settings of a key. Unknown fields are errors.
func parse(kind string, settings []byte) (key, error) {
	var k key
	switch kind {
	case AWS:
		k = &awsKey{}
	case GCP:
		k = &gcpKey{}
	case Azure:
		k = &azureKey{}
	case Vault:
		k = &vaultKey{Mount: "transit"}
	default:
		return nil, rft.FieldErrorf("kind", "kind: must be local, %s, %s, %s or %s", AWS, GCP, Azure, Vault)
	}
	if err := strict(settings, k); err != nil {
		return nil, rft.FieldErrorf("settings", "settings: are not those of a key of %s", kind)
	}
	return k, nil
}

// maxSettings bounds settings and credentials; a service account key has 2 KiB.
const maxSettings = 16 << 10

// strict reads one JSON object without unknown fields.
func strict(b []byte, into any) error {
	if len(b) > maxSettings {
		return errors.New("too long")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one value")
	}
	return nil
}

// Check implements custody.Services.
func (s *Services) Check(kind string, settings []byte, credential seal.Secret) error {
	k, err := parse(kind, settings)
	if err != nil {
		return err
	}
	return k.check(s.Config, credential)
}

// Open implements custody.Services.
func (s *Services) Open(kind string, settings []byte, credential seal.Secret) (seal.Wrapper, error) {
	k, err := parse(kind, settings)
	if err == nil {
		err = k.check(s.Config, credential)
	}
	if err != nil {
		return nil, err
	}
	return k.open(s, credential)
}

// Describe implements custody.Services.
func (s *Services) Describe(kind string, settings []byte) string {
	k, err := parse(kind, settings)
	if err != nil {
		return kind
	}
	return k.describe()
}

// client is the client of requests; trusted says that the operator named the
// address.
func (s *Services) client(trusted bool) *http.Client {
	if s.Client != nil {
		return s.Client
	}
	d := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	if !trusted {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil || surroundings(a.Addr().Unmap()) {
				return fmt.Errorf("kms: %s is an address of this host or of its surroundings", address)
			}
			return nil
		}
	}
	return &http.Client{
		Transport: &http.Transport{DialContext: d.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second},
		// A redirect would carry the credential to a place that nobody chose.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func surroundings(a netip.Addr) bool {
	return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() ||
		a == netip.MustParseAddr("fd00:ec2::254") || a == netip.MustParseAddr("100.100.100.200")
}

// refused, unreachable and damaged give an error of a service its meaning.
func refused(err error) error     { return fmt.Errorf("%w: %w", seal.ErrRefused, err) }
func unreachable(err error) error { return fmt.Errorf("%w: %w", seal.ErrUnreachable, err) }
func damaged(err error) error     { return fmt.Errorf("%w: %w", seal.ErrDamaged, err) }

// byStatus is the meaning of an HTTP status that says no more.
func byStatus(status int, err error) error {
	switch {
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500 || status == 0:
		return unreachable(err)
	case status >= 400:
		return refused(err)
	}
	return unreachable(err)
}

// waiting is the meaning of an error without an answer: the caller's own end
// stays one.
func waiting(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return unreachable(err)
}
