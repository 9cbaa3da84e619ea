package engine

import "fmt"

// Problem is bad input that the engine found: a row, a model file, a template,
// a spec. Its text is shown to the user, so it says what is wrong, where and
// what to do, and quotes no content of a row beyond the offending key's name.
type Problem struct {
	Rule    string // machine-readable, stable: "uneven-group", "truncated-file", ...
	Message string // one sentence for the user
	Object  string // object of a dataset or file of a model, when known
	Line    int64  // 1-based line, 0 = unknown
	Sample  int    // 1-based sample within the row, 0 = not about one sample
	Key     string // field, tensor or eval key, "" = none
}

func (p *Problem) Error() string {
	where := ""
	if p.Object != "" {
		where = p.Object + ": "
	}
	if p.Line > 0 {
		where += fmt.Sprintf("line %d: ", p.Line)
	}
	if p.Sample > 0 {
		where += fmt.Sprintf("sample %d: ", p.Sample)
	}
	if p.Key != "" {
		where += p.Key + ": "
	}
	return where + p.Message + " (" + p.Rule + ")"
}
