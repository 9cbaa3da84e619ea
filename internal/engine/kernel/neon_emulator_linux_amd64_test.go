package kernel

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNEONEmulated builds the tests of this package for arm64 and runs them, in
// their short form, in an emulator of that processor: the instructions are those
// that run on a real one, and so are the bits. Left out is what is slow there
// and shows nothing of NEON: bfloat16, and tests of the tests.
func TestNEONEmulated(t *testing.T) {
	emulator := requireEmulator(t)
	binary := filepath.Join(t.TempDir(), "kernel.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tests := exec.CommandContext(t.Context(), emulator, binary, "-test.short", "-test.v", "-test.skip=BF16|TestSelfTestCatches|Encodings")
	output, err := tests.CombinedOutput()
	out := string(output)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, must := range []string{
		"TestSelfTestPasses", "TestChains/neon", "TestRecordedBits/neon", "TestRecordedBits/go", "TestVectorsAtEveryLength/neon", "TestExpAccuracy/neon",
		"TestProductsPropagateNaN/neon", "TestSameBitsForAnyM/neon", "TestPanelsGiveTheBitsOfForward/neon", "TestCodedWeightsGiveTheBitsOfFloat32/neon", "TestHotCallsDoNotAllocate/neon",
	} {
		if !strings.Contains(out, "--- PASS: "+must+" ") {
			t.Errorf("%s was not run", must)
		}
	}
	t.Logf("%d tests passed", strings.Count(out, "--- PASS: "))
}

// requireEmulator finds QEMU, which scripts/install-qemu installs.
func requireEmulator(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("FIREKEEP_QEMU_AARCH64"), "qemu-aarch64-static", "qemu-aarch64"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getuid() != 0 || os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" || exec.Command("apt-get", "--version").Run() != nil {
		t.Skip("host lacks qemu-aarch64: the code for NEON is not run")
	}
	t.Fatal("qemu-aarch64 is missing; run scripts/install-qemu, or set FIREKEEP_WITHOUT_ORACLES=1 to leave this out")
	return ""
}
