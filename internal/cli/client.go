package cli

import (
	"errors"
	"io/fs"
	"net"

	"os"
	"path/filepath"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// defaultURL is where `firekeep serve` listens by default.
const defaultURL = "http://127.0.0.1:8080"

// adminKeyFile is the file of a home that holds the first key.
const adminKeyFile = "admin.key"

func (a *app) defaultHome() string {
	if h := a.Env("FIREKEEP_HOME"); h != "" {
		return h
	}
	return filepath.Join(a.Env("HOME"), ".firekeep")
}

// client is the client of the configured server.
func (a *app) client() (*api.Client, error) {
	if a.clientOnce != nil {
		return a.clientOnce, nil
	}
	base, local, err := a.baseURL()
	if err != nil {
		return nil, err
	}
	key, err := a.key(base, local)
	if err != nil {
		return nil, err
	}
	h, err := a.httpClient()
	if err != nil {
		return nil, err
	}
	a.clientOnce = &api.Client{BaseURL: base, Key: key, HTTP: h, UserAgent: "firekeep-cli/" + a.Version}
	return a.clientOnce, nil
}

// key is the key for the server at base: of a profile that the command line names,
// of the environment, of the profile in use, of a sign-in, or of the home of a
// server on this host.
func (a *app) key(base string, local bool) (string, error) {
	key, named, err := a.profileKey(base)
	if err != nil {
		return "", err
	}
	if env := a.Env("FIREKEEP_API_KEY"); env != "" && !(named && key != "") {
		key = env
	}
	if key == "" {
		if key, err = readSession(a.home, base); err != nil {
			return "", err
		}
	}
	if key == "" && local {
		if key, err = readKey(filepath.Join(a.home, adminKeyFile)); err != nil {
			return "", err
		}
	}
	if p := a.profile; key == "" && p != nil && p.APIKey != "" {
		return "", rft.Errorf(rft.KindUnauthenticated, "no API key for %s: the key of the profile is for %s and is not sent elsewhere", base, p.server())
	}
	if key == "" {
		return "", rft.Errorf(rft.KindUnauthenticated, "no API key: FIREKEEP_API_KEY is not set, and %s; `firekeep login` signs in", a.noKeyFile(local))
	}
	return key, nil
}

// noKeyFile says why no key came from a file.
func (a *app) noKeyFile(local bool) string {
	if !local {
		return "the key of a home serves loopback only"
	}
	return filepath.Join(a.home, adminKeyFile) + " is not there"
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// readKey reads a key file; an absent one is no key.
func readKey(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", rft.Wrap(rft.KindUnauthenticated, err, "the key file %s cannot be read", path)
	}
	return strings.TrimSpace(string(b)), nil
}

// session is the client and the account of its key.
func (a *app) session() (*api.Client, string, error) {
	c, err := a.client()
	if err != nil {
		return nil, "", err
	}
	if a.account == "" {
		who, err := c.Verify(a.ctx)
		if err != nil {
			return nil, "", err
		}
		a.account = who.Account
	}
	return c, a.account, nil
}

// named splits a bare id or a full resource name into account and id.
func (a *app) named(field, ref string, c rft.Collection) (*api.Client, string, string, error) {
	client, account, err := a.session()
	if err != nil {
		return nil, "", "", err
	}
	n, err := rft.ParseName(field, ref, account, c)
	return client, n.Account, n.ID, err
}
