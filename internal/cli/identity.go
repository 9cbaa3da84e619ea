package cli

import (
	"context"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/seal"
)

// IssuerConfig is the server as a token issuer for clouds.
type IssuerConfig struct {
	// URL is what tokens say in iss, and below which clouds find the documents:
	// https://HOST or https://HOST/PATH on port 443. Where the server itself is not
	// reachable there, `firekeep issuer export` publishes the documents in a bucket.
	// "" = connections have secrets only.
	URL string `json:"url"`
}

// openIdentity makes the broker of storage credentials and, where one is
// configured, the issuer with its keys.
func (s *service) openIdentity(ctx context.Context, kek seal.KEK, log catalog.Recorder) error {
	s.broker = catalog.Credentials(s.db, kek, log)
	s.broker.Sealer = s.keys.Sealer
	if s.config.Issuer.URL == "" {
		return nil
	}
	s.issuer = &issuer.Issuer{URL: s.config.Issuer.URL, DB: s.db, KEK: kek}
	s.broker.Federation = &identity.Federation{Issuer: s.issuer, Objects: s.config.objstore()}
	return s.issuer.Maintain(ctx)
}
