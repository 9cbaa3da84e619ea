package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Sizes of the frame layout. A frame is a 16-byte header and a payload, little
// endian:
//
//	offset  0  u32  payload length, at most MaxPayload
//	offset  4  u8   type
//	offset  5  u8   flags
//	offset  6  u16  zero
//	offset  8  u32  stream: of Data; zero on every other type
//	offset 12  u32  CRC-32C of the 12 bytes before it and the payload
const (
	HeaderLen  = 16
	MaxPayload = 1 << 20
	// MaxGroup bounds the rows of one group, which may span frames.
	MaxGroup = 64 << 20
	// groupHeaderLen is the length of the header of a Group.
	groupHeaderLen = 20
)

// Flags of a frame.
const (
	FlagEnd  = 1 // Data: the last frame of its stream
	FlagMore = 2 // Group: the next Group frame continues this group
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Frame is one frame as it travels.
type Frame struct {
	Type    Type
	Flags   uint8
	Stream  uint32
	Payload []byte
}

// ProtocolError is a violation of the protocol by the peer. Rule is stable and
// named in docs/engine-protocol.md; Detail holds numbers and names, no content.
type ProtocolError struct {
	Rule   string
	Detail string
}

func (e *ProtocolError) Error() string {
	return "engine protocol: " + e.Detail + " (" + e.Rule + ")"
}

func violation(rule, format string, args ...any) *ProtocolError {
	return &ProtocolError{Rule: rule, Detail: fmt.Sprintf(format, args...)}
}

// AppendFrame appends the bytes of f to dst.
func AppendFrame(dst []byte, f Frame) []byte {
	var h [HeaderLen]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(len(f.Payload)))
	h[4], h[5] = byte(f.Type), f.Flags
	binary.LittleEndian.PutUint32(h[8:], f.Stream)
	binary.LittleEndian.PutUint32(h[12:], checksum(h[:12], f.Payload))
	return append(append(dst, h[:]...), f.Payload...)
}

func checksum(head, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, payload)
}

// ReadFrame reads one frame. The payload is a fresh slice. A clean end between
// frames is io.EOF; an end inside a frame is the rule "short-frame". The length
// is checked before anything is allocated.
func ReadFrame(r io.Reader) (Frame, error) {
	var h [HeaderLen]byte
	if n, err := io.ReadFull(r, h[:]); err != nil {
		if n > 0 && err == io.ErrUnexpectedEOF {
			return Frame{}, violation("short-frame", "the stream ends after %d bytes of a header", n)
		}
		return Frame{}, err
	}
	length := binary.LittleEndian.Uint32(h[0:])
	f := Frame{Type: Type(h[4]), Flags: h[5], Stream: binary.LittleEndian.Uint32(h[8:])}
	if err := checkHeader(f, length, binary.LittleEndian.Uint16(h[6:])); err != nil {
		return Frame{}, err
	}
	f.Payload = make([]byte, length)
	if n, err := io.ReadFull(r, f.Payload); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return Frame{}, violation("short-frame", "the stream ends after %d of %d bytes of a payload", n, length)
		}
		return Frame{}, err
	}
	if want := binary.LittleEndian.Uint32(h[12:]); want != checksum(h[:12], f.Payload) {
		return Frame{}, violation("bad-checksum", "the checksum of a frame of type %d does not match", f.Type)
	}
	return f, nil
}

// checkHeader applies the rules that need no state.
func checkHeader(f Frame, length uint32, zero uint16) error {
	rule, known := rules[f.Type]
	switch {
	case length > MaxPayload:
		return violation("payload-too-long", "a frame announces %d bytes, the limit is %d", length, MaxPayload)
	case !known:
		return violation("unknown-type", "frame type %d is unknown", f.Type)
	case zero != 0:
		return violation("reserved-bits", "the reserved field of a frame is %d, not 0", zero)
	case f.Flags&^rule.flags != 0:
		return violation("bad-flags", "flags %#x are not allowed on frame type %d", f.Flags, f.Type)
	case (f.Stream != 0) != (f.Type == TypeData):
		return violation("bad-stream", "stream %d on frame type %d", f.Stream, f.Type)
	}
	return nil
}

// appendGroupHeader appends the 20 bytes that begin a group.
func appendGroupHeader(dst []byte, g Group) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(g.Position))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(g.Line))
	return binary.LittleEndian.AppendUint32(dst, g.Object)
}

func parseGroupHeader(p []byte) (Group, error) {
	if len(p) < groupHeaderLen {
		return Group{}, violation("short-group", "a group begins with %d bytes, its header has %d", len(p), groupHeaderLen)
	}
	g := Group{
		Position: int64(binary.LittleEndian.Uint64(p)),
		Line:     int64(binary.LittleEndian.Uint64(p[8:])),
		Object:   binary.LittleEndian.Uint32(p[16:]),
	}
	if g.Position < 0 || g.Line < 0 {
		return Group{}, violation("bad-group", "a group has position %d and line %d", g.Position, g.Line)
	}
	return g, nil
}
