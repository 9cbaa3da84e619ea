package kms

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash/crc32"
	"net/http"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/jwt"
	cloudkms "google.golang.org/api/cloudkms/v1"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// gcpKey is a symmetric key of Google Cloud KMS. The binding is the additional
// authenticated data; checksums go both ways, as the service advises.
type gcpKey struct {
	// Key is the key's resource name: projects/P/locations/L/keyRings/R/cryptoKeys/K.
	Key string `json:"key"`
}

var gcpName = rft.Pattern(`^projects/[a-z0-9:.-]{1,100}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}$`)

const (
	gcpScope    = "https://www.googleapis.com/auth/cloudkms"
	gcpTokenURL = "https://oauth2.googleapis.com/token"
)

func (k *gcpKey) check(c Config, credential seal.Secret) error {
	if !gcpName.MatchString(k.Key) {
		return rft.FieldErrorf("settings.key", "settings.key: must be projects/P/locations/L/keyRings/R/cryptoKeys/K")
	}
	_, err := k.login(c, credential)
	return err
}

// login reads a service account's key. Where tokens come from is not the
// account's to say, whatever the file holds.
func (k *gcpKey) login(c Config, credential seal.Secret) (*jwt.Config, error) {
	login, err := google.JWTConfigFromJSON([]byte(credential.Reveal()), gcpScope)
	if err != nil || login.Email == "" || len(login.PrivateKey) == 0 || len(credential.Reveal()) > maxSettings {
		return nil, rft.FieldErrorf("credential", "credential: must be the JSON key of a service account")
	}
	if login.TokenURL = gcpTokenURL; c.GCPTokenURL != "" {
		login.TokenURL = c.GCPTokenURL
	}
	return login, nil
}

func (k *gcpKey) describe() string { return GCP + " " + k.Key }

func (k *gcpKey) open(s *Services, credential seal.Secret) (seal.Wrapper, error) {
	login, err := k.login(s.Config, credential)
	if err != nil {
		return nil, err
	}
	base := s.client(s.GCPEndpoint != "")
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, base)
	o := []option.ClientOption{option.WithHTTPClient(&http.Client{Transport: &oauth2.Transport{Source: login.TokenSource(ctx), Base: base.Transport}, CheckRedirect: base.CheckRedirect})}
	if s.GCPEndpoint != "" {
		o = append(o, option.WithEndpoint(s.GCPEndpoint))
	}
	service, err := cloudkms.NewService(ctx, o...)
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the client of %s cannot be made", GCP)
	}
	return &gcpWrapper{keys: service.Projects.Locations.KeyRings.CryptoKeys, key: k.Key}, nil
}

type gcpWrapper struct {
	keys *cloudkms.ProjectsLocationsKeyRingsCryptoKeysService
	key  string
}

func crc(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }

func encoded(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

var errChecksum = errors.New("kms: the answer was damaged on its way")

// Wrap implements seal.Wrapper.
func (w *gcpWrapper) Wrap(ctx context.Context, key []byte, b seal.Binding) ([]byte, error) {
	aad := b.Bytes()
	out, err := w.keys.Encrypt(w.key, &cloudkms.EncryptRequest{Plaintext: encoded(key), PlaintextCrc32c: crc(key),
		AdditionalAuthenticatedData: encoded(aad), AdditionalAuthenticatedDataCrc32c: crc(aad)}).Context(ctx).Do()
	if err != nil {
		return nil, gcpError(ctx, err)
	}
	wrapped, err := base64.StdEncoding.DecodeString(out.Ciphertext)
	if err != nil || crc(wrapped) != out.CiphertextCrc32c || !out.VerifiedPlaintextCrc32c || !out.VerifiedAdditionalAuthenticatedDataCrc32c {
		return nil, unreachable(errChecksum)
	}
	return wrapped, nil
}

// Unwrap implements seal.Wrapper.
func (w *gcpWrapper) Unwrap(ctx context.Context, wrapped []byte, b seal.Binding) ([]byte, error) {
	aad := b.Bytes()
	out, err := w.keys.Decrypt(w.key, &cloudkms.DecryptRequest{Ciphertext: encoded(wrapped), CiphertextCrc32c: crc(wrapped),
		AdditionalAuthenticatedData: encoded(aad), AdditionalAuthenticatedDataCrc32c: crc(aad)}).Context(ctx).Do()
	if err != nil {
		return nil, gcpError(ctx, err)
	}
	key, err := base64.StdEncoding.DecodeString(out.Plaintext)
	if err != nil || crc(key) != out.PlaintextCrc32c {
		return nil, unreachable(errChecksum)
	}
	return key, nil
}

// gcpError reads the status of an answer. INVALID_ARGUMENT is what the service
// says of a ciphertext that is not of this key and these data;
// FAILED_PRECONDITION of a version that is disabled or destroyed.
func gcpError(ctx context.Context, err error) error {
	if said, ok := errors.AsType[*googleapi.Error](err); ok {
		var body struct {
			Error struct {
				Status string `json:"status"`
			} `json:"error"`
		}
		_ = json.Unmarshal([]byte(said.Body), &body)
		if said.Code == http.StatusBadRequest && body.Error.Status == "INVALID_ARGUMENT" {
			return damaged(err)
		}
		return byStatus(said.Code, err)
	}
	if said, ok := errors.AsType[*oauth2.RetrieveError](err); ok && said.Response != nil {
		return byStatus(said.Response.StatusCode, err)
	}
	return waiting(ctx, err)
}
