package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Head is a tree head that a key has signed: what the log commits to.
type Head struct {
	Origin string
	Size   int64
	Root   tlog.Hash
	Note   string // the signed text, as c2sp.org/tlog-checkpoint has it
}

// maxHeadBytes bounds a tree head; ours have about 200 bytes, witnesses add to it.
const maxHeadBytes = 64 << 10

var (
	errHead      = errors.New("audit: not a tree head")
	errSignature = errors.New("audit: the tree head is not signed by the log's key")
	errOrigin    = errors.New("audit: the tree head is that of another log")
)

// OpenHead checks the signature of a tree head and reads it.
func OpenHead(text []byte, key note.Verifier) (Head, error) {
	if len(text) > maxHeadBytes {
		return Head{}, errHead
	}
	n, err := note.Open(text, note.VerifierList(key))
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		return Head{}, errSignature
	case err != nil:
		var bad *note.InvalidSignatureError
		if errors.As(err, &bad) {
			return Head{}, errSignature
		}
		return Head{}, errHead
	}
	h, err := parseHead(n.Text)
	if err != nil {
		return Head{}, err
	}
	if h.Origin != key.Name() {
		return Head{}, errOrigin
	}
	h.Note = string(text)
	return h, nil
}

// parseHead reads the text of a tree head: origin, size, root, and lines that
// are not ours to know.
func parseHead(text string) (Head, error) {
	line := strings.SplitN(text, "\n", 4)
	if len(line) != 4 || line[0] == "" {
		return Head{}, errHead
	}
	size, err := strconv.ParseInt(line[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != line[1] {
		return Head{}, errHead
	}
	root, err := base64.StdEncoding.Strict().DecodeString(line[2])
	if err != nil || len(root) != tlog.HashSize {
		return Head{}, errHead
	}
	return Head{Origin: line[0], Size: size, Root: tlog.Hash(root)}, nil
}

// headProblem says which finding an unusable tree head is.
func headProblem(err error) string {
	switch {
	case errors.Is(err, errSignature):
		return FoundSignature
	case errors.Is(err, errOrigin):
		return FoundOrigin
	}
	return FoundMalformed
}

// headMessage tells of an unusable tree head.
func headMessage(what string, err error) string {
	switch {
	case errors.Is(err, errSignature):
		return fmt.Sprintf("%s is not signed by the pinned key", what)
	case errors.Is(err, errOrigin):
		return fmt.Sprintf("%s is that of another log", what)
	}
	return fmt.Sprintf("%s is not a tree head", what)
}
