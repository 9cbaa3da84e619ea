package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
)

// profile is a server and how to reach it.
type profile struct {
	BaseURL    string `json:"baseUrl,omitempty"`
	APIKey     string `json:"apiKey,omitempty"`
	CAFile     string `json:"caFile,omitempty"`
	ClientCert string `json:"clientCert,omitempty"`
	ClientKey  string `json:"clientKey,omitempty"` // path of its private key
}

// server is whom the key of a profile is for.
func (p *profile) server() string {
	if p.BaseURL == "" {
		return defaultURL
	}
	return p.BaseURL
}

// profiles is ~/.config/firekeep/config.
type profiles struct {
	Current  string              `json:"current,omitempty"`
	Profiles map[string]*profile `json:"profiles"`
}

// profilesPath is where profiles are kept, "" for somebody without a home.
func (a *app) profilesPath() string {
	dir := a.Env("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		if dir = a.Env("HOME"); !filepath.IsAbs(dir) {
			return ""
		}
		dir = filepath.Join(dir, ".config")
	}
	return filepath.Join(dir, "firekeep", "config")
}

// maxProfiles bounds the file of profiles.
const maxProfiles = 1 << 20

// readProfiles reads the file of profiles; an absent one is empty. It may hold
// keys, so nobody else may be able to read it.
func readProfiles(path string) (*profiles, error) {
	p := &profiles{Profiles: map[string]*profile{}}
	if path == "" {
		return p, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "the profiles in %s cannot be read", path)
	}
	defer f.Close()
	info, err := f.Stat() // of the file that is read, not of one that took its name
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "the profiles in %s cannot be read", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "%s may hold keys, and others can use it (mode %04o): `chmod 600 %s`", path, mode, path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxProfiles))
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "the profiles in %s cannot be read", path)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(p); err != nil { // its text may quote the file
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "%s is not a file of profiles; correct it or move it away", path)
	}
	for name, one := range p.Profiles {
		if one == nil {
			delete(p.Profiles, name)
		}
	}
	return p, nil
}

func (p *profiles) write(path string) error {
	if path == "" {
		return rft.Errorf(rft.KindFailedPrecondition, "HOME is not set, so there is no place for profiles; XDG_CONFIG_HOME names one")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be made", filepath.Dir(path))
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return writeSecretFile(path, string(b)+"\n")
}

// chosen is the profile in force, nil without one, and whether the command line
// named it: what it says then stands above the environment, as a flag does.
// Otherwise the environment stands above it.
func (a *app) chosen() (p *profile, flag bool, err error) {
	if a.profileRead {
		return a.profile, a.profileName != "", nil
	}
	all, err := readProfiles(a.profilesPath())
	if err != nil {
		return nil, false, err
	}
	name := a.profileName
	for _, other := range []string{a.Env("FIREKEEP_PROFILE"), all.Current} {
		if name == "" {
			name = other
		}
	}
	if name != "" {
		if p = all.Profiles[name]; p == nil {
			return nil, false, rft.Errorf(rft.KindNotFound, "there is no profile %q in %s; `firekeep profile list` shows what there is", name, a.profilesPath())
		}
	}
	a.profile, a.profileRead = p, true
	return p, a.profileName != "", nil
}

// setting is one setting by what is strongest: a profile that the command line
// names, the environment, the profile in use.
func (a *app) setting(env string, of func(*profile) string) (string, error) {
	p, flag, err := a.chosen()
	if err != nil {
		return "", err
	}
	said := ""
	if p != nil {
		said = of(p)
	}
	if v := a.Env(env); v != "" && !(flag && said != "") {
		return v, nil
	}
	return said, nil
}

// profileKey is the key of the profile in force for the server at base. A key is
// for its profile's server: it is not sent to another one that a flag or the
// environment names.
func (a *app) profileKey(base string) (key string, flag bool, err error) {
	p, flag, err := a.chosen()
	if err != nil || p == nil || p.APIKey == "" {
		return "", flag, err
	}
	if p.server() != base {
		return "", flag, nil
	}
	return p.APIKey, flag, nil
}

type profileCmd struct {
	List   profileListCmd   `cmd:"" help:"List profiles; * marks the one in use."`
	Set    profileSetCmd    `cmd:"" help:"Make a profile or change it: --base-url, and a key from a file or standard input."`
	Use    profileUseCmd    `cmd:"" help:"Use a profile from now on."`
	Remove profileRemoveCmd `cmd:"" help:"Remove a profile with its key."`
}

type profileListCmd struct{}

// profileShown is what is shown of a profile: never its key.
type profileShown struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	BaseURL string `json:"baseUrl"`
	HasKey  bool   `json:"hasKey"`
	CAFile  string `json:"caFile,omitempty"`
	Cert    string `json:"clientCert,omitempty"`
}

