// Package store keeps Firekeep's state: accounts, keys, connections, datasets,
// models, jobs, resume points, deployments and the audit outbox, in SQLite by
// default and in PostgreSQL for several replicas, with one migration set.
//
// Each exported method is one transaction. Writers come one at a time on both
// databases (SQLite by nature, PostgreSQL by an advisory lock taken first), so
// a method that reads and then writes needs no further thought, and the audit
// sequence has no gaps. Rows hold ids, counts, digests and numbers; content of
// datasets, prompts and completions never comes here.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // driver "sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/firekeep/firekeep/internal/rft"
)

//go:embed migrations/*.sql
var migrations embed.FS

// writerLock is the key of PostgreSQL's advisory lock of the one writer.
const writerLock = 0x66697265

// DB is the store. It is safe for concurrent use.
type DB struct {
	writer   *sql.DB
	reader   *sql.DB
	postgres bool
	now      func() time.Time

	mu      sync.Mutex
	signal  chan struct{} // closed when a job changed
	audited chan struct{} // closed when an audit row was written
}

// Open opens the database of dsn, a file path for SQLite or a postgres:// URL,
// and brings its schema up to date.
func Open(ctx context.Context, dsn string) (*DB, error) {
	db := &DB{now: time.Now, signal: make(chan struct{}), audited: make(chan struct{})}
	var err error
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		err = db.openPostgres(ctx, dsn)
	} else {
		err = db.openSQLite(ctx, dsn)
	}
	if err == nil {
		err = db.migrate(ctx)
	}
	if err != nil {
		db.Close()
		return nil, rft.Wrap(rft.KindUnavailable, err, "the database cannot be opened")
	}
	return db, nil
}

// SetClock replaces the clock; for tests of leases and expiry.
func (db *DB) SetClock(now func() time.Time) { db.now = now }

func (db *DB) openPostgres(ctx context.Context, dsn string) error {
	db.postgres = true
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(16)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	db.writer, db.reader = pool, pool
	return pool.PingContext(ctx)
}

func (db *DB) openSQLite(ctx context.Context, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// SQLite would create the file, and from it the -wal and -shm files, with
	// the process' umask.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	open := func(write bool) (*sql.DB, error) {
		q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)"}}
		if write {
			q.Set("_txlock", "immediate")
		} else {
			q.Add("_pragma", "query_only(1)")
		}
		return sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String())
	}
	if db.writer, err = open(true); err != nil {
		return err
	}
	db.writer.SetMaxOpenConns(1)
	if err := db.writer.PingContext(ctx); err != nil {
		return err
	}
	if db.reader, err = open(false); err != nil {
		return err
	}
	db.reader.SetMaxOpenConns(8)
	return nil
}

// migrate applies the migrations that are missing. On PostgreSQL the writer's
// lock keeps two replicas from doing so at once.
func (db *DB) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	if db.postgres {
		dialect = goose.DialectPostgres
		conn, err := db.writer.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", writerLock+1); err != nil {
			return err
		}
		defer conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", writerLock+1)
	}
	p, err := goose.NewProvider(dialect, db.writer, dir)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Close closes the database.
func (db *DB) Close() error {
	var errs []error
	if db.writer != nil {
		errs = append(errs, db.writer.Close())
	}
	if db.reader != nil && db.reader != db.writer {
		errs = append(errs, db.reader.Close())
	}
	return errors.Join(errs...)
}

// Ping reports whether the database answers; /readyz asks it.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.reader.PingContext(ctx); err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the database does not answer")
	}
	return nil
}

// JobsChanged returns a channel that is closed when a transaction of this
// process changed a job. Take it before you look, then wait on it. Other
// processes' changes are found by polling.
func (db *DB) JobsChanged() <-chan struct{} {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.signal
}

// broadcast wakes who waits for what a committed transaction changed.
func (db *DB) broadcast(t *tx) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if t.jobs {
		close(db.signal)
		db.signal = make(chan struct{})
	}
	if t.audited {
		close(db.audited)
		db.audited = make(chan struct{})
	}
}

// tx is a transaction with the clock's one reading for all its rows.
type tx struct {
	*sql.Tx
	postgres bool
	now      time.Time
	jobs     bool // a job changed
	audited  bool // an audit row was written
}

