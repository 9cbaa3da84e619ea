package control

import (
	"encoding/base64"
	"path/filepath"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/seal"
)

// FuzzJobFileTicket: what strangers put behind the path of jobs' files opens
// nothing that this server did not sign for that purpose.
func FuzzJobFileTicket(f *testing.F) {
	kek, err := seal.CreateKeyring(filepath.Join(f.TempDir(), "keyring"))
	if err != nil {
		f.Fatal(err)
	}
	now := time.Now()
	c := &Control{KEK: kek}
	path, err := sealTicket(c.KEK, JobFilePath, jobFilePurpose, jobFileTicket{Account: "main", Kind: "dpo", UID: "u", Key: "k", Expires: now.Add(time.Hour).Unix()})
	if err != nil {
		f.Fatal(err)
	}
	good := path[len(JobFilePath):]
	if t, err := openJobFileTicket(kek, good, now); err != nil || t.Account != "main" || t.Kind != "dpo" {
		f.Fatal(t, err)
	}
	if _, err := openJobFileTicket(kek, good, now.Add(time.Hour)); err == nil {
		f.Fatal("a ticket that is too old opened")
	}
	file, err := c.sealTransfer(ticket{Method: "GET", Account: "main", UID: "u", Key: "k", Expires: now.Add(time.Hour).Unix()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file[len(TransferPath):])
	f.Add(good[:len(good)-1])
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"a":"main","e":99999999999}`)))
	f.Fuzz(func(t *testing.T, text string) {
		if text == good {
			return
		}
		if got, err := openJobFileTicket(kek, text, now); err == nil || got != (jobFileTicket{}) {
			t.Errorf("%q opened %+v", text, got)
		}
	})
}
