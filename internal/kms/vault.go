package kms

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// vaultKey is a key of the transit engine of HashiCorp Vault or OpenBao, of an
// AEAD type (aes256-gcm96 is the engine's default). The binding is the
// associated data of the encryption.
type vaultKey struct {
	Mount string `json:"mount,omitempty"` // of the engine; "transit"
	Key   string `json:"key"`
}

// vaultCredential is a token, or the two halves of an AppRole.
type vaultCredential struct {
	Token    string `json:"token,omitempty"`
	RoleID   string `json:"role_id,omitempty"`
	SecretID string `json:"secret_id,omitempty"`
	AuthPath string `json:"auth_path,omitempty"` // of the AppRole method; "approle"
}

var (
	vaultMount = rft.Pattern(`^[A-Za-z0-9_-]{1,63}(/[A-Za-z0-9_-]{1,63}){0,4}$`)
	vaultName  = rft.Pattern(`^[A-Za-z0-9_.-]{1,127}$`)
)

func (k *vaultKey) check(c Config, credential seal.Secret) error {
	switch {
	case c.VaultAddress == "":
		return rft.Errorf(rft.KindFailedPrecondition, "kind: the operator of this server has named no Vault (kms.vaultAddress in config.json)")
	case !vaultMount.MatchString(k.Mount):
		return rft.FieldErrorf("settings.mount", "settings.mount: must be the path of a transit engine")
	case !vaultName.MatchString(k.Key) || strings.Trim(k.Key, ".") == "":
		return rft.FieldErrorf("settings.key", "settings.key: must be the name of a transit key")
	}
	_, err := k.credential(credential)
	return err
}

func (k *vaultKey) credential(s seal.Secret) (c vaultCredential, err error) {
	err = strict([]byte(s.Reveal()), &c)
	if c.AuthPath == "" {
		c.AuthPath = "approle"
	}
	if err != nil || (c.Token == "") == (c.RoleID == "" || c.SecretID == "") || !vaultMount.MatchString(c.AuthPath) {
		return c, rft.FieldErrorf("credential", "credential: must be a JSON object with token, or with role_id and secret_id")
	}
	return c, nil
}

func (k *vaultKey) describe() string { return Vault + " " + k.Mount + "/" + k.Key }

func (k *vaultKey) open(s *Services, credential seal.Secret) (seal.Wrapper, error) {
	c, err := k.credential(credential)
	if err != nil {
		return nil, err
	}
	return &vaultWrapper{client: s.client(true), address: strings.TrimSuffix(s.VaultAddress, "/"), namespace: s.VaultNamespace, key: *k, credential: c}, nil
}

type vaultWrapper struct {
	client             *http.Client
	address, namespace string
	key                vaultKey
	credential         vaultCredential

	mu    sync.Mutex
	token string // of an AppRole login
	until time.Time
}

// vaultAnswer is the part of every answer that is read.
type vaultAnswer struct {
	Data struct {
		Plaintext            string `json:"plaintext"`
		Ciphertext           string `json:"ciphertext"`
		MinDecryptionVersion int    `json:"min_decryption_version"`
	} `json:"data"`
	Auth struct {
		ClientToken   string `json:"client_token"`
		LeaseDuration int64  `json:"lease_duration"` // seconds
	} `json:"auth"`
}

// vaultStatus is an answer that is no success. Vault's texts are not kept: they
// may repeat what was sent.
type vaultStatus int

func (s vaultStatus) Error() string { return fmt.Sprintf("vault answered %d", int(s)) }

// maxAnswer bounds an answer.
const maxAnswer = 64 << 10

// Wrap implements seal.Wrapper.
func (w *vaultWrapper) Wrap(ctx context.Context, key []byte, b seal.Binding) ([]byte, error) {
	a, err := w.transit(ctx, "encrypt", map[string]string{"plaintext": encoded(key), "associated_data": encoded(b.Bytes())})
	if err != nil {
		return nil, vaultError(ctx, err)
	}
	return []byte(a.Data.Ciphertext), nil
}

