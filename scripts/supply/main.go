// Command supply answers for the modules that a built binary holds.
//
//	supply sbom BINARY       a CycloneDX 1.6 document on standard output
//	supply licences BINARY   fails unless each module has a licence that is allowed
//
// What is in the binary is read from the binary itself; licences are read from
// the module cache.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "supply:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("want: supply sbom|licences BINARY")
	}
	info, err := buildinfo.ReadFile(args[1])
	if err != nil {
		return err
	}
	modules, err := describe(info.Deps)
	if err != nil {
		return err
	}
	switch args[0] {
	case "sbom":
		digest, err := digestOf(args[1])
		if err != nil {
			return err
		}
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(document(info, modules, filepath.Base(args[1]), digest))
	case "licences":
		return check(modules, out)
	}
	return fmt.Errorf("no command %q", args[0])
}

// module is one that the binary holds.
type module struct {
	path, version, sum string
	licences           []string // SPDX ids, nil = not recognised
}

// describe finds the licence of each module in the module cache.
func describe(deps []*debug.Module) ([]module, error) {
	var list []module
	var names []string
	for _, d := range deps {
		if d.Replace != nil {
			d = d.Replace
		}
		list = append(list, module{path: d.Path, version: d.Version, sum: d.Sum})
		names = append(names, d.Path+"@"+d.Version)
	}
	dirs, err := directories(names)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].licences, err = licencesIn(dirs[list[i].path]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return list, nil
}

// directories asks the go command where modules lie; missing ones are fetched.
func directories(names []string) (map[string]string, error) {
	cmd := exec.Command("go", append([]string{"mod", "download", "-json"}, names...)...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for dec := json.NewDecoder(pipe); ; {
		var m struct{ Path, Dir string }
		if err := dec.Decode(&m); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		dirs[m.Path] = m.Dir
	}
	return dirs, cmd.Wait()
}

func digestOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// document is a CycloneDX document without times or random numbers: the same
// binary has the same one.
func document(info *debug.BuildInfo, modules []module, name, digest string) map[string]any {
	components := []any{map[string]any{"type": "platform", "name": "go", "version": strings.TrimPrefix(info.GoVersion, "go"), "purl": "pkg:golang/stdlib@" + strings.TrimPrefix(info.GoVersion, "go"), "bom-ref": "go",
		"licenses": licences([]string{"BSD-3-Clause"})}}
	refs := []string{"go"}
	for _, m := range modules {
		ref := "pkg:golang/" + m.path + "@" + m.version
		c := map[string]any{"type": "library", "name": m.path, "version": m.version, "purl": ref, "bom-ref": ref, "licenses": licences(m.licences)}
		if m.sum != "" { // Go's own digest: of a tree of files, not of an archive
			c["properties"] = []any{map[string]any{"name": "go:sum", "value": m.sum}}
		}
		components, refs = append(components, c), append(refs, ref)
	}
	subject := map[string]any{"type": "application", "name": name, "bom-ref": "firekeep", "licenses": licences([]string{"Apache-2.0"}), "hashes": []any{map[string]any{"alg": "SHA-256", "content": digest}}}
	return map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"metadata":     map[string]any{"component": subject},
		"components":   components,
		"dependencies": []any{map[string]any{"ref": "firekeep", "dependsOn": refs}},
	}
}

func licences(ids []string) []any {
	list := []any{}
	for _, id := range ids {
		list = append(list, map[string]any{"license": map[string]any{"id": id}})
	}
	return list
}

// check prints a line for each module and fails when one has no licence of the list.
func check(modules []module, out io.Writer) error {
	counts := map[string]int{}
	var bad []string
	for _, m := range modules {
		if len(m.licences) == 0 {
			bad = append(bad, m.path+"@"+m.version+": no licence that this program knows")
		}
		for _, id := range m.licences {
			counts[id]++
			if !slices.Contains(allowed, id) {
				bad = append(bad, m.path+"@"+m.version+": "+id)
			}
		}
	}
	var parts []string
	for _, id := range append(slices.Clone(allowed), "other") {
		if counts[id] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[id], id))
		}
	}
	fmt.Fprintf(out, "licences: %d modules: %s\n", len(modules), strings.Join(parts, ", "))
	if len(bad) > 0 {
		return errors.New("not allowed:\n  " + strings.Join(bad, "\n  "))
	}
	return nil
}
