package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/store"
)

// cluster is a private PostgreSQL server on a unix socket, for this test run.
type cluster struct {
	dir  string
	cmd  *exec.Cmd
	made atomic.Int64
}

var server *cluster

func TestMain(m *testing.M) {
	code := m.Run()
	if server != nil {
		server.stop()
	}
	os.Exit(code)
}

// postgresBin finds the server's programs: FIREKEEP_POSTGRES_BIN, what
// scripts/install-postgres installed, or the host's.
func postgresBin() string {
	for _, pattern := range []string{os.Getenv("FIREKEEP_POSTGRES_BIN"), "../../.cache/postgres/bin", "/usr/lib/postgresql/*/bin"} {
		if dirs, _ := filepath.Glob(pattern); len(dirs) > 0 {
			if dir, err := filepath.EvalSymlinks(dirs[len(dirs)-1]); err == nil {
				dir, _ = filepath.Abs(dir) // fails without a working directory only
				return dir
			}
		}
	}
	return ""
}

// asUser makes a command run as "nobody" when we are root, which the server refuses.
func asUser(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "HOME=/", "PATH=/usr/bin:/bin"}
	cmd.Dir = "/"
	return cmd
}

func startPostgres(t *testing.T) *cluster {
	t.Helper()
	if server != nil {
		return server
	}
	bin := postgresBin()
	if bin == "" {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("no PostgreSQL on this host")
		}
		t.Fatal("no PostgreSQL on this host: run scripts/install-postgres, or set FIREKEEP_WITHOUT_ORACLES=1 to leave this out")
	}
	dir, err := os.MkdirTemp("", "fkpg")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	if out, err := asUser(exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "firekeep", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")).CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	c := &cluster{dir: dir}
	c.cmd = asUser(exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60"))
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	server = c
	c.await(t)
	return c
}

// await asks the server until it answers.
func (c *cluster) await(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	db, err := sql.Open("pgx", c.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("PostgreSQL does not answer: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *cluster) stop() {
	c.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
	c.cmd.Wait()
	os.RemoveAll(c.dir)
}

func (c *cluster) url(database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User("firekeep"), Path: "/" + database, RawQuery: "host=" + url.QueryEscape(c.dir)}).String()
}

// database makes an empty database and returns its URL.
func (c *cluster) database(t *testing.T) string {
	t.Helper()
	db, err := sql.Open("pgx", c.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name := fmt.Sprintf("t%d", c.made.Add(1))
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return c.url(name)
}

// clock is a clock that tests move.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	return c
}
func (c *clock) now() time.Time      { return time.UnixMicro(c.micros.Load()).UTC() }
func (c *clock) add(d time.Duration) { c.micros.Add(d.Microseconds()) }
func sqlitePath(t *testing.T) string { return filepath.Join(t.TempDir(), "firekeep.db") }
func isPostgres(dsn string) bool     { return strings.HasPrefix(dsn, "postgres://") }
func open(t *testing.T, dsn string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatalf("open %s: %v", dsn, err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// both runs a test against both databases. The database is fresh, its clock the
// test's.
func both(t *testing.T, test func(t *testing.T, db *store.DB, c *clock)) {
	run := func(name string, dsn func(*testing.T) string) {
		t.Run(name, func(t *testing.T) {
			db := open(t, dsn(t))
			c := newClock()
			db.SetClock(c.now)
			if _, err := db.CreateAccount(t.Context(), store.Account{ID: "main", DisplayName: "Main"}, store.Act{Actor: "setup", Method: "CreateAccount"}); err != nil {
				t.Fatal(err)
			}
			test(t, db, c)
		})
	}
	run("sqlite", sqlitePath)
	run("postgres", func(t *testing.T) string { return startPostgres(t).database(t) })
}
