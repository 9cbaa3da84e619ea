package tensorfile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// MaxSource bounds the bytes of all files of one model.
const MaxSource = 256 << 30

// Source is a model's files in memory, filled one file after another. A file
// that an import does not need is drained and only its name kept.
type Source struct {
	files  map[string][]byte
	names  []string
	size   int64
	digest []string // "name size sha256" of each kept file
}

// pickleSuffixes are formats that can carry code; they are never opened.
var pickleSuffixes = []string{".bin", ".pt", ".pth", ".pkl", ".ckpt"}

func wanted(name string) bool {
	base := path.Base(name)
	return slices.Contains([]string{".safetensors", ".gguf", ".json", ".jinja"}, path.Ext(base))
}

// Add reads one file named relative to the model's directory. size is its
// length in bytes, -1 if unknown; a shorter or longer stream is an error.
func (s *Source) Add(ctx context.Context, name string, size int64, r io.Reader) error {
	s.names = append(s.names, name)
	if strings.Contains(name, "/") || !wanted(name) { // only the top directory of a model counts
		_, err := io.Copy(io.Discard, r)
		return err
	}
	if _, twice := s.files[name]; twice {
		return problem("duplicate-file", name, "", "the source names this file twice")
	}
	if size > MaxSource-s.size {
		return problem("too-large", name, "", "%d bytes are more than the %d that a model may have", size, int64(MaxSource))
	}
	data, err := readAll(ctx, r, size, MaxSource-s.size)
	if err != nil {
		return err
	}
	if size >= 0 && int64(len(data)) != size {
		return problem("truncated-file", name, "", "has %d bytes where %d were announced", len(data), size)
	}
	if s.files == nil {
		s.files = map[string][]byte{}
	}
	sum := sha256.Sum256(data)
	s.files[name], s.size = data, s.size+int64(len(data))
	s.digest = append(s.digest, fmt.Sprintf("%s %d %s\n", name, len(data), hex.EncodeToString(sum[:])))
	return nil
}

// readAll reads to the end, at most limit bytes. With a known size it
// allocates that once; the pages are touched as they arrive.
func readAll(ctx context.Context, r io.Reader, size, limit int64) ([]byte, error) {
	data := make([]byte, 0, max(size+1, 1<<20))
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(data) == cap(data) {
			data = slices.Grow(data, 1)
		}
		n, err := r.Read(data[len(data):min(cap(data), len(data)+1<<20)])
		data = data[:len(data)+n]
		if int64(len(data)) > limit {
			return nil, problem("too-large", "", "", "the model has more than %d bytes", int64(MaxSource))
		}
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Digest is a SHA-256 over the names, sizes and digests of the kept files, in
// name order.
func (s *Source) Digest() string {
	lines := slices.Sorted(slices.Values(s.digest))
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (s *Source) withSuffix(suffix string) []string {
	var found []string
	for name := range s.files {
		if strings.HasSuffix(name, suffix) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// open finds out what the source is.
func (s *Source) open(ctx context.Context) (*checkpoint, error) {
	ggufs := s.withSuffix(".gguf")
	switch {
	case len(ggufs) > 1:
		return nil, problem("ambiguous-source", "", "", "%d GGUF files; import one of them: %s", len(ggufs), strings.Join(ggufs, ", "))
	case len(ggufs) == 1:
		return openGGUF(ggufs[0], s.files[ggufs[0]])
	}
	if s.files["config.json"] != nil {
		return openHuggingFace(s)
	}
	if err := s.pickle(); err != nil {
		return nil, err
	}
	return nil, problem("missing-file", "", "", "neither a .gguf file nor config.json is among the %d files of the source", len(s.names))
}

func (s *Source) pickle() error {
	for _, name := range s.names {
		if slices.Contains(pickleSuffixes, path.Ext(name)) {
			return problem("pickle", name, "", "pickle files can run code when they are opened, so they never are; convert the model to safetensors")
		}
	}
	return nil
}
