package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/runner"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// fsckCmd verifies a home. It takes the home's lock: what a running server
// writes would look like an orphan.
type fsckCmd struct {
	Repair bool `help:"Remove what is harmless: files that a crash left behind."`
}

// Run implements a command. What is harmless does not fail it.
func (c *fsckCmd) Run(a *app) error {
	home, err := filepath.Abs(a.home)
	if err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "--home is not a path")
	}
	if _, err := os.Stat(filepath.Join(home, keyringFile)); errors.Is(err, fs.ErrNotExist) {
		return rft.Errorf(rft.KindNotFound, "%s is not a home of firekeep: it has no %s; --home names another", home, keyringFile)
	}
	unlock, err := lockHome(home)
	if err != nil {
		return err
	}
	defer unlock()
	config, err := loadConfig(home)
	if err != nil {
		return err
	}
	kek, err := seal.OpenKeyring(filepath.Join(home, keyringFile))
	if err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "the keyring %s cannot be opened", filepath.Join(home, keyringFile))
	}
	db, err := store.Open(a.ctx, config.dsn(home))
	if err != nil {
		return err
	}
	defer db.Close()
	keys := openKeys(home, config, db, kek)
	keys.Audit = custody.EachOnce(outbox{db})
	cat, err := openCatalog(home, db, keys)
	if err != nil {
		return err
	}
	defer cat.Vault().Home().Close()
	broker := catalog.Credentials(db, kek, nil)
	broker.Sealer = keys.Sealer // secrets are under the keys of their accounts
	check := runner.Fsck{DB: db, Catalog: cat, Identity: broker, BucketDir: filepath.Join(home, bucketDir), Repair: c.Repair}
	found, err := check.Run(a.ctx)
	if err != nil {
		return err
	}
	logged, err := config.checkAudit(a.ctx, home, db)
	if err != nil {
		return err
	}
	return a.verdict(append(found, logged...))
}

// verdict prints findings and fails when one of them is not harmless.
func (a *app) verdict(found []runner.Finding) error {
	wrong, unchecked := 0, 0
	for _, f := range found {
		switch {
		case f.Unchecked:
			unchecked++
		case !f.Harmless:
			wrong++
		}
	}
	if a.json {
		if found == nil {
			found = []runner.Finding{}
		}
		if err := a.printJSON(map[string]any{"clean": wrong == 0 && unchecked == 0, "unchecked": unchecked, "findings": found}); err != nil {
			return err
		}
	} else {
		for _, f := range found {
			note := ""
			switch {
			case f.Unchecked:
				note = " (not checked)"
			case f.Repaired:
				note = " (removed)"
			case f.Harmless:
				note = " (harmless; --repair removes it)"
			}
			fmt.Fprintf(a.Stdout, "%s  %s: %s%s\n", f.Kind, f.Resource, f.Message, note)
		}
	}
	if wrong > 0 {
		return &quiet{rft.Errorf(rft.KindDataLoss, "fsck found %d things wrong", wrong), a.json}
	}
	if unchecked > 0 {
		return &quiet{rft.Errorf(rft.KindFailedPrecondition, "fsck found nothing wrong, but could not check %d things: their keys are disabled or out of reach", unchecked), a.json}
	}
	if !a.json {
		fmt.Fprintln(a.Stdout, "clean")
	}
	return nil
}

// quiet is an error of a command that has already printed its JSON document.
type quiet struct {
	error
	printed bool
}

func (q *quiet) Unwrap() error { return q.error }
