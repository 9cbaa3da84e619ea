package objstore

import (
	"context"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// Config is the operator's part of the connection to object storage. API users
// choose buckets and keys, never endpoints.
type Config struct {
	S3    S3Config    `json:"s3"`
	GS    GSConfig    `json:"gs"`
	Azure AzureConfig `json:"azure"`
	// CAFile is a PEM file of authorities that are trusted for stores and token
	// services beside the system's.
	CAFile string `json:"caFile"`
	// Encryption is of the connection, not of the operator: what is opened with
	// it writes under the customer's key or not at all.
	Encryption Encryption `json:"-"`
	// AllowAddresses lists networks that would otherwise be refused: loopback,
	// link-local (where clouds serve metadata), multicast, unspecified.
	AllowAddresses []netip.Prefix `json:"allowAddresses"`
	// Proxy is the URL of an HTTP proxy for all requests; the environment's is
	// not used.
	Proxy string `json:"proxy"`
	// FileRoots are the directories that file URLs may lie under. None = file
	// URLs are refused.
	FileRoots []string `json:"fileRoots"`

	// Retries is how often an operation is tried again without progress; 0 = 5.
	Retries int `json:"retries"`
	// Backoff is the shortest wait before a retry; it doubles up to 100 times
	// itself, with jitter. 0 = 100 ms.
	Backoff time.Duration `json:"backoff"`
	// Stall is how long a read may bring nothing before the connection is given
	// up; 0 = 1 minute.
	Stall time.Duration `json:"stall"`
	// PartBytes is the size of the parts of large uploads; 0 = 16 MiB. S3 allows
	// 10,000 parts of at least 5 MiB.
	PartBytes int64 `json:"partBytes"`
}

// S3Config is for AWS when it is zero, and for a private store otherwise.
type S3Config struct {
	Endpoint  string `json:"endpoint"` // https://s3.example.org; "" = AWS
	Region    string `json:"region"`   // "" = us-east-1, unless the credential says
	PathStyle bool   `json:"pathStyle"`
	// PlainChecksums sends no checksums beyond those that S3 demands, for stores
	// that do not know them.
	PlainChecksums bool `json:"plainChecksums"`
	// STSEndpoint is where tokens are exchanged; "" = AWS' own in Region.
	STSEndpoint string `json:"stsEndpoint"`
}

// GSConfig is for Google when it is zero, and for an emulator otherwise.
type GSConfig struct {
	Endpoint string `json:"endpoint"` // http://host:port/storage/v1/
	TokenURL string `json:"tokenUrl"` // where service accounts get tokens; never taken from a credential
	// STSURL and IAMURL replace https://sts.googleapis.com and
	// https://iamcredentials.googleapis.com.
	STSURL string `json:"stsUrl"`
	IAMURL string `json:"iamUrl"`
}

// AzureConfig is for Azure when it is zero, and for an emulator otherwise.
type AzureConfig struct {
	// Endpoint gets the requests of every storage account; the account stays in
	// the Host header.
	Endpoint string `json:"endpoint"`
	// Authority replaces https://login.microsoftonline.com.
	Authority string `json:"authority"`
}

const (
	defaultRetries   = 5
	defaultBackoff   = 100 * time.Millisecond
	defaultStall     = time.Minute
	defaultPartBytes = 16 << 20
	minPartBytes     = 5 << 20
)

func (c Config) withDefaults() Config {
	if c.Retries == 0 {
		c.Retries = defaultRetries
	}
	if c.Backoff == 0 {
		c.Backoff = defaultBackoff
	}
	if c.Stall == 0 {
		c.Stall = defaultStall
	}
	if c.PartBytes == 0 {
		c.PartBytes = defaultPartBytes
	}
	if c.S3.Region == "" {
		c.S3.Region = "us-east-1"
	}
	return c
}

// Check validates an operator's configuration; errors name the field.
func (c Config) Check() error {
	for field, s := range map[string]string{"s3.endpoint": c.S3.Endpoint, "s3.stsEndpoint": c.S3.STSEndpoint, "gs.endpoint": c.GS.Endpoint, "gs.tokenUrl": c.GS.TokenURL,
		"gs.stsUrl": c.GS.STSURL, "gs.iamUrl": c.GS.IAMURL, "azure.endpoint": c.Azure.Endpoint, "azure.authority": c.Azure.Authority, "proxy": c.Proxy} {
		if s == "" {
			continue
		}
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			return rft.FieldErrorf(field, "%s: want http:// or https:// and a host, without a password", field)
		}
	}
	for _, root := range c.FileRoots {
		if !filepath.IsAbs(root) || filepath.Clean(root) != strings.TrimSuffix(root, "/") {
			return rft.FieldErrorf("fileRoots", "fileRoots: %q is not a clean absolute path", root)
		}
	}
	if c.CAFile != "" {
		if _, err := c.roots(); err != nil {
			return rft.FieldErrorf("caFile", "caFile: %s is not a PEM file of certificates that can be read", c.CAFile)
		}
	}
	if c.PartBytes != 0 && c.PartBytes < minPartBytes {
		return rft.FieldErrorf("partBytes", "partBytes: at least %d", minPartBytes)
	}
	return nil
}

// Open connects to the bucket of u with a credential. The empty Secret sends
// requests without one. No credential, endpoint or region is taken from the
// environment, from files or from the host's metadata service.
func Open(ctx context.Context, u URL, credential Secret, c Config) (Bucket, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	switch u.Scheme {
	case File:
		return openFile(u, c)
	case S3:
		return openS3(u, credential, c)
	case GS:
		return openGS(ctx, u, credential, c)
	case Azure:
		return openAzure(u, credential, c)
	}
	return nil, rft.Errorf(rft.KindInvalidArgument, "storage URL: unknown scheme; want file, s3, gs or https (Azure Blob Storage)")
}
