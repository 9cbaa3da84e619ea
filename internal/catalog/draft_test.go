package catalog

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// slow is a home bucket that creates nothing before it may, except a manifest.
type slow struct {
	objstore.Bucket
	may chan struct{}
}

func (b *slow) Create(ctx context.Context, key string, r io.Reader, o objstore.PutOptions) (objstore.Info, error) {
	if !strings.HasSuffix(key, FileManifest) {
		<-b.may
	}
	return b.Bucket.Create(ctx, key, r, o)
}

// TestDraftManifestIsLast: however long a file or the envelope takes, the manifest
// is not there before them.
func TestDraftManifestIsLast(t *testing.T) {
	c, a, _ := place(t)
	v := c.vault
	home := &slow{Bucket: v.home, may: make(chan struct{})}
	v.home = home
	prefix := ModelPrefix(a.UID, "m", 1)
	synctest.Test(t, func(t *testing.T) {
		home.may = make(chan struct{})
		d := v.Begin(t.Context(), prefix)
		d.Add(File{Name: "early", Data: []byte("early")})
		done := make(chan error, 1)
		var digest string
		go func() {
			var err error
			digest, err = d.Commit(Manifest{Kind: "adapter"}, []File{{Name: "late", Data: []byte("late")}, {Name: "early", Data: []byte("early")}})
			done <- err
		}()
		synctest.Wait()
		if _, err := home.Stat(t.Context(), prefix+FileManifest); rft.KindOf(err) != rft.KindNotFound {
			t.Errorf("the manifest is there before its files: %v", err)
		}
		close(home.may)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		got, err := v.Open(t.Context(), prefix, digest)
		if err != nil {
			t.Fatal(err)
		}
		if f := got.Manifest.Files; len(f) != 2 || f[0].Name != "late" || f[1].Name != "early" {
			t.Errorf("%+v", f)
		}
		for _, name := range []string{"late", "early"} {
			if b, err := got.Read(t.Context(), name); err != nil || !bytes.Equal(b, []byte(name)) {
				t.Errorf("%s: %q, %v", name, b, err)
			}
		}
	})
}

// TestDraftRefusals: a manifest speaks of the bytes that were written, and what was
// given up leaves nothing.
func TestDraftRefusals(t *testing.T) {
	c, a, _ := place(t)
	for name, list := range map[string][]File{
		"other bytes":       {{Name: "x", Data: []byte("2"), SHA256: strings.Repeat("0", 64)}},
		"other length":      {{Name: "x", Data: []byte("22")}},
		"one file too many": {{Name: "y", Data: []byte("1")}},
	} {
		prefix := ModelPrefix(a.UID, strings.ReplaceAll(name, " ", "-"), 1)
		d := c.vault.Begin(t.Context(), prefix)
		d.Add(File{Name: "x", Data: []byte("1")})
		if digest, err := d.Commit(Manifest{Kind: "adapter"}, list); err == nil {
			t.Errorf("%s: a manifest %s", name, digest)
		}
		d.Abandon()
		if err := c.vault.home.List(t.Context(), prefix, "", func(i objstore.Info) error { t.Errorf("%s: %s stays", name, i.Key); return nil }); err != nil {
			t.Error(err)
		}
	}
}

// piecewise is content that comes: what is sent, until the channel is closed.
type piecewise struct {
	pieces chan string
	err    error // behind the last
}

func (p piecewise) WriteTo(w io.Writer) (total int64, err error) {
	for s := range p.pieces {
		n, err := io.WriteString(w, s)
		if total += int64(n); err != nil {
			return total, err
		}
	}
	return total, p.err
}

// TestDraftStream: a file that comes in pieces is an artefact's when all of it came
// and is what it was said to be; the manifest waits for it.
func TestDraftStream(t *testing.T) {
	c, a, _ := place(t)
	v := c.vault
	whole := File{Name: "x", Data: []byte("content")}
	for name, test := range map[string]struct {
		pieces []string
		err    error
		list   []File
		ok     bool
	}{
		"whole":      {[]string{"con", "tent"}, nil, []File{whole}, true},
		"broken off": {[]string{"con", "tent"}, io.ErrUnexpectedEOF, []File{whole}, false},
		"too short":  {[]string{"con"}, nil, []File{whole}, false},
		"too long":   {[]string{"con", "tent", "!"}, nil, []File{whole}, false},
		"not named":  {[]string{"con", "tent"}, nil, []File{{Name: "y", Data: []byte("y")}}, false},
	} {
		prefix := ModelPrefix(a.UID, strings.ReplaceAll(name, " ", "-"), 1)
		d := v.Begin(t.Context(), prefix)
		content := piecewise{make(chan string), test.err}
		d.Stream("x", content)
		go func() {
			defer close(content.pieces)
			for _, p := range test.pieces {
				content.pieces <- p
				if _, err := v.home.Stat(t.Context(), prefix+FileManifest); rft.KindOf(err) != rft.KindNotFound {
					t.Errorf("%s: the manifest is there before its file: %v", name, err)
				}
			}
		}()
		digest, err := d.Commit(Manifest{Kind: "adapter"}, test.list)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			d.Abandon()
			continue
		}
		got, err := v.Open(t.Context(), prefix, digest)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := got.Read(t.Context(), "x"); err != nil || string(b) != "content" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}
