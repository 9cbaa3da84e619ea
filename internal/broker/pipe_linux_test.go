package broker

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// softPages is how many pages the pipes of a user may hold before the kernel gives
// later ones of that user next to none (fs.pipe-user-pages-soft, by default).
const softPages = 16 << 10

// TestPipesLeaveRoom: the pipes of a hundred children leave their user room for
// the pipes of others.
func TestPipesLeaveRoom(t *testing.T) {
	p, err := openPipes()
	if err != nil {
		t.Fatal(err)
	}
	defer p.closeChild()
	defer p.closeOurs()
	size := func(f *os.File) (n int) {
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { n, err = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0) })
		}
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	pages := (size(p.in) + size(p.out) + size(p.err)) / os.Getpagesize()
	if 100*pages > softPages {
		t.Errorf("%d pages a child: a hundred children take %d of %d", pages, 100*pages, softPages)
	}
	if os.Geteuid() == 0 && (size(p.in) != pipeBytes || size(p.out) != pipeBytes) {
		t.Errorf("pipes hold %d and %d bytes, want %d", size(p.in), size(p.out), pipeBytes)
	}
}
