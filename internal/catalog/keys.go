package catalog

// Keys are the keys of everything in the home bucket that belongs to the
// artefact of m under prefix, the manifest last.
func (m Manifest) Keys(prefix string) []string {
	var keys []string
	if m.Version > 1 {
		keys = append(keys, EnvelopeKey(prefix))
	}
	for _, f := range m.Files {
		keys = append(keys, prefix+f.Name+sealedSuffix)
	}
	return append(keys, prefix+FileManifest)
}
