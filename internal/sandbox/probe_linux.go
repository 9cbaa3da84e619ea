package sandbox

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/firekeep/firekeep/internal/rft"
)

// Probe says which layers this host gives. It finds out by starting a child
// that ends at once, with limits, exactly as a job's child is started.
func Probe(ctx context.Context, o Options) []Layer {
	program, err := LoadProgram("firekeep-probe", bytes.NewReader(exitProgram()))
	if err != nil {
		return []Layer{{Name: "sealed memory file", Detail: err.Error()}}
	}
	defer program.Close()
	launcher := NewWith(o)
	sealed := Layer{Name: "sealed memory file", Active: true}
	p, err := launcher.Start(ctx, Spec{Name: "probe", Program: program, Args: []string{"probe"}, Limits: Limits{MemoryBytes: 64 << 20, Threads: 8}})
	if err != nil {
		return []Layer{sealed, {Name: "child", Detail: rft.PublicMessage(err)}}
	}
	exit, report := p.Wait(), p.Report()
	child := Layer{Name: "child", Active: exit.OK(), Detail: "started in " + report.Took.String()}
	if !exit.OK() {
		child.Detail = "ended by " + exit.Signal
	}
	layers := append([]Layer{sealed}, report.Layers...)
	return append(layers, child, probeGVisor(ctx, launcher, program, o))
}

// probeGVisor finds out the same way whether the stronger level works.
func probeGVisor(ctx context.Context, l Launcher, program *Program, o Options) Layer {
	layer := Layer{Name: LayerGVisor, Detail: "not installed"}
	if o.GVisor == "" {
		return layer
	}
	p, err := l.Start(ctx, Spec{Name: "probe", Program: program, Args: []string{"probe"}, Level: LevelGVisor})
	if err != nil {
		layer.Detail = rft.PublicMessage(err)
		return layer
	}
	exit := p.Wait()
	layer.Active, layer.Detail = exit.OK(), "started in "+p.Report().Took.String()
	if !exit.OK() {
		layer.Detail = fmt.Sprintf("the child ended with code %d %s", exit.Code, exit.Signal)
	}
	return layer
}

// exitProgram is the smallest executable of this architecture: exit_group(0).
func exitProgram() []byte {
	const base, headers = 0x400000, 64 + 56
	size := uint64(headers + len(exitCode))
	var out bytes.Buffer
	_ = binary.Write(&out, binary.LittleEndian, elf.Header64{
		Ident:   [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_EXEC),
		Machine: exitMachine,
		Version: uint32(elf.EV_CURRENT),
		Entry:   base + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	})
	_ = binary.Write(&out, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: uint64(os.Getpagesize())})
	out.Write(exitCode)
	return out.Bytes()
}
