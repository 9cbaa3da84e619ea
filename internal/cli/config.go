package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/kms"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/runner"
)

// Config is HOME/config.json. Every field has a default; the file may be
// absent. Nothing of it is read from the environment: cloud variables of the
// shell that starts the server have no effect.
type Config struct {
	// Listen is the address of the HTTP API. Default 127.0.0.1:8080. --listen wins.
	Listen string `json:"listen"`
	// GRPCListen is the address of the gRPC service. Default 127.0.0.1:8081, "-" =
	// none. --grpc-listen wins.
	GRPCListen string `json:"grpcListen"`
	// TLS names the certificate of both listeners. Without it they are refused on
	// addresses that others can reach.
	TLS TLSConfig `json:"tls"`
	// Hosts are the names by which clients call the server, beside localhost,
	// addresses and the certificate's names; requests for other names are refused.
	Hosts []string `json:"hosts"`
	// PublicURL is what clients reach the HTTP API by where that is not the address
	// they call: "https://rft.example.com" behind a proxy that ends TLS. URLs for
	// uploads and downloads begin with it.
	PublicURL string `json:"publicUrl"`
	// Quotas are the limits of accounts that have none of their own.
	Quotas QuotaConfig `json:"quotas"`
	// plaintext is the flag that lets keys be sent in plaintext.
	plaintext bool
	// Database is a postgres:// URL; default SQLite in HOME/firekeep.db.
	Database string `json:"database"`

	// FileRoots are the directories that file:// URLs of requests may lie under.
	// Default: the home directory of the user who runs the server, as long as it
	// listens on loopback only; none otherwise. HOME itself is never among them.
	FileRoots []string `json:"fileRoots"`
	// S3 and GS configure the object stores: endpoints of private clouds.
	S3 S3Config          `json:"s3"`
	GS objstore.GSConfig `json:"gs"`
	// Azure configures Azure Blob Storage for emulators.
	Azure objstore.AzureConfig `json:"azure"`
	// CAFile is a PEM file of authorities that object stores and token services are
	// trusted by, beside the system's.
	CAFile string `json:"caFile"`
	// Issuer makes the server an issuer of tokens, so that connections need no secrets.
	Issuer IssuerConfig `json:"issuer"`
	// AllowAddresses lists networks of object stores that would otherwise be
	// refused: loopback and link-local.
	AllowAddresses []netip.Prefix `json:"allowAddresses"`
	// Proxy is the URL of an HTTP proxy for object stores.
	Proxy string `json:"proxy"`
	// HubURL is where hf:// sources are read from. Default https://huggingface.co; "-" refuses them.
	HubURL string `json:"hubUrl"`

	// KMS says where key management services are that accounts may keep their
	// keys in. The clouds' own addresses need no setting.
	KMS kms.Config `json:"kms"`

	// Audit says where the audit log lies, where its tree heads are copied to, and
	// how long the database keeps its entries.
	Audit AuditConfig `json:"audit"`

	// Registries are the OCI registries that models may be pushed to, by HOST or
	// HOST:PORT. Default none.
	Registries map[string]runner.Registry `json:"registries"`

	// Uploads is what becomes of rows that come through the API: "sealed" (default) or "refuse".
	Uploads control.Uploads `json:"uploads"`
	// Accelerators is "substitute" (default): a job that asks for an accelerator
	// runs on what is there and says so; or "strict": it is refused.
	Accelerators string `json:"accelerators"`
	// AutoDeploy deploys a model with the first chat. Default true.
	AutoDeploy *bool `json:"autoDeploy"`

	// Steps is how many steps run at once. Default 1.
	Steps int `json:"steps"`
	// Cores is how many cores the engine's children share; default all.
	Cores int `json:"cores"`
	// SamplingShare is the part of the cores that sampling gets while a step
	// runs. Default 0.5.
	SamplingShare float64 `json:"samplingShare"`
	// KernelLevel forces a kernel level; default the best that works.
	KernelLevel string `json:"kernelLevel"`
	// Precision of the products with base weights, in training and sampling:
	// "auto" (default), bfloat16 where this host was measured to be faster in it,
	// "float32" or "bfloat16".
	Precision string `json:"precision"`
	// StepMemoryBytes limits a step child; 0 = the sandbox's default.
	StepMemoryBytes int64 `json:"stepMemoryBytes"`

	// MaxSequences is how many completions a sampling child decodes at once.
	MaxSequences int `json:"maxSequences"`
	// MaxSamplingRequests is how many requests may be in work or wait at one
	// sampling child; further ones are told to come again. Default 256.
	MaxSamplingRequests int `json:"maxSamplingRequests"`
	// SamplingInt8 decodes requests that ask for no log-probs from weights of one
	// byte, where this host's kernels are faster so.
	SamplingInt8 bool `json:"samplingInt8"`
	// CacheBytes is the KV memory of a sampling child. Default 1 GiB.
	CacheBytes int64 `json:"cacheBytes"`

	// Sandbox is what every engine child must have.
	Sandbox SandboxConfig `json:"sandbox"`

	// LogLevel is "debug", "info" (default), "warn" or "error".
	LogLevel string `json:"logLevel"`
}

