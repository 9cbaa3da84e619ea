package seal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/streamingaead"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// DataKey is the keyset of one artefact: a fresh Tink AES256-GCM-HKDF-1MB key
// that seals all files of it and nothing else.
type DataKey struct {
	handle *keyset.Handle
	cipher tink.StreamingAEAD
}

// NewDataKey draws a data key.
func NewDataKey() (*DataKey, error) {
	h, err := keyset.NewHandle(streamingaead.AES256GCMHKDF1MBKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("seal: new keyset: %w", err)
	}
	return dataKey(h)
}

func dataKey(h *keyset.Handle) (*DataKey, error) {
	c, err := streamingaead.New(h)
	if err != nil {
		return nil, ErrDamaged // authentic, but no keyset of ours
	}
	return &DataKey{handle: h, cipher: c}, nil
}

// An envelope is a wrapped data key, stored beside the files that it opens:
//
//	magic "FKKEY1\n" | length of the key's id, 1 byte | id | length, 2 bytes big endian | wrapped data key
//
// The id says which key-encryption key wrapped it. Files are not bound to their
// envelope but to its data key: an envelope can be written anew under another
// key-encryption key without touching them.
const (
	envelopeMagic = "FKKEY1\n"
	// MaxEnvelopeBytes bounds an envelope.
	MaxEnvelopeBytes = len(envelopeMagic) + 1 + maxKeyIDBytes + 2 + maxEnvelopeKey

	maxKeyIDBytes  = 64
	maxEnvelopeKey = 8192 // RSA wrappings of services are the largest
)

var keyIDPattern = regexp.MustCompile(`^[a-z0-9]{1,64}$`)

// Envelope is a wrapped data key as it is stored.
type Envelope struct {
	KeyID   string // of the key-encryption key: a-z and 0-9
	Wrapped []byte
}

// ParseEnvelope reads an envelope from the front of b and returns what follows.
// The only error is ErrDamaged.
func ParseEnvelope(b []byte) (e Envelope, rest []byte, err error) {
	b, ok := bytes.CutPrefix(b, []byte(envelopeMagic))
	if !ok || len(b) < 1 {
		return e, nil, ErrDamaged
	}
	n, b := int(b[0]), b[1:]
	if n > maxKeyIDBytes || len(b) < n+2 || !keyIDPattern.Match(b[:n]) {
		return e, nil, ErrDamaged
	}
	e.KeyID, b = string(b[:n]), b[n:]
	m := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; m == 0 || m > maxEnvelopeKey || m > len(b) {
		return e, nil, ErrDamaged
	}
	e.Wrapped = bytes.Clone(b[:m])
	return e, b[m:], nil
}

// Bytes is the stored form.
func (e Envelope) Bytes() []byte {
	out := append([]byte(envelopeMagic), byte(len(e.KeyID)))
	out = append(out, e.KeyID...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(e.Wrapped)))
	return append(out, e.Wrapped...)
}

// Wrap puts the data key into an envelope under w, whose id is keyID.
func (k *DataKey) Wrap(ctx context.Context, w Wrapper, keyID string, b Binding) (Envelope, error) {
	var plain bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewBinaryWriter(&plain)); err != nil {
		return Envelope{}, fmt.Errorf("seal: the data key cannot be written")
	}
	defer clear(plain.Bytes())
	if plain.Len() > MaxDataKeyBytes || !keyIDPattern.MatchString(keyID) {
		return Envelope{}, fmt.Errorf("seal: a data key of %d bytes under a key %q", plain.Len(), keyID)
	}
	wrapped, err := w.Wrap(ctx, plain.Bytes(), b)
	if err != nil {
		return Envelope{}, err
	}
	if len(wrapped) == 0 || len(wrapped) > maxEnvelopeKey {
		return Envelope{}, fmt.Errorf("%w: it wrapped into %d bytes", ErrUnreachable, len(wrapped))
	}
	return Envelope{KeyID: keyID, Wrapped: wrapped}, nil
}

// Unwrap takes the data key out of an envelope with w, the key that e names.
func (e Envelope) Unwrap(ctx context.Context, w Wrapper, b Binding) (*DataKey, error) {
	plain, err := w.Unwrap(ctx, e.Wrapped, b)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	h, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(plain)))
	if err != nil {
		return nil, ErrDamaged // the cause could quote key material
	}
	return dataKey(h)
}

// A sealed file is the magic "FKSEAL2\n" and Tink's stream of segments of 1 MiB,
// where order, number and end are authenticated. The magic and the associated
// data are authenticated with every segment.
const sealedMagic = "FKSEAL2\n"

func fileAAD(aad []byte) []byte { return append([]byte("firekeep/file/"+sealedMagic), aad...) }

// NewWriter seals what is written to it into w, for the purpose that aad names.
// Close finishes the file and does not close w; a file without its Close does
// not open.
func (k *DataKey) NewWriter(w io.Writer, aad []byte) (io.WriteCloser, error) {
	if _, err := io.WriteString(w, sealedMagic); err != nil {
		return nil, err
	}
	return k.cipher.NewEncryptingWriter(w, fileAAD(aad))
}

// NewReader opens a file that NewWriter sealed for the same aad. What Read
// returns is authentic as far as it goes; that the file is whole is known only
// at io.EOF, so nothing may be committed before. Errors are ErrDamaged, or those
// of r.
func (k *DataKey) NewReader(r io.Reader, aad []byte) (io.Reader, error) {
	var head [len(sealedMagic)]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, short(err)
	}
	if string(head[:]) != sealedMagic {
		return nil, ErrDamaged
	}
	source := &watched{r: r}
	plain, err := k.cipher.NewDecryptingReader(source, fileAAD(aad))
	if err != nil {
		return nil, source.verdict(err)
	}
	return &opened{plain: plain, source: source}, nil
}

// IsFirstFormat reports whether the first bytes of a file are those of the
// format before data keys had envelopes of their own: what NewWriter, the
// function, writes.
func IsFirstFormat(head []byte) bool { return bytes.HasPrefix(head, []byte(magic)) }

// ErrorKey tells the three ways apart in which a key does not serve.
func ErrorKey(err error) error {
	for _, k := range []error{ErrRefused, ErrUnreachable, ErrDamaged} {
		if errors.Is(err, k) {
			return k
		}
	}
	return nil
}
