package cli

import (
	"bytes"
	"strings"
	"testing"
)

// TestDoctorSaysWhatAnArchitectureLacks: of arm64 the user reads what is not
// shown there, of amd64 nothing.
func TestDoctorSaysWhatAnArchitectureLacks(t *testing.T) {
	if got := lacks("amd64"); got != "" {
		t.Errorf("amd64 lacks %q", got)
	}
	var out bytes.Buffer
	a := app{Invocation: Invocation{Stdout: &out}}
	a.printDiagnosis(diagnosis{Host: "linux/arm64", Lacks: lacks("arm64")})
	for _, want := range []string{"no products in bfloat16", "NEON are tested in an emulator", "no test of the sandbox has run"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("doctor does not say %q:\n%s", want, out.String())
		}
	}
}
