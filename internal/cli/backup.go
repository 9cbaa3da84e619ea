package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/firekeep/firekeep/internal/backup"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

type backupCmd struct {
	Create  backupCreateCmd  `cmd:"" help:"Copy a home while its server runs; keys are left out."`
	Keys    backupKeysCmd    `cmd:"" help:"Copy the keys of a home, to be kept apart from its backups."`
	Restore backupRestoreCmd `cmd:"" help:"Make a home of a backup."`
}

// backupPlace is where a backup lies: a directory of this host, or a prefix of a
// bucket with the secret that opens it.
type backupPlace struct {
	SecretFile string `name:"secret-file" help:"For s3:// and gs://: JSON file with the secret, - = standard input, as for connection create." placeholder:"PATH"`
}

// open opens the place; with create, a directory is made.
func (p backupPlace) open(a *app, place string, config objstore.Config, create bool) (objstore.Bucket, string, error) {
	if !strings.Contains(place, "://") || strings.HasPrefix(place, "file://") {
		dir, err := filepath.Abs(strings.TrimPrefix(place, "file://"))
		if err == nil && create {
			err = os.MkdirAll(dir, 0o700)
		}
		if err != nil {
			return nil, "", rft.Wrap(rft.KindFailedPrecondition, err, "the directory %s cannot be made", place)
		}
		b, err := objstore.OpenDir(dir)
		return b, "", err
	}
	u, err := objstore.ParseURL(strings.TrimSuffix(place, "/") + "/")
	if err != nil {
		return nil, "", err
	}
	secret, err := p.secret(a)
	if err != nil {
		return nil, "", err
	}
	b, err := objstore.Open(a.ctx, u, secret, config)
	return b, u.Key, err
}

func (p backupPlace) secret(a *app) (objstore.Secret, error) {
	in := a.Stdin
	switch p.SecretFile {
	case "":
		return objstore.Secret{}, rft.FieldErrorf("secret-file", "--secret-file is needed for a bucket; - reads standard input")
	case "-":
	default:
		f, err := os.Open(p.SecretFile)
		if err != nil {
			return objstore.Secret{}, rft.Wrap(rft.KindNotFound, err, "the secret file %s cannot be read", p.SecretFile)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxSecret))
	if err != nil {
		return objstore.Secret{}, rft.Wrap(rft.KindInvalidArgument, err, "the secret cannot be read")
	}
	return seal.NewSecret(string(b)), nil
}

type backupCreateCmd struct {
	Place string `arg:"" help:"Empty directory of this host, or s3://bucket/prefix/ or gs://bucket/prefix/."`
	backupPlace
}

// Run implements a command. The server may run meanwhile.
func (c *backupCreateCmd) Run(a *app) error {
	home, err := filepath.Abs(a.home)
	if err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "--home is not a path")
	}
	config, err := loadConfig(home)
	if err != nil {
		return err
	}
	if config.Database != "" {
		return rft.Errorf(rft.KindFailedPrecondition, "this home keeps its rows in PostgreSQL: stop the server, use pg_dump, and copy %s without keyring.json", home)
	}
	if _, err := os.Stat(config.dsn(home)); err != nil {
		return rft.Wrap(rft.KindNotFound, err, "%s is not a home of firekeep; --home names another", home)
	}
	to, prefix, err := c.open(a, c.Place, config.objstore(), true)
	if err != nil {
		return err
	}
	defer to.Close()
	m, err := backup.Source{Home: home, Version: a.Version}.Create(a.ctx, to, prefix)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"files": len(m.Files), "bytes": m.Bytes(), "created": m.Created, "leftOut": m.LeftOut, "dropped": m.Dropped})
	}
	fmt.Fprintln(a.Stdout, m)
	if len(m.LeftOut) > 0 {
		fmt.Fprintf(a.Stdout, "left out: %s\n", strings.Join(m.LeftOut, ", "))
	}
	fmt.Fprintf(a.Stdout, "The backup does not open without the keys: `firekeep backup keys DIR --home %s` copies them, to be kept somewhere else.\n", home)
	return nil
}

type backupRestoreCmd struct {
	Place  string `arg:"" help:"Where the backup lies."`
	Keys   string `help:"Directory that backup keys made." placeholder:"DIR"`
	Config string `help:"config.json that says how to reach the bucket of the backup." placeholder:"PATH"`
	backupPlace
}

// Run implements a command.
func (c *backupRestoreCmd) Run(a *app) error {
	home, err := filepath.Abs(a.home)
	if err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "--home is not a path")
	}
	var config Config
	if c.Config != "" {
		if config, err = readConfig(c.Config); err != nil {
			return err
		}
	}
	from, prefix, err := c.open(a, c.Place, config.objstore(), false)
	if err != nil {
		return err
	}
	defer from.Close()
	m, err := backup.Restore(a.ctx, from, prefix, home, c.Keys)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"home": home, "files": len(m.Files), "bytes": m.Bytes(), "created": m.Created, "keys": c.Keys != ""})
	}
	fmt.Fprintf(a.Stdout, "%s\nrestored to %s\n", m, home)
	if c.Keys == "" {
		fmt.Fprintf(a.Stdout, "put %s and keys/ back before anything else: nothing opens without them\n", keyringFile)
	}
	fmt.Fprintf(a.Stdout, "then `firekeep fsck --home %s`; the first start writes a new admin key\n", home)
	return nil
}

// requireKeyring refuses to start on a home that was restored without its key
// ring: a new one would open nothing of what is there.
func requireKeyring(home, database string) error {
	_, noKeys := os.Stat(filepath.Join(home, keyringFile))
	info, err := os.Stat(database)
	if !errors.Is(noKeys, fs.ErrNotExist) || err != nil || info.Size() == 0 {
		return nil
	}
	return rft.Errorf(rft.KindFailedPrecondition, "%s has a database but no %s: put the key ring of this home there, or name another --home", home, keyringFile)
}

type backupKeysCmd struct {
	Dir string `arg:"" help:"New directory of this host, mode 0700."`
}

// Run implements a command.
func (c *backupKeysCmd) Run(a *app) error {
	n, err := backup.CopyKeys(a.home, c.Dir)
	if err != nil {
		return err
	}
	return a.done("copied %d files of keys to %s; whoever has them and a backup reads everything", n, c.Dir)
}
