package seal

import (
	"errors"
	"regexp"
)

// An operator key is fko_ID_SECRETCHECK. Its prefix keeps it apart from every
// tenant's key: neither parses as the other, so neither can ever be taken for it.
const operatorPrefix = "fko_"

// OperatorKeyPattern is the regular expression for secret scanners.
const OperatorKeyPattern = `fko_[0-9A-Za-z]{10}_[0-9A-Za-z]{46}`

var operatorKeyPattern = regexp.MustCompile(`^` + OperatorKeyPattern + `$`)

// ErrOperatorKey says that a text is not an operator key. It does not repeat the
// text.
var ErrOperatorKey = errors.New("not an operator key of Firekeep")

// NewOperatorKey draws a key of the server's operator.
func NewOperatorKey() APIKey {
	id := random(base62, keyIDLen)
	body := operatorPrefix + id + "_" + random(base62, keySecretLen)
	text := body + checksum(body)
	return APIKey{ID: id, Text: NewSecret(text), Hash: HashAPIKey(text)}
}

// ParseOperatorKey checks a presented key's form and returns its ID.
func ParseOperatorKey(text string) (id string, err error) {
	if !operatorKeyPattern.MatchString(text) {
		return "", ErrOperatorKey
	}
	body := text[:len(text)-keyCheckLen]
	if checksum(body) != text[len(body):] {
		return "", ErrOperatorKey
	}
	return text[len(operatorPrefix) : len(operatorPrefix)+keyIDLen], nil
}
