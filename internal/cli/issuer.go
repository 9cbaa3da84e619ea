package cli

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/rft"
)

type issuerCmd struct {
	Show   issuerShowCmd   `cmd:"" help:"Show the documents that clouds check tokens by."`
	Export issuerExportCmd `cmd:"" help:"Publish the documents in a directory or a bucket."`
	Rotate issuerRotateCmd `cmd:"" help:"Withdraw the key that signs and go on with the next at once; needs the operator's key."`
}

// issuerPlace is the issuer's URL, or only its path on this server.
type issuerPlace struct {
	Path string `help:"Path of issuer.url on this server, such as /tokens; none by default." placeholder:"PATH"`
}

// documents fetches both documents; they are public.
func (a *app) documents(at issuerPlace) (map[string]map[string]any, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]any{}
	for _, path := range []string{issuer.DiscoveryPath, issuer.KeysPath} {
		if out[path], err = client.IssuerDocument(a.ctx, strings.TrimSuffix(at.Path, "/")+path); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type issuerShowCmd struct{ issuerPlace }

// Run implements a command.
func (c *issuerShowCmd) Run(a *app) error {
	docs, err := a.documents(c.issuerPlace)
	if err != nil {
		return err
	}
	return a.printJSON(map[string]any{"discovery": docs[issuer.DiscoveryPath], "jwks": docs[issuer.KeysPath]})
}

type issuerExportCmd struct {
	To string `arg:"" help:"Directory, or the prefix of a bucket: s3://bucket/prefix/. A bucket is written by the server, through its connection, and needs the operator's key."`
	issuerPlace
}

// Run implements a command.
func (c *issuerExportCmd) Run(a *app) error {
	if u, err := url.Parse(c.To); err == nil && u.Scheme != "" && u.Host != "" {
		client, err := a.client()
		if err != nil {
			return err
		}
		keys, err := client.ExportIssuer(a.ctx, c.To)
		if err != nil {
			return err
		}
		return a.show(keys)
	}
	docs, err := a.documents(c.issuerPlace)
	if err != nil {
		return err
	}
	for path, doc := range docs {
		if err := writeDocument(filepath.Join(c.To, filepath.FromSlash(path)), doc); err != nil {
			return err
		}
	}
	return a.done("wrote %s and %s; serve %s with Cache-Control: %s", filepath.Join(c.To, issuer.DiscoveryPath), filepath.Join(c.To, issuer.KeysPath), c.To, issuer.CacheControl)
}

// writeDocument puts a public file in place.
func writeDocument(path string, doc map[string]any) error {
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "%s cannot be written", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be created", filepath.Dir(path))
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o644); err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be written", path)
	}
	if err := os.Rename(tmp, path); err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be written", path)
	}
	return nil
}

type issuerRotateCmd struct{}

// Run implements a command.
func (c *issuerRotateCmd) Run(a *app) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	keys, err := client.RotateIssuer(a.ctx)
	if err != nil {
		return err
	}
	return a.show(keys)
}
