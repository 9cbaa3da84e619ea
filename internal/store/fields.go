package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// field maps a column to a struct field; ptr serves both to read and to write.
// Columns are TEXT, BIGINT and BYTEA only, the types that both databases
// store alike: times are microseconds since 1970 (0 = none), booleans 0 and 1,
// everything structured is JSON text.
type field struct {
	col string
	ptr any
}

// column adapts a field's pointer to database/sql.
type column struct{ ptr any }

// Value implements driver.Valuer.
func (c column) Value() (driver.Value, error) {
	switch p := c.ptr.(type) {
	case *string:
		return *p, nil
	case *rft.JobState:
		return string(*p), nil
	case *JobKind:
		return string(*p), nil
	case *int64:
		return *p, nil
	case *int:
		return int64(*p), nil
	case *float64:
		return *p, nil
	case *bool:
		if *p {
			return int64(1), nil
		}
		return int64(0), nil
	case *time.Time:
		return micros(*p), nil
	case *[]byte:
		return *p, nil
	case *json.RawMessage:
		return string(*p), nil
	}
	b, err := json.Marshal(c.ptr)
	return string(b), err
}

// Scan implements sql.Scanner.
func (c column) Scan(src any) error {
	switch p := c.ptr.(type) {
	case *string:
		return scanText(p, src)
	case *rft.JobState:
		return scanText(p, src)
	case *JobKind:
		return scanText(p, src)
	case *int64:
		return scanInt(p, src)
	case *int:
		var n int64
		err := scanInt(&n, src)
		*p = int(n)
		return err
	case *float64:
		f, ok := src.(float64)
		if !ok {
			return fmt.Errorf("store: column holds %T, want a float", src)
		}
		*p = f
		return nil
	case *bool:
		var n int64
		err := scanInt(&n, src)
		*p = n != 0
		return err
	case *time.Time:
		var n int64
		err := scanInt(&n, src)
		*p = fromMicros(n)
		return err
	case *[]byte:
		b, ok := src.([]byte)
		if !ok && src != nil {
			return fmt.Errorf("store: column holds %T, want bytes", src)
		}
		*p = append([]byte(nil), b...)
		return nil
	case *json.RawMessage:
		var s string
		err := scanText(&s, src)
		*p = nil
		if s != "" {
			*p = json.RawMessage(s)
		}
		return err
	}
	var s string
	if err := scanText(&s, src); err != nil {
		return err
	}
	return json.Unmarshal([]byte(s), c.ptr)
}

func scanText[S ~string](p *S, src any) error {
	switch v := src.(type) {
	case string:
		*p = S(v)
	case []byte:
		*p = S(v)
	default:
		return fmt.Errorf("store: column holds %T, want text", src)
	}
	return nil
}

func scanInt(p *int64, src any) error {
	v, ok := src.(int64)
	if !ok {
		return fmt.Errorf("store: column holds %T, want an integer", src)
	}
	*p = v
	return nil
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

func names(f []field) string {
	cols := make([]string, len(f))
	for i := range f {
		cols[i] = f[i].col
	}
	return strings.Join(cols, ", ")
}

func values(f []field) []any {
	args := make([]any, len(f))
	for i := range f {
		args[i] = column{f[i].ptr}
	}
	return args
}

// scans is values for reading; sql.Scanner wants pointers.
func scans(f []field) []any {
	dst := make([]any, len(f))
	for i := range f {
		dst[i] = &column{f[i].ptr}
	}
	return dst
}

// insert adds a row.
func (t *tx) insert(ctx context.Context, table string, f []field) error {
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(f)), ", ")
	_, err := t.exec(ctx, "INSERT INTO "+table+" ("+names(f)+") VALUES ("+marks+")", values(f)...)
	return err
}

// insertNew adds a row unless its unique key is taken.
func (t *tx) insertNew(ctx context.Context, table string, f []field) (bool, error) {
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(f)), ", ")
	n, err := t.exec(ctx, "INSERT INTO "+table+" ("+names(f)+") VALUES ("+marks+") ON CONFLICT DO NOTHING", values(f)...)
	return n == 1, err
}

// update writes every field of the row with the given uid.
func (t *tx) update(ctx context.Context, table, uid string, f []field) error {
	sets := make([]string, len(f))
	for i := range f {
		sets[i] = f[i].col + " = ?"
	}
	_, err := t.exec(ctx, "UPDATE "+table+" SET "+strings.Join(sets, ", ")+" WHERE uid = ?", append(values(f), uid)...)
	return err
}

// table ties a type to its table.
type table[T any] struct {
	name   string
	fields func(*T) []field
	filter columns
}

// one reads the row that matches, or reports that there is none.
func (d table[T]) one(ctx context.Context, t *tx, where string, args ...any) (v T, found bool, err error) {
	f := d.fields(&v)
	err = t.row(ctx, "SELECT "+names(f)+" FROM "+d.name+" WHERE "+where, args...).Scan(scans(f)...)
	if errors.Is(err, sql.ErrNoRows) {
		return v, false, nil
	}
	return v, err == nil, err
}

// all reads the rows of a query's tail ("WHERE ... ORDER BY ...").
func (d table[T]) all(ctx context.Context, t *tx, tail string, args ...any) ([]T, error) {
	var zero T
	rows, err := t.query(ctx, "SELECT "+names(d.fields(&zero))+" FROM "+d.name+" "+tail, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		var v T
		if err := rows.Scan(scans(d.fields(&v))...); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// page reads one page of a list.
func (d table[T]) page(ctx context.Context, t *tx, l *listing, after string) (Page[T], error) {
	var p Page[T]
	if err := t.row(ctx, "SELECT COUNT(*) FROM "+d.name+l.condition(), l.args...).Scan(&p.Total); err != nil {
		return p, err
	}
	tail, args, err := l.page(after)
	if err != nil {
		return p, err
	}
	if p.Items, err = d.all(ctx, t, tail, args...); err != nil {
		return p, err
	}
	if len(p.Items) > l.limit {
		p.Items = p.Items[:l.limit]
		p.Next, err = l.next(d.fields(&p.Items[l.limit-1]))
	}
	return p, err
}
