package provenance

import (
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
)

// Reference is a place in an OCI registry: oci://HOST[:PORT]/REPOSITORY:TAG.
type Reference struct{ Host, Repository, Tag string }

var (
	ociHost       = rft.Pattern(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?$`)
	ociRepository = rft.Pattern(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	ociTag        = rft.Pattern(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

const ociScheme = "oci://"

// IsOCI reports whether a destination is meant to be one in a registry.
func IsOCI(url string) bool { return strings.HasPrefix(url, ociScheme) }

// ParseOCI reads a Reference.
func ParseOCI(url string) (Reference, error) {
	bad := rft.FieldErrorf("destination", "destination: %q is not oci://HOST/REPOSITORY:TAG", url)
	host, rest, ok := strings.Cut(strings.TrimPrefix(url, ociScheme), "/")
	colon := strings.LastIndexByte(rest, ':')
	if !IsOCI(url) || !ok || colon < 0 || len(url) > 512 {
		return Reference{}, bad
	}
	r := Reference{Host: host, Repository: rest[:colon], Tag: rest[colon+1:]}
	if !ociHost.MatchString(r.Host) || len(r.Repository) > 255 || !ociRepository.MatchString(r.Repository) || !ociTag.MatchString(r.Tag) {
		return Reference{}, bad
	}
	return r, nil
}

// String is the text that ParseOCI reads.
func (r Reference) String() string { return ociScheme + r.Host + "/" + r.Repository + ":" + r.Tag }
