package kms

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// azureKey is an RSA key of Azure Key Vault or Managed HSM. RSA knows no
// associated data, so what it wraps is a fresh key and the digest of the binding,
// and the data key is sealed under that key with the binding.
type azureKey struct {
	// Key is the key's URL: https://VAULT.vault.azure.net/keys/NAME/VERSION.
	Key string `json:"key"`
}

// azureCredential is the secret of an application.
type azureCredential struct {
	TenantID     string `json:"tenant_id"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

var (
	azurePath   = rft.Pattern(`^/keys/([A-Za-z0-9-]{1,127})/([0-9a-f]{32})$`)
	azureVaults = []string{".vault.azure.net", ".managedhsm.azure.net", ".vault.azure.cn", ".vault.usgovcloudapi.net"}
	azureID     = rft.Pattern(`^[0-9a-fA-F-]{36}$`)
)

func (k *azureKey) parse(c Config) (vault *url.URL, name, version string, err error) {
	bad := rft.FieldErrorf("settings.key", "settings.key: must be the URL of a version of a key in a key vault: https://VAULT.vault.azure.net/keys/NAME/VERSION")
	u, err := url.Parse(k.Key)
	if err != nil || u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, "", "", bad
	}
	m := azurePath.FindStringSubmatch(u.Path)
	if m == nil || !azureVault(c, u.Host) {
		return nil, "", "", bad
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, m[1], m[2], nil
}

// azureVault reports whether accounts may use a vault of this name.
func azureVault(c Config, host string) bool {
	allowed := c.AzureVaults
	if len(allowed) == 0 {
		allowed = azureVaults
	}
	for _, a := range allowed {
		if host == a || strings.HasPrefix(a, ".") && strings.HasSuffix(host, a) && !strings.Contains(strings.TrimSuffix(host, a), ":") {
			return true
		}
	}
	return false
}

func (k *azureKey) check(c Config, credential seal.Secret) error {
	if _, _, _, err := k.parse(c); err != nil {
		return err
	}
	_, err := k.credential(credential)
	return err
}

func (k *azureKey) credential(s seal.Secret) (c azureCredential, err error) {
	if strict([]byte(s.Reveal()), &c) != nil || !azureID.MatchString(c.TenantID) || !azureID.MatchString(c.ClientID) || c.ClientSecret == "" {
		return c, rft.FieldErrorf("credential", "credential: must be a JSON object with tenant_id, client_id and client_secret")
	}
	return c, nil
}

func (k *azureKey) describe() string { return Azure + " " + k.Key }

func (k *azureKey) open(s *Services, credential seal.Secret) (seal.Wrapper, error) {
	vault, name, version, err := k.parse(s.Config)
	if err != nil {
		return nil, err
	}
	c, err := k.credential(credential)
	if err != nil {
		return nil, err
	}
	o := policy.ClientOptions{Transport: s.client(len(s.AzureVaults) > 0), Retry: policy.RetryOptions{MaxRetries: 1, RetryDelay: 200 * time.Millisecond}, Cloud: cloud.AzurePublic}
	login := azidentity.ClientSecretCredentialOptions{ClientOptions: o}
	if s.AzureAuthority != "" {
		login.Cloud.ActiveDirectoryAuthorityHost, login.DisableInstanceDiscovery = s.AzureAuthority, true
	}
	who, err := azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.ClientSecret, &login)
	if err != nil {
		return nil, rft.FieldErrorf("credential", "credential: is not one of an application")
	}
	client, err := azkeys.NewClient(vault.String(), who, &azkeys.ClientOptions{ClientOptions: o, DisableChallengeResourceVerification: len(s.AzureVaults) > 0})
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the client of %s cannot be made", Azure)
	}
	return &azureWrapper{client: client, name: name, version: version}, nil
}

type azureWrapper struct {
	client        *azkeys.Client
	name, version string
}

// Wrap implements seal.Wrapper: length of the wrapped key, wrapped key, sealed data key.
func (w *azureWrapper) Wrap(ctx context.Context, key []byte, b seal.Binding) ([]byte, error) {
	inner := seal.RandomBytes(seal.InnerKeyBytes)
	defer clear(inner)
	bound := sha256.Sum256(b.Bytes())
	out, err := w.client.WrapKey(ctx, w.name, w.version, azureParameters(append(bound[:], inner...)), nil)
	if err != nil {
		return nil, azureError(ctx, err)
	}
	sealed, err := seal.SealInner(inner, key, b.Bytes())
	if err != nil {
		return nil, err
	}
	n := len(out.Result)
	return append(append([]byte{byte(n >> 8), byte(n)}, out.Result...), sealed...), nil
}

// Unwrap implements seal.Wrapper.
func (w *azureWrapper) Unwrap(ctx context.Context, wrapped []byte, b seal.Binding) ([]byte, error) {
	if len(wrapped) < 2 {
		return nil, seal.ErrDamaged
	}
	n := int(wrapped[0])<<8 | int(wrapped[1])
	if wrapped = wrapped[2:]; n == 0 || n > len(wrapped) {
		return nil, seal.ErrDamaged
	}
	out, err := w.client.UnwrapKey(ctx, w.name, w.version, azureParameters(wrapped[:n]), nil)
	if err != nil {
		return nil, azureError(ctx, err)
	}
	defer clear(out.Result)
	bound := sha256.Sum256(b.Bytes())
	if len(out.Result) != sha256.Size+seal.InnerKeyBytes || !seal.Equal(out.Result[:sha256.Size], bound[:]) {
		return nil, seal.ErrDamaged
	}
	return seal.OpenInner(out.Result[sha256.Size:], wrapped[n:], b.Bytes())
}

func azureParameters(value []byte) azkeys.KeyOperationParameters {
	alg := azkeys.EncryptionAlgorithmRSAOAEP256
	return azkeys.KeyOperationParameters{Algorithm: &alg, Value: value}
}

func azureError(ctx context.Context, err error) error {
	if said, ok := errors.AsType[*azcore.ResponseError](err); ok {
		if said.StatusCode == http.StatusBadRequest {
			return damaged(err)
		}
		return byStatus(said.StatusCode, err)
	}
	if _, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok {
		return refused(err)
	}
	return waiting(ctx, err)
}
