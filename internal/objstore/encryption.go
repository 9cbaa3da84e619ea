package objstore

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
)

// Encryption is the customer's own key for what is written to a bucket. The
// store must say in its answer that it used that key; otherwise the write fails
// and leaves nothing. At most the field of the bucket's kind is set.
type Encryption struct {
	// KMSKeyID is the ARN of an AWS KMS key, for SSE-KMS.
	KMSKeyID string `json:"kmsKeyId,omitempty"`
	// KMSContext is the encryption context that goes with it. AWS adds the
	// object's ARN.
	KMSContext map[string]string `json:"kmsContext,omitempty"`
	// KMSKeyName is the resource name of a Google Cloud KMS key (CMEK).
	KMSKeyName string `json:"kmsKeyName,omitempty"`
	// Scope is the name of an Azure encryption scope.
	Scope string `json:"scope,omitempty"`
}

// IsZero reports whether no key is asked for.
func (e Encryption) IsZero() bool {
	return e.KMSKeyID == "" && e.KMSKeyName == "" && e.Scope == "" && len(e.KMSContext) == 0
}

var (
	kmsARN   = rft.Pattern(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}$`)
	kmsName  = rft.Pattern(`^projects/[a-z0-9.:-]{1,64}/locations/[a-z0-9-]{1,64}/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}$`)
	scopeOne = rft.Pattern(`^[A-Za-z0-9-]{3,63}$`)
	pairText = rft.Pattern(`^[A-Za-z0-9 _./:=+@-]{1,256}$`)
)

// Check reports whether e can be asked of a bucket of a scheme. Errors name the
// field below name.
func (e Encryption) Check(name string, s Scheme) error {
	bad := func(field, why string) error { return rft.FieldErrorf(name+"."+field, "%s.%s: %s", name, field, why) }
	switch {
	case e.KMSKeyID != "" && (s != S3 || !kmsARN.MatchString(e.KMSKeyID)):
		return bad("kmsKeyId", "want the ARN of a KMS key, arn:aws:kms:REGION:ACCOUNT:key/ID, on an s3:// prefix; an alias would not be echoed")
	case len(e.KMSContext) > 0 && e.KMSKeyID == "":
		return bad("kmsContext", "goes with kmsKeyId only")
	case e.KMSKeyName != "" && (s != GS || !kmsName.MatchString(e.KMSKeyName)):
		return bad("kmsKeyName", "want projects/P/locations/L/keyRings/R/cryptoKeys/K, on a gs:// prefix")
	case e.Scope != "" && (s != Azure || !scopeOne.MatchString(e.Scope)):
		return bad("scope", "want the name of an encryption scope, on an Azure prefix")
	case len(e.KMSContext) > 8:
		return bad("kmsContext", "at most 8 pairs")
	}
	for k, v := range e.KMSContext {
		if !pairText.MatchString(k) || !pairText.MatchString(v) || strings.HasPrefix(k, "aws:") {
			return bad("kmsContext", "keys and values are 1 to 256 letters, digits, spaces and _ . / : = + @ -, and aws: is AWS' own")
		}
	}
	return nil
}

// context is the header value of KMSContext: JSON in base64, keys in order.
func (e Encryption) context() *string {
	if len(e.KMSContext) == 0 {
		return nil
	}
	b, _ := json.Marshal(e.KMSContext) // a map of strings: it cannot fail
	s := base64.StdEncoding.EncodeToString(b)
	return &s
}

// notEncrypted is the error of an answer that does not name the key.
func notEncrypted(u URL, want string) error {
	return rft.Errorf(rft.KindFailedPrecondition, "%s was not written: the storage did not confirm that it encrypts with %s", u, want)
}
