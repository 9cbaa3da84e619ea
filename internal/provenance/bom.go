package provenance

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/firekeep/firekeep/internal/rft"
)

// BOM is what the bill of materials says beyond the record. It is an export for
// inventories; the signed record stays the source of truth.
type BOM struct {
	Name, Version string // of the model; the version is its digest
	Family        string // of the architecture, "" = unknown
	Trained       bool   // by reinforcement here; else brought in
}

// JSON writes the bill of materials: CycloneDX 1.6, reproducible from the record.
func (b BOM) JSON(r Record) ([]byte, error) {
	out := cdx.NewBOM()
	out.SerialNumber = serial(b.Version + "\x00" + r.ModelUID)
	model := cdx.Component{BOMRef: "model", Type: cdx.ComponentTypeMachineLearningModel, Name: b.Name, Version: b.Version, ModelCard: b.card(r)}
	var parts []cdx.Component
	for _, f := range r.Subjects {
		parts = append(parts, cdx.Component{BOMRef: "file:" + f.Name, Type: cdx.ComponentTypeFile, Name: f.Name, Hashes: hashes(f.SHA256)})
	}
	model.Components = &parts
	var inputs []cdx.Component
	var refs []string
	for i, d := range r.Dependencies {
		c := component(i, d)
		inputs, refs = append(inputs, c), append(refs, c.BOMRef)
	}
	if ancestors := ancestors(inputs); len(ancestors) > 0 {
		model.Pedigree = &cdx.Pedigree{Ancestors: &ancestors}
	}
	out.Metadata = &cdx.Metadata{Timestamp: stamp(r.Ended), Component: &model, Tools: tools(r)}
	if len(inputs) > 0 {
		out.Components = &inputs
		out.Dependencies = &[]cdx.Dependency{{Ref: "model", Dependencies: &refs}}
	}
	var buf bytes.Buffer
	if err := cdx.NewBOMEncoder(&buf, cdx.BOMFileFormatJSON).EncodeVersion(out, cdx.SpecVersion1_6); err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the bill of materials cannot be written")
	}
	return buf.Bytes(), nil
}

func (b BOM) card(r Record) *cdx.MLModelCard {
	p := &cdx.MLModelParameters{Task: "text-generation", ArchitectureFamily: b.Family}
	if b.Trained {
		p.Approach = &cdx.MLModelParametersApproach{Type: cdx.MLModelParametersApproachTypeReinforcementLearning}
		var data []cdx.MLDatasetChoice
		for i, d := range r.Dependencies {
			if d.Name == RoleDataset {
				data = append(data, cdx.MLDatasetChoice{Ref: ref(i)})
			}
		}
		if len(data) > 0 {
			p.Datasets = &data
		}
	}
	card := &cdx.MLModelCard{ModelParameters: p}
	if len(r.Metrics) > 0 {
		var names []string
		for k := range r.Metrics {
			names = append(names, k)
		}
		slices.Sort(names)
		var list []cdx.MLPerformanceMetric
		for _, k := range names {
			list = append(list, cdx.MLPerformanceMetric{Type: k, Value: strconv.FormatFloat(r.Metrics[k], 'g', -1, 64), Slice: "last update of training"})
		}
		card.QuantitativeAnalysis = &cdx.MLQuantitativeAnalysis{PerformanceMetrics: &list}
	}
	return card
}

// Roles of dependencies.
const (
	RoleBase     = "base"
	RoleIncoming = "incoming-adapter"
	RoleMerged   = "merged-adapter"
	RoleSameAs   = "checkpoint" // what was promoted
	RoleDataset  = "dataset"
	RoleObject   = "dataset-object"
	RoleSource   = "source-file"
	RoleEngine   = "engine"
)

func ref(i int) string { return "input:" + strconv.Itoa(i) }

func component(i int, d Dependency) cdx.Component {
	c := cdx.Component{BOMRef: ref(i), Name: d.URI, Hashes: hashes(d.SHA256), Type: cdx.ComponentTypeData}
	if c.Name == "" {
		c.Name = d.Name
	}
	switch d.Name {
	case RoleBase, RoleIncoming, RoleMerged, RoleSameAs:
		c.Type = cdx.ComponentTypeMachineLearningModel
	case RoleEngine:
		c.Type = cdx.ComponentTypeApplication
	case RoleSource:
		c.Type = cdx.ComponentTypeFile
	}
	props := []cdx.Property{{Name: "firekeep:role", Value: d.Name}}
	for _, k := range sorted(d.Annotations) {
		props = append(props, cdx.Property{Name: "firekeep:" + k, Value: d.Annotations[k]})
	}
	c.Properties = &props
	return c
}

func sorted(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// ancestors are the models among the inputs.
func ancestors(inputs []cdx.Component) (out []cdx.Component) {
	for _, c := range inputs {
		if c.Type == cdx.ComponentTypeMachineLearningModel {
			out = append(out, cdx.Component{Type: c.Type, Name: c.Name, Hashes: c.Hashes})
		}
	}
	return out
}

func tools(r Record) *cdx.ToolsChoice {
	var list []cdx.Component
	for _, k := range sorted(r.Versions) {
		list = append(list, cdx.Component{Type: cdx.ComponentTypeApplication, Name: k, Version: r.Versions[k]})
	}
	if len(list) == 0 {
		return nil
	}
	return &cdx.ToolsChoice{Components: &list}
}

func hashes(sum string) *[]cdx.Hash {
	if sum == "" {
		return nil
	}
	return &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sha256Set(sum)["sha256"]}}
}

// serial is a UUID of version 8 made from what it names.
func serial(of string) string {
	u := sha256.Sum256([]byte(of))
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
