// Package canary searches bytes for something that was planted: as it is, in
// base64 at each alignment, in hex, as token ids in the forms that programs keep
// them in, and inside gzip and zlib streams. Only tests import it.
package canary

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf16"
)

// Form is one way to write what was planted.
type Form struct {
	Name  string // "prompt as hex"
	Bytes []byte
}

// Text lists the forms of a word. It must be long enough not to occur by chance.
func Text(name, word string) []Form {
	b := []byte(word)
	var wide []byte
	for _, u := range utf16.Encode([]rune(word)) {
		wide = binary.LittleEndian.AppendUint16(wide, u)
	}
	forms := []Form{
		{name, b}, {name + " in capitals", []byte(strings.ToUpper(word))}, {name + " as UTF-16", wide},
		{name + " as hex", []byte(hex.EncodeToString(b))}, {name + " as capital hex", []byte(strings.ToUpper(hex.EncodeToString(b)))},
	}
	for shift := range 3 {
		forms = append(forms, aligned(name, base64.RawStdEncoding, "base64", b, shift), aligned(name, base64.RawURLEncoding, "URL base64", b, shift))
	}
	return distinct(forms)
}

// aligned is what of the base64 of ...word... does not depend on the bytes
// around it, when shift bytes come before it in its group of three.
func aligned(name string, enc *base64.Encoding, how string, b []byte, shift int) Form {
	text := enc.EncodeToString(append(make([]byte, shift), b...))
	first := (shift*8 + 5) / 6        // characters that bytes before the word reach into
	whole := (shift + len(b)) * 8 / 6 // the last character may hold bits of what follows
	return Form{fmt.Sprintf("%s as %s, shifted by %d", name, how, shift), []byte(text[first:whole])}
}

// Tokens lists the forms of a sequence of token ids.
func Tokens(name string, ids []uint32) []Form {
	var le4, be4, le2, le8, varint []byte
	var list []string
	for _, id := range ids {
		le4, be4 = binary.LittleEndian.AppendUint32(le4, id), binary.BigEndian.AppendUint32(be4, id)
		le2, le8 = binary.LittleEndian.AppendUint16(le2, uint16(id)), binary.LittleEndian.AppendUint64(le8, uint64(id))
		varint = binary.AppendUvarint(varint, uint64(id))
		list = append(list, fmt.Sprint(id))
	}
	name += " as token ids, "
	forms := []Form{{name + "uint32", le4}, {name + "big-endian uint32", be4}, {name + "uint16", le2}, {name + "uint64", le8}, {name + "varint", varint}}
	for _, sep := range []string{",", ", ", " ", ",\n"} {
		forms = append(forms, Form{fmt.Sprintf("%slist with %q", name, sep), []byte(strings.Join(list, sep))})
	}
	return forms
}

// Number lists the forms of a number with many digits.
func Number(name string, v float64) []Form {
	digits := strings.TrimLeft(strings.ReplaceAll(fmt.Sprint(math.Abs(v)), ".", ""), "0")
	return append(Text(name, digits), Form{name + " as float64", binary.LittleEndian.AppendUint64(nil, math.Float64bits(v))},
		Form{name + " as big-endian float64", binary.BigEndian.AppendUint64(nil, math.Float64bits(v))})
}

func distinct(forms []Form) []Form {
	var out []Form
	for _, f := range forms {
		if !slices.ContainsFunc(out, func(g Form) bool { return bytes.Equal(f.Bytes, g.Bytes) }) {
			out = append(out, f)
		}
	}
	return out
}

// Bounds of the search inside compressed streams.
const (
	maxPlainBytes = 64 << 20
	maxDepth      = 3
)

// Search returns the names of the forms that b holds, also inside compressed
// streams that begin anywhere in it.
func Search(b []byte, forms []Form) []string { return search(b, forms, 0) }

func search(b []byte, forms []Form, depth int) (found []string) {
	for _, f := range forms {
		if bytes.Contains(b, f.Bytes) {
			found = append(found, f.Name)
		}
	}
	if depth == maxDepth {
		return found
	}
	for _, stream := range []struct {
		name  string
		magic []byte
		open  func(io.Reader) (io.Reader, error)
	}{
		{"gzip", []byte{0x1f, 0x8b, 8}, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{"zlib", []byte{0x78, 0x01}, openZlib}, {"zlib", []byte{0x78, 0x9c}, openZlib}, {"zlib", []byte{0x78, 0xda}, openZlib},
	} {
		for at := bytes.Index(b, stream.magic); at >= 0; {
			if r, err := stream.open(bytes.NewReader(b[at:])); err == nil {
				plain, _ := io.ReadAll(io.LimitReader(r, maxPlainBytes)) // what a broken stream gave before its end counts
				for _, name := range search(plain, forms, depth+1) {
					found = append(found, name+" in "+stream.name)
				}
			}
			next := bytes.Index(b[at+1:], stream.magic)
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	return found
}

func openZlib(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }
