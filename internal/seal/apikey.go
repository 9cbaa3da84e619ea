package seal

import (
	"crypto/sha256"
	"errors"
	"hash/crc32"
	"regexp"
)

// An API key is fk_ID_SECRETCHECK: ID (10) finds the stored record, SECRET (40,
// 238 bits) proves possession, CHECK (6, CRC-32 in base 62) lets scanners of
// source code tell a real key from noise without asking anybody. It is no
// protection.
const (
	keyPrefix    = "fk_"
	keyIDLen     = 10
	keySecretLen = 40
	keyCheckLen  = 6
)

// APIKeyPattern is the regular expression for secret scanners.
const APIKeyPattern = `fk_[0-9A-Za-z]{10}_[0-9A-Za-z]{46}`

var apiKeyPattern = regexp.MustCompile(`^` + APIKeyPattern + `$`)

// ErrAPIKey says that a text is not an API key of Firekeep. It does not repeat
// the text.
var ErrAPIKey = errors.New("not an API key of Firekeep")

// APIKey is a new key. Text is shown once; ID and Hash are stored.
type APIKey struct {
	ID   string
	Text Secret
	Hash []byte
}

// NewAPIKey draws a key.
func NewAPIKey() APIKey {
	id := random(base62, keyIDLen)
	body := keyPrefix + id + "_" + random(base62, keySecretLen)
	text := body + checksum(body)
	return APIKey{ID: id, Text: NewSecret(text), Hash: HashAPIKey(text)}
}

// ParseAPIKey checks a presented key's form and returns its ID. Whether the key
// is valid, only the stored hash tells.
func ParseAPIKey(text string) (id string, err error) {
	if !apiKeyPattern.MatchString(text) {
		return "", ErrAPIKey
	}
	body := text[:len(text)-keyCheckLen]
	if checksum(body) != text[len(body):] {
		return "", ErrAPIKey
	}
	return text[len(keyPrefix) : len(keyPrefix)+keyIDLen], nil
}

// HashAPIKey is what a store keeps. A fast hash is right: the secret is random,
// not a password, and a slow one would let strangers burn our processor.
func HashAPIKey(text string) []byte {
	sum := sha256.Sum256([]byte("firekeep api key\x00" + text))
	return sum[:]
}

// MatchAPIKey compares a presented key with a stored hash in constant time.
func MatchAPIKey(hash []byte, text string) bool { return Equal(hash, HashAPIKey(text)) }

// checksum is the CRC-32 (IEEE) of body as six digits in base 62.
func checksum(body string) string {
	n := crc32.ChecksumIEEE([]byte(body))
	var out [keyCheckLen]byte
	for i := keyCheckLen - 1; i >= 0; i-- {
		out[i] = base62[n%62]
		n /= 62
	}
	return string(out[:])
}