// S3Config adds to the object store's own settings.
type S3Config struct {
	objstore.S3Config
	// AllowLoopback allows a store on this host, as tests and demos have one.
	AllowLoopback bool `json:"allowLoopback"`
}

const defaultHub = "https://huggingface.co"

// loadConfig reads HOME/config.json. Unknown fields are errors: a misspelt
// setting must not pass for the default.
func loadConfig(home string) (Config, error) {
	c, err := readConfig(filepath.Join(home, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, nil
	}
	return c, err
}

// readConfig reads a file of settings.
func readConfig(path string) (Config, error) {
	var c Config
	b, err := os.ReadFile(path)
	if err != nil {
		return c, rft.Wrap(rft.KindInvalidArgument, err, "%s cannot be read", path)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		// The decoder names fields and types, not values.
		return c, rft.Wrap(rft.KindInvalidArgument, err, "%s: %s", path, err.Error())
	}
	return c, c.check(path)
}

// check validates; errors name the field.
func (c Config) check(path string) error {
	bad := func(field, why string) error { return rft.FieldErrorf(field, "%s: %s: %s", path, field, why) }
	switch {
	case c.Uploads != "" && c.Uploads != control.UploadsSealed && c.Uploads != control.UploadsRefused:
		return bad("uploads", `must be "sealed" or "refuse"`)
	case c.Accelerators != "" && c.Accelerators != "substitute" && c.Accelerators != "strict":
		return bad("accelerators", `must be "substitute" or "strict"`)
	case !broker.CheckPrecision(c.Precision):
		return bad("precision", `must be "auto", "float32" or "bfloat16"`)
	case c.Steps < 0 || c.Steps > 64:
		return bad("steps", "must be 1 to 64")
	case c.Cores < 0:
		return bad("cores", "must not be negative")
	case c.MaxSamplingRequests < 0:
		return bad("maxSamplingRequests", "must not be negative")
	case c.SamplingShare < 0 || c.SamplingShare > 1:
		return bad("samplingShare", "must be 0 to 1")
	}
	switch c.LogLevel {
	case "", "debug", "info", "warn", "error":
	default:
		return bad("logLevel", "must be debug, info, warn or error")
	}
	if err := c.Audit.check(bad); err != nil {
		return err
	}
	if err := c.KMS.Check(); err != nil {
		return bad("kms", rft.PublicMessage(err))
	}
	if c.Issuer.URL != "" {
		if err := issuer.CheckURL(c.Issuer.URL); err != nil {
			return rft.Wrap(rft.KindInvalidArgument, err, "%s: %s", path, rft.PublicMessage(err))
		}
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return bad("publicUrl", "must look like https://rft.example.com")
		}
	}
	if err := checkRegistries(c.Registries); err != nil {
		return bad("registries", rft.PublicMessage(err))
	}
	if field, why := c.Sandbox.check(); field != "" {
		return bad(field, why)
	}
	if err := c.objstore().Check(); err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "%s: %s", path, rft.PublicMessage(err))
	}
	return nil
}

// precision is the one in force.
func (c Config) precision() string {
	if c.Precision == "" {
		return broker.PrecisionAuto
	}
	return c.Precision
}

// objstore is the part of the object stores.
func (c Config) objstore() objstore.Config {
	o := objstore.Config{S3: c.S3.S3Config, GS: c.GS, Azure: c.Azure, CAFile: c.CAFile, AllowAddresses: c.AllowAddresses, Proxy: c.Proxy, FileRoots: c.FileRoots}
	if c.S3.AllowLoopback {
		o.AllowAddresses = append(o.AllowAddresses, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	return o
}

// dsn is what the store opens.
func (c Config) dsn(home string) string {
	if c.Database != "" {
		return c.Database
	}
	return filepath.Join(home, "firekeep.db")
}

// String hides the database's password.
func (c Config) String() string { return fmt.Sprintf("config(listen %s)", c.Listen) }
