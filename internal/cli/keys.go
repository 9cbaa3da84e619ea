package cli

import (
	"context"
	"path/filepath"

	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/kms"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// keysDir holds the keyring files of accounts with a local key. A backup leaves
// them out, as it does keyring.json.
const keysDir = "keys"

// openKeys is the keys of accounts.
func openKeys(home string, c Config, db *store.DB, host seal.KEK) *custody.Keys {
	return custody.New(custody.Config{DB: db, Dir: filepath.Join(home, keysDir), Host: host, Services: &kms.Services{Config: c.KMS}})
}

// outbox records acts in the database alone, for commands without a server: the
// log takes them when the server runs again.
type outbox struct{ db *store.DB }

// Record implements custody.Recorder.
func (o outbox) Record(ctx context.Context, act store.Act, result string) (int64, error) {
	var failed error
	if result != "OK" {
		failed = rft.Errorf(rft.Kind(result), "%s", result)
	}
	return -1, o.db.Record(ctx, act, failed)
}
