package control

import (
	"encoding/base64"
	"path/filepath"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/seal"
)

// FuzzTicket: what strangers put behind the path of transfers opens nothing that
// this server did not sign.
func FuzzTicket(f *testing.F) {
	kek, err := seal.CreateKeyring(filepath.Join(f.TempDir(), "keyring"))
	if err != nil {
		f.Fatal(err)
	}
	now := time.Now()
	c := &Control{KEK: kek}
	path, err := c.sealTransfer(ticket{Method: "PUT", Account: "main", UID: "u", Key: "k", Size: 1, Expires: now.Add(time.Hour).Unix()})
	if err != nil {
		f.Fatal(err)
	}
	good := path[len(TransferPath):]
	if t, err := openTransferTicket(kek, good, "PUT", now); err != nil || t.Account != "main" || t.Size != 1 {
		f.Fatal(t, err)
	}
	f.Add(good, "GET")
	f.Add(good[:len(good)-1], "PUT")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"m":"PUT","a":"main","e":99999999999}`)), "PUT")
	f.Fuzz(func(t *testing.T, text, method string) {
		if text == good && method == "PUT" {
			return
		}
		if got, err := openTransferTicket(kek, text, method, now); err == nil || got != (ticket{}) {
			t.Errorf("%q opened %+v", text, got)
		}
	})
}
