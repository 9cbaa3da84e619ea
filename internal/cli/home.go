package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// A home is the state of one server:
//
//	config.json    the operator's settings, optional
//	firekeep.db    SQLite, unless config.json names PostgreSQL
//	keyring.json   the host's key: seals credentials, and what homes of the first format hold
//	keys/          key-encryption keys of the accounts that keep theirs here
//	admin.key      the first API key, mode 0600
//	model-signing.pub   the public keys that models verify with
//	bucket/        the home bucket: sealed artefacts
//	models/        prepared weights of base models
//	lock           held by the server that uses the home
const (
	keyringFile = "keyring.json"
	bucketDir   = "bucket"
	modelsDir   = "models"
	lockFile    = "lock"
)

// mainAccount is the account that the first start creates. Its admins operate
// the server: they publish models to every account.
const mainAccount = "main"

// adminUser is the user of the first key.
const adminUser = "admin"

// adminKeyLife is the life of the first key. It is long: the file lies beside
// the keyring, and whoever reads the one reads the other.
const adminKeyLife = 365 * 24 * time.Hour

// openHome makes the directory if it is not there, refuses one that others can
// enter, and takes the lock.
func openHome(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "the home directory %s cannot be created", dir)
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "%s is not a directory", dir)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, rft.Wrap(rft.KindFailedPrecondition, err, "%s can be read by others; run chmod 700 on it", dir)
		}
	}
	return lockHome(dir)
}

// lockWait is how long a server waits for the one before it, which may have been
// killed a moment ago: a busy host takes a while to be done with a process.
const lockWait = 3 * time.Second

// lockHome takes the lock of a home, or says that a server has it.
func lockHome(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be opened", path)
	}
	// The kernel drops the lock when the process ends, however it ends.
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	for begin := time.Now(); err == syscall.EWOULDBLOCK && time.Since(begin) < lockWait; {
		time.Sleep(lockWait / 60)
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		f.Close()
		return nil, rft.Errorf(rft.KindFailedPrecondition, "another firekeep uses %s; stop it, or choose another --home", dir)
	}
	return func() { f.Close() }, nil
}

// bootstrap makes what a home needs: the accounts, the admin and its key. It
// repeats what a crash left undone, and returns the path of the key when it
// wrote one.
func bootstrap(ctx context.Context, db *store.DB, home string) (wrote string, err error) {
	act := func(method, resource string) store.Act {
		return store.Act{Account: mainAccount, Actor: "firekeep serve", Method: method, Resource: resource}
	}
	for _, a := range []store.Account{{ID: mainAccount, DisplayName: "Main"}, {ID: rft.OperatorAccount, DisplayName: "Published by the operator"}} {
		if err := absent(db.Account(ctx, a.ID)); err == nil {
			if _, err := db.CreateAccount(ctx, a, act("CreateAccount", rft.AccountName(a.ID))); err != nil {
				return "", err
			}
		} else if !errors.Is(err, errPresent) {
			return "", err
		}
	}
	name := rft.Name{Account: mainAccount, Collection: rft.Users, ID: adminUser}.String()
	if err := absent(db.User(ctx, mainAccount, adminUser)); err == nil {
		u := store.User{Account: mainAccount, ID: adminUser, DisplayName: "Administrator", Role: string(authz.Admin)}
		if _, err := db.CreateUser(ctx, u, act("CreateUser", name)); err != nil {
			return "", err
		}
	} else if !errors.Is(err, errPresent) {
		return "", err
	}
	return adminKey(ctx, db, filepath.Join(home, adminKeyFile), act("CreateApiKey", name))
}

var errPresent = errors.New("present")

// absent is nil when a read found nothing.
func absent[T any](_ T, err error) error {
	switch {
	case err == nil:
		return errPresent
	case rft.KindOf(err) == rft.KindNotFound:
		return nil
	}
	return err
}

// adminKey keeps the key of the file when it still works, and otherwise makes a
// new one: deleting the file is how an operator gets back in.
func adminKey(ctx context.Context, db *store.DB, path string, act store.Act) (wrote string, err error) {
	text, err := readKey(path)
	if err != nil {
		return "", err
	}
	if text != "" {
		if _, _, err := db.APIKeyByHash(ctx, seal.HashAPIKey(text)); err == nil {
			return "", nil
		} else if k := rft.KindOf(err); k != rft.KindNotFound && k != rft.KindUnauthenticated {
			return "", err
		}
	}
	k := seal.NewAPIKey()
	row := authz.KeyRow(k, mainAccount, adminUser, "admin.key", time.Now().UTC().Add(adminKeyLife))
	if _, err := db.CreateAPIKey(ctx, row, act); err != nil {
		return "", err
	}
	return path, writeSecretFile(path, k.Text.Reveal()+"\n")
}

// writeSecretFile puts a file in place that only this user can read.
func writeSecretFile(path, text string) error {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be replaced", tmp)
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be written", path)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be written", path)
	}
	return nil
}