// Run implements a command.
func (profileListCmd) Run(a *app) error {
	all, err := readProfiles(a.profilesPath())
	if err != nil {
		return err
	}
	list := []profileShown{}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(all.Profiles)) {
		p := all.Profiles[name]
		list = append(list, profileShown{name, name == all.Current, p.BaseURL, p.APIKey != "", p.CAFile, p.ClientCert})
		mark := " "
		if name == all.Current {
			mark = "*"
		}
		rows = append(rows, []string{mark, name, p.BaseURL, tick(p.APIKey != "")})
	}
	return a.table(list, "USE NAME SERVER KEY", rows)
}

// profileSetCmd has no flag for the key: what is on a command line can be read by
// every process of the host. The server is the global --base-url.
type profileSetCmd struct {
	Name       string  `arg:"" help:"Name of the profile." complete:"profiles"`
	KeyFrom    string  `name:"key-from" help:"File with the API key, - = standard input." placeholder:"PATH"`
	NoKey      bool    `name:"no-key" help:"Forget the key."`
	CAFile     *string `name:"ca-file" help:"PEM file of authorities that the server is trusted by." placeholder:"PATH"`
	ClientCert *string `name:"client-cert" help:"Certificate to show to the server." placeholder:"PATH"`
	ClientKey  *string `name:"client-key" help:"File with its private key." placeholder:"PATH"`
	Use        bool    `help:"Use it from now on."`
}

// Run implements a command.
func (c *profileSetCmd) Run(a *app) error {
	if c.Name == "" || len(c.Name) > 64 || oneLine(c.Name) != c.Name || strings.ContainsAny(c.Name, " /\\\"'") {
		return rft.FieldErrorf("NAME", "NAME: want 1 to 64 characters without spaces, quotes and slashes")
	}
	path := a.profilesPath()
	all, err := readProfiles(path)
	if err != nil {
		return err
	}
	p := all.Profiles[c.Name]
	if p == nil {
		p = &profile{}
		all.Profiles[c.Name] = p
	}
	if a.url != "" {
		if a.url != p.BaseURL && p.APIKey != "" && c.KeyFrom == "" && !c.NoKey {
			return rft.FieldErrorf("key-from", "--key-from: the key of %s is for %s; give the key of the other server, or --no-key", c.Name, p.BaseURL)
		}
		if _, err := parseBase(a.url); err != nil {
			return err
		}
		p.BaseURL = a.url
	}
	if c.NoKey {
		p.APIKey = ""
	}
	if c.KeyFrom != "" {
		raw, err := a.readInput(c.KeyFrom, maxSecret)
		if err != nil {
			return err
		}
		if p.APIKey = strings.TrimSpace(string(raw)); p.APIKey == "" || oneLine(p.APIKey) != p.APIKey {
			return rft.FieldErrorf("key-from", "--key-from: want one line with the API key")
		}
	}
	for to, from := range map[*string]*string{&p.CAFile: c.CAFile, &p.ClientCert: c.ClientCert, &p.ClientKey: c.ClientKey} {
		if from == nil {
			continue
		}
		*to = *from
		if *from != "" {
			if *to, err = filepath.Abs(*from); err != nil {
				return rft.FieldErrorf("ca-file", "%s is not a path", *from)
			}
		}
	}
	if c.Use || all.Current == "" {
		all.Current = c.Name
	}
	if err := all.write(path); err != nil {
		return err
	}
	return a.done("stored %s in %s", c.Name, path)
}

type profileUseCmd struct {
	Name string `arg:"" help:"The profile." complete:"profiles"`
}

// Run implements a command.
func (c *profileUseCmd) Run(a *app) error {
	all, err := readProfiles(a.profilesPath())
	if err != nil {
		return err
	}
	if all.Profiles[c.Name] == nil {
		return rft.Errorf(rft.KindNotFound, "there is no profile %q; `firekeep profile list` shows what there is", c.Name)
	}
	all.Current = c.Name
	if err := all.write(a.profilesPath()); err != nil {
		return err
	}
	return a.done("using %s", c.Name)
}

type profileRemoveCmd struct {
	Name string `arg:"" help:"The profile." complete:"profiles"`
}

// Run implements a command.
func (c *profileRemoveCmd) Run(a *app) error {
	all, err := readProfiles(a.profilesPath())
	if err != nil {
		return err
	}
	if all.Profiles[c.Name] == nil {
		return rft.Errorf(rft.KindNotFound, "there is no profile %q; `firekeep profile list` shows what there is", c.Name)
	}
	delete(all.Profiles, c.Name)
	if all.Current == c.Name {
		all.Current = ""
	}
	if err := all.write(a.profilesPath()); err != nil {
		return err
	}
	return a.done("removed %s", c.Name)
}