// write runs fn in a transaction as the only writer.
func (db *DB) write(ctx context.Context, fn func(*tx) error) error {
	err := db.run(ctx, db.writer, nil, func(t *tx) error {
		if db.postgres {
			if _, err := t.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", writerLock); err != nil {
				return err
			}
		}
		// Read the clock once the lock is held: times never run against the order of writes.
		t.now = db.now().UTC().Truncate(time.Microsecond)
		return fn(t)
	})
	return err
}

// read runs fn in a transaction that sees one state of the database.
func (db *DB) read(ctx context.Context, fn func(*tx) error) error {
	var o *sql.TxOptions
	if db.postgres {
		o = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	return db.run(ctx, db.reader, o, fn)
}

func (db *DB) run(ctx context.Context, pool *sql.DB, o *sql.TxOptions, fn func(*tx) error) error {
	std, err := pool.BeginTx(ctx, o)
	if err != nil {
		return db.failure(ctx, err)
	}
	t := &tx{Tx: std, postgres: db.postgres, now: db.now().UTC().Truncate(time.Microsecond)}
	if err := fn(t); err != nil {
		std.Rollback()
		return db.failure(ctx, err)
	}
	if err := std.Commit(); err != nil {
		return db.failure(ctx, err)
	}
	if t.jobs || t.audited {
		db.broadcast(t)
	}
	return nil
}

// failure gives a foreign error a kind; ours pass.
func (db *DB) failure(ctx context.Context, err error) error {
	var e *rft.Error
	switch {
	case errors.As(err, &e):
		return err
	case ctx.Err() != nil:
		return rft.Wrap(rft.KindCancelled, err, "the request was cancelled")
	case passing(err):
		return rft.Wrap(rft.KindUnavailable, err, "the database does not answer; try again")
	}
	if fault := diskFault(err); fault != nil {
		return fault
	}
	return rft.Wrap(rft.KindInternal, err, "the database failed")
}

// passing reports whether a failure of the database is of the kind that ends by
// itself: a server that restarts, a connection that broke, a lock that was held
// for too long. A job that meets one is tried again, and does not fail.
func passing(err error) bool {
	var (
		lite    *sqlite.Error
		pg      *pgconn.PgError
		connect *pgconn.ConnectError
		network net.Error
	)
	switch {
	case errors.As(err, &lite):
		switch lite.Code() & 0xff { // the rest of the code says more
		case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED:
			return true
		}
		return false
	case errors.As(err, &pg):
		switch pg.Code {
		case "40001", "40P01", "55P03", "57P01", "57P02", "57P03": // serialisation, deadlock, lock; the server stops or starts
			return true
		}
		return strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "53") // connection, resources
	}
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF)
}

// traceKey holds the function that a context's statements are told to.
type traceKey struct{}

// WithTrace makes the statements of a context known to see, in order, without
// their arguments. Tests compare what the database was asked with it.
func WithTrace(ctx context.Context, see func(query string)) context.Context {
	return context.WithValue(ctx, traceKey{}, see)
}

func trace(ctx context.Context, query string) {
	if see, ok := ctx.Value(traceKey{}).(func(string)); ok {
		see(query)
	}
}

// exec runs a statement written with ? placeholders.
func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	trace(ctx, query)
	res, err := t.ExecContext(ctx, t.dialect(query), args...)
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, firstWords(query))
	}
	return res.RowsAffected()
}

func (t *tx) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	trace(ctx, query)
	rows, err := t.QueryContext(ctx, t.dialect(query), args...)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, firstWords(query))
	}
	return rows, nil
}

func (t *tx) row(ctx context.Context, query string, args ...any) *sql.Row {
	trace(ctx, query)
	return t.QueryRowContext(ctx, t.dialect(query), args...)
}

// dialect numbers the placeholders for PostgreSQL. Queries are ours and hold no
// question mark in a literal.
func (t *tx) dialect(query string) string {
	if !t.postgres {
		return query
	}
	var b strings.Builder
	n := 0
	for _, c := range []byte(query) {
		if c != '?' {
			b.WriteByte(c)
			continue
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
}

func firstWords(q string) string {
	f := strings.Fields(q)
	return strings.Join(f[:min(len(f), 4)], " ")
}