// Unwrap implements seal.Wrapper.
func (w *vaultWrapper) Unwrap(ctx context.Context, wrapped []byte, b seal.Binding) ([]byte, error) {
	a, err := w.transit(ctx, "decrypt", map[string]string{"ciphertext": string(wrapped), "associated_data": encoded(b.Bytes())})
	if err != nil {
		if status, ok := errors.AsType[vaultStatus](err); ok && status == http.StatusBadRequest {
			return nil, w.whyNot(ctx, string(wrapped), err)
		}
		return nil, vaultError(ctx, err)
	}
	key, err := base64.StdEncoding.DecodeString(a.Data.Plaintext)
	if err != nil {
		return nil, unreachable(errChecksum)
	}
	return key, nil
}

// whyNot finds out what a refused decryption means, for which Vault has one
// status: the key is gone, its version was retired, or the ciphertext is not of
// this key and these data.
func (w *vaultWrapper) whyNot(ctx context.Context, wrapped string, cause error) error {
	a, err := w.call(ctx, http.MethodGet, w.key.Mount+"/keys/"+url.PathEscape(w.key.Key), nil)
	if err != nil {
		return vaultError(ctx, err)
	}
	part := strings.SplitN(wrapped, ":", 3) // vault:v1:...
	if len(part) == 3 && part[0] == "vault" {
		if v, err := strconv.Atoi(strings.TrimPrefix(part[1], "v")); err == nil && v > 0 && v < a.Data.MinDecryptionVersion {
			return refused(cause)
		}
	}
	return damaged(cause)
}

func (w *vaultWrapper) transit(ctx context.Context, verb string, body map[string]string) (vaultAnswer, error) {
	return w.call(ctx, http.MethodPost, w.key.Mount+"/"+verb+"/"+url.PathEscape(w.key.Key), body)
}

// call makes one request; an AppRole's token that has run out is renewed once.
func (w *vaultWrapper) call(ctx context.Context, method, path string, body any) (vaultAnswer, error) {
	token, err := w.login(ctx, false)
	if err != nil {
		return vaultAnswer{}, err
	}
	a, err := w.send(ctx, method, path, token, body)
	if status, ok := errors.AsType[vaultStatus](err); ok && status == http.StatusForbidden && w.credential.Token == "" {
		if token, err = w.login(ctx, true); err != nil {
			return vaultAnswer{}, err
		}
		return w.send(ctx, method, path, token, body)
	}
	return a, err
}

// login returns the token of requests.
func (w *vaultWrapper) login(ctx context.Context, anew bool) (string, error) {
	if w.credential.Token != "" {
		return w.credential.Token, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !anew && w.token != "" && time.Now().Before(w.until) {
		return w.token, nil
	}
	a, err := w.send(ctx, http.MethodPost, "auth/"+w.credential.AuthPath+"/login", "", map[string]string{"role_id": w.credential.RoleID, "secret_id": w.credential.SecretID})
	if err != nil {
		return "", err
	}
	if a.Auth.ClientToken == "" {
		return "", vaultStatus(http.StatusForbidden)
	}
	w.token, w.until = a.Auth.ClientToken, time.Now().Add(time.Duration(a.Auth.LeaseDuration)*time.Second/2)
	return w.token, nil
}

func (w *vaultWrapper) send(ctx context.Context, method, path, token string, body any) (a vaultAnswer, err error) {
	var raw []byte
	if body != nil {
		if raw, err = json.Marshal(body); err != nil {
			return a, err
		}
	}
	rq, err := http.NewRequestWithContext(ctx, method, w.address+"/v1/"+path, bytes.NewReader(raw))
	if err != nil {
		return a, err
	}
	rq.Header.Set("X-Vault-Request", "true")
	if token != "" {
		rq.Header.Set("X-Vault-Token", token)
	}
	if w.namespace != "" {
		rq.Header.Set("X-Vault-Namespace", w.namespace)
	}
	rs, err := w.client.Do(rq)
	if err != nil {
		return a, err
	}
	defer rs.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(rs.Body, maxAnswer))
	if err != nil {
		return a, err
	}
	if rs.StatusCode != http.StatusOK {
		return a, vaultStatus(rs.StatusCode)
	}
	return a, json.Unmarshal(answer, &a)
}

func vaultError(ctx context.Context, err error) error {
	if status, ok := errors.AsType[vaultStatus](err); ok {
		return byStatus(int(status), err)
	}
	return waiting(ctx, err)
}
