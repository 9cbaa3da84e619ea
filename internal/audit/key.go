package audit

import (
	"context"
	"crypto/rand"

	"golang.org/x/mod/sumdb/note"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// keyPurpose binds the sealed private key to what it is for.
var keyPurpose = []byte("firekeep/audit-key/1")

// ensureKey returns the log's state and its signer, making the key at first
// start. The private key lies sealed in the database: with the database and the
// KEK the log can be written again as it was.
func ensureKey(ctx context.Context, db *store.DB, kek seal.KEK) (store.AuditState, note.Signer, error) {
	state, err := db.AuditState(ctx)
	if err != nil {
		return state, nil, err
	}
	if state.Verifier == "" {
		// The name is the log's origin. It is random: two installations never sign
		// heads that could be taken for each other's.
		private, public, err := note.GenerateKey(rand.Reader, "firekeep/"+seal.RandomID(20))
		if err != nil {
			return state, nil, rft.Wrap(rft.KindInternal, err, "the audit log's key cannot be made")
		}
		sealed, err := seal.SealBytes(kek, []byte(private), keyPurpose)
		if err != nil {
			return state, nil, rft.Wrap(rft.KindUnavailable, err, "the audit log's key cannot be sealed")
		}
		if state, err = db.StartAudit(ctx, public, sealed); err != nil {
			return state, nil, err
		}
	}
	private, err := seal.OpenBytes(kek, state.SealedKey, keyPurpose)
	if err != nil {
		return state, nil, rft.Wrap(rft.KindFailedPrecondition, err, "the audit log's key does not open under the server's key-encryption key")
	}
	signer, err := note.NewSigner(string(private))
	if err != nil {
		return state, nil, rft.Errorf(rft.KindDataLoss, "the audit log's key cannot be read") // the cause could quote it
	}
	verifier, err := note.NewVerifier(state.Verifier)
	if err != nil || signer.Name() != verifier.Name() || signer.KeyHash() != verifier.KeyHash() {
		return state, nil, rft.Errorf(rft.KindDataLoss, "the audit log's private key does not belong to its public key")
	}
	return state, signer, nil
}

// ParseKey reads a public key as `firekeep audit key` prints it.
func ParseKey(s string) (note.Verifier, error) {
	v, err := note.NewVerifier(s)
	if err != nil {
		return nil, rft.Errorf(rft.KindInvalidArgument, "not a public key of an audit log: want NAME+HASH+KEY, as `firekeep audit key` prints it")
	}
	return v, nil
}
