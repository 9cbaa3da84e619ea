package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// allowed are the licences that code inside the binary may have: none asks for
// more than a notice, or for the source of its own changed files.
var allowed = []string{"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "Unlicense", "CC0-1.0"}

// marks recognise a licence by sentences of its text, in lower case and with
// single blanks. The first that fits is taken, so the longer texts come first.
var marks = []struct {
	id  string
	all []string
}{
	{"MPL-2.0", []string{"mozilla public license", "2.0"}}, // it names the GNU licences
	{"AGPL-3.0", []string{"gnu affero general public license"}},
	{"LGPL-3.0", []string{"gnu lesser general public license"}},
	{"GPL-3.0", []string{"gnu general public license", "version"}},
	{"BUSL-1.1", []string{"business source license"}},
	{"Apache-2.0", []string{"apache license", "version 2.0"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "neither the name"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "names of its contributors"}},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms"}},
	{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose"}},
	{"ISC", []string{"permission to use, copy, modify, and distribute this software for any purpose"}},
	{"MIT", []string{"permission is hereby granted, free of charge"}},
	{"Unlicense", []string{"this is free and unencumbered software released into the public domain"}},
	{"CC0-1.0", []string{"cc0 1.0 universal"}},
}

// licencesIn reads the licence files of a module's directory.
func licencesIn(dir string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if !e.Type().IsRegular() || !strings.HasPrefix(name, "licen") && !strings.HasPrefix(name, "copying") && !strings.HasPrefix(name, "unlicense") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if id := recognise(string(b)); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// recognise names the licence of a text, "" = none of ours.
func recognise(text string) string {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	for _, m := range marks {
		if !slices.ContainsFunc(m.all, func(s string) bool { return !strings.Contains(text, s) }) {
			return m.id
		}
	}
	return ""
}
