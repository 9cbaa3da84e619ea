package control

import (
	"encoding/base64"
	"encoding/json"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// maxTicket bounds what strangers can have opened.
const maxTicket = 2048

// errTicket is the one answer to what is not ours and to what is too old.
func errTicket() error {
	return rft.Errorf(rft.KindPermissionDenied, "this URL is not valid, or no longer; ask for a new one")
}

// sealTicket is path with the ticket, sealed for one purpose, as its last segment.
func sealTicket(kek seal.KEK, path string, purpose []byte, ticket any) (string, error) {
	raw, err := json.Marshal(ticket)
	if err != nil {
		return "", err
	}
	sealed, err := kek.Encrypt(raw, purpose)
	if err != nil {
		return "", rft.Wrap(rft.KindInternal, err, "the URL cannot be signed")
	}
	return path + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// openTicket reads what sealTicket wrote into ticket. Its caller checks what the
// ticket says, its expiry first.
func openTicket(kek seal.KEK, purpose []byte, text string, ticket any) error {
	if len(text) > maxTicket {
		return errTicket()
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return errTicket()
	}
	raw, err := kek.Decrypt(sealed, purpose)
	if err != nil || json.Unmarshal(raw, ticket) != nil {
		return errTicket()
	}
	return nil
}
