package objstore_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
)

func TestFileConformance(t *testing.T) {
	objstoretest.Conformance(t, objstoretest.Store{}, func(t *testing.T) (objstore.Bucket, string) {
		dir := t.TempDir()
		b, err := objstore.Open(t.Context(), objstore.URL{Scheme: objstore.File, Key: dir[1:] + "/"}, objstore.Secret{}, objstore.Config{FileRoots: []string{dir}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b, dir[1:] + "/deep/"
	})
}

func TestHomeConformance(t *testing.T) {
	objstoretest.Conformance(t, objstoretest.Store{}, func(t *testing.T) (objstore.Bucket, string) {
		b, err := objstore.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b, ""
	})
}

// conform runs the suite in one bucket of a server, under fresh prefixes.
func conform(t *testing.T, s *objstoretest.Server, u objstore.URL, store objstoretest.Store) {
	var n atomic.Int64
	b := s.Open(u)
	objstoretest.Conformance(t, store, func(t *testing.T) (objstore.Bucket, string) {
		return b, fmt.Sprintf("p%d/", n.Add(1))
	})
}

func TestS3Conformance(t *testing.T) {
	s := objstoretest.VersityGW(t)
	conform(t, s, s.Bucket("plain"), objstoretest.Store{CleansPaths: true})
}

func TestGSConformance(t *testing.T) {
	s := objstoretest.FakeGCS(t)
	conform(t, s, s.Bucket("plain"), objstoretest.Store{})
}

// TestS3VersionedConformance runs where the bucket keeps versions: an old pin
// still reads the old bytes.
func TestS3VersionedConformance(t *testing.T) {
	s := objstoretest.VersityGWVersioned(t)
	u := s.Bucket("versioned")
	s.EnableVersions(u)
	b := s.Open(u)
	info, err := b.Create(t.Context(), "probe", strings.NewReader("x"), objstore.PutOptions{Size: 1})
	if err != nil || info.Pin.Version == "" {
		t.Fatalf("the bucket keeps no versions: %+v, %v", info, err)
	}
	conform(t, s, u, objstoretest.Store{CleansPaths: true, MarkersBlock: true})
}
