package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/streamingaead"
)

// A sealed artefact is
//
//	magic "FKSEAL1\n" | length of the wrapped keyset, 2 bytes big endian | wrapped keyset | ciphertext
//
// The keyset is fresh for each artefact (Tink AES256-GCM-HKDF-1MB) and wrapped
// by the KEK; the ciphertext is Tink's stream of segments of 1 MiB, where order,
// number and end are authenticated. Both are bound to the associated data, and
// the ciphertext to every byte before it: no byte of an artefact can change.
const (
	magic           = "FKSEAL1\n"
	maxWrappedBytes = 4096
)

// ErrDamaged says that something does not open: it was changed, cut short,
// sealed under another key or for another purpose. These cannot be told apart.
var ErrDamaged = errors.New("seal: damaged, or sealed under another key or for another purpose")

// header is what stands before the ciphertext.
type header struct{ wrapped []byte }

// parseHeader reads a header and nothing beyond it. It reads at most
// len(magic)+2+maxWrappedBytes bytes.
func parseHeader(r io.Reader) (header, error) {
	var fixed [len(magic) + 2]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return header{}, short(err)
	}
	n := int(binary.BigEndian.Uint16(fixed[len(magic):]))
	if string(fixed[:len(magic)]) != magic || n == 0 || n > maxWrappedBytes {
		return header{}, ErrDamaged
	}
	wrapped := make([]byte, n)
	if _, err := io.ReadFull(r, wrapped); err != nil {
		return header{}, short(err)
	}
	return header{wrapped: wrapped}, nil
}

// short turns an early end into ErrDamaged and keeps errors of the source.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrDamaged
	}
	return err
}

func (h header) bytes() []byte {
	b := append([]byte(magic), 0, 0)
	binary.BigEndian.PutUint16(b[len(magic):], uint16(len(h.wrapped)))
	return append(b, h.wrapped...)
}

// Purposes of associated data: a wrapped keyset cannot be taken for anything
// else that the KEK encrypts.
func wrapAAD(aad []byte) []byte { return append([]byte("firekeep/seal/1/keyset\x00"), aad...) }

// streamAAD binds the ciphertext to its header. The header's length is in the
// header, so the concatenation is unambiguous.
func streamAAD(h header, aad []byte) []byte { return append(h.bytes(), aad...) }

// NewWriter seals what is written to it into w, for the purpose that aad names.
// Close finishes the artefact and does not close w; an artefact without its
// Close does not open.
func NewWriter(w io.Writer, kek KEK, aad []byte) (io.WriteCloser, error) {
	handle, err := keyset.NewHandle(streamingaead.AES256GCMHKDF1MBKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("seal: new keyset: %w", err)
	}
	var wrapped bytes.Buffer
	told := &toldKEK{KEK: kek}
	if err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&wrapped), told, wrapAAD(aad)); err != nil {
		return nil, fmt.Errorf("seal: wrap keyset: %w", errors.Join(told.err, err))
	}
	if wrapped.Len() > maxWrappedBytes {
		return nil, fmt.Errorf("seal: the wrapped keyset has %d bytes; at most %d are allowed", wrapped.Len(), maxWrappedBytes)
	}
	h := header{wrapped: wrapped.Bytes()}
	cipher, err := streamingaead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("seal: keyset: %w", err)
	}
	if _, err := w.Write(h.bytes()); err != nil {
		return nil, err
	}
	return cipher.NewEncryptingWriter(w, streamAAD(h, aad))
}

// toldKEK remembers what a KEK said: the library keeps only the text of it.
type toldKEK struct {
	KEK
	err error
}

func (t *toldKEK) Encrypt(plaintext, aad []byte) (b []byte, err error) {
	b, t.err = t.KEK.Encrypt(plaintext, aad)
	return b, t.err
}

func (t *toldKEK) Decrypt(ciphertext, aad []byte) (b []byte, err error) {
	b, t.err = t.KEK.Decrypt(ciphertext, aad)
	return b, t.err
}

// NewReader opens an artefact that NewWriter sealed for the same aad. What Read
// returns is authentic as far as it goes; that the artefact is whole is known
// only at io.EOF, so nothing may be committed before. Errors are ErrDamaged, those
// of r, or those of a kek that wrap ErrRefused or ErrUnreachable.
func NewReader(r io.Reader, kek KEK, aad []byte) (io.Reader, error) {
	h, err := parseHeader(r)
	if err != nil {
		return nil, err
	}
	told := &toldKEK{KEK: kek}
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(h.wrapped)), told, wrapAAD(aad))
	if k := ErrorKey(told.err); k == ErrRefused || k == ErrUnreachable {
		return nil, told.err
	}
	if err != nil {
		return nil, ErrDamaged
	}
	cipher, err := streamingaead.New(handle)
	if err != nil {
		return nil, ErrDamaged
	}
	source := &watched{r: r}
	plain, err := cipher.NewDecryptingReader(source, streamAAD(h, aad))
	if err != nil {
		return nil, source.verdict(err)
	}
	return &opened{plain: plain, source: source}, nil
}

// watched remembers the first error of a source other than its end.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF && w.err == nil {
		w.err = err
	}
	return n, err
}

// verdict tells a failing source from a damaged artefact.
func (w *watched) verdict(err error) error {
	switch {
	case err == nil || err == io.EOF:
		return err
	case w.err != nil:
		return w.err
	}
	return ErrDamaged
}

// opened is the plaintext of an artefact.
type opened struct {
	plain  io.Reader
	source *watched
}

func (o *opened) Read(p []byte) (int, error) {
	n, err := o.plain.Read(p)
	return n, o.source.verdict(err)
}

// SealBytes seals a small thing, such as a connection's secret.
func SealBytes(kek KEK, plaintext, aad []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := NewWriter(&out, kek, aad)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plaintext); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// OpenBytes opens what SealBytes sealed for the same aad. Nothing is returned
// unless all of it is authentic.
func OpenBytes(kek KEK, sealed, aad []byte) ([]byte, error) {
	r, err := NewReader(bytes.NewReader(sealed), kek, aad)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return b, nil
}
