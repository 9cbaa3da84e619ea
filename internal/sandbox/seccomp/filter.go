// Package seccomp assembles and installs system call filters. It links neither
// net nor os/exec, so the engine may use it to narrow itself further.
package seccomp

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// Action is what happens to a system call.
type Action uint32

// The values are the kernel's SECCOMP_RET_*.
const (
	KillProcess Action = 0x80000000
	Allow       Action = 0x7fff0000
)

// Errno makes the call fail with e.
func Errno(e uint16) Action { return Action(0x00050000 | uint32(e)) }

// Cond holds when the argument's bits under Mask equal Value.
type Cond struct {
	Arg   int // 0 to 5
	Mask  uint64
	Value uint64
}

// Is is the condition that a whole argument equals v.
func Is(arg int, v uint64) Cond { return Cond{Arg: arg, Mask: ^uint64(0), Value: v} }

// Rule decides about one system call. Any is a list of alternatives, each a
// list of conditions that must all hold; no alternatives means always. When
// one holds, Then happens, else Else.
type Rule struct {
	Nr   uint32
	Any  [][]Cond
	Then Action
	Else Action
}

// Filter is a list of rules, the frequent calls first, and what happens to a
// call that no rule names. A call from another architecture, or on amd64 by
// the x32 numbers, kills the process.
type Filter struct {
	Rules   []Rule
	Default Action
}

// Offsets in struct seccomp_data: nr, arch, instruction pointer, args[6].
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// x32Bit marks system calls of the x32 ABI on amd64.
const x32Bit = 0x40000000

// Assemble turns f into a BPF program for the given architecture (AUDIT_ARCH_*).
// Each rule is one block that returns, so no jump is longer than a block.
func (f Filter) Assemble(arch uint32, hasX32 bool) ([]bpf.RawInstruction, error) {
	prog := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1},
		bpf.RetConstant{Val: uint32(KillProcess)},
		bpf.LoadAbsolute{Off: offNr, Size: 4},
	}
	if hasX32 {
		prog = append(prog,
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32Bit, SkipTrue: 1},
			bpf.RetConstant{Val: uint32(KillProcess)})
	}
	for _, r := range f.Rules {
		block, err := r.block()
		if err != nil {
			return nil, err
		}
		prog = append(prog, block...)
	}
	prog = append(prog, bpf.RetConstant{Val: uint32(f.Default)})
	return bpf.Assemble(prog)
}

// block is the program of one rule. It expects the call's number in the
// accumulator and leaves it there when the number is another one.
func (r Rule) block() ([]bpf.Instruction, error) {
	var body []bpf.Instruction
	for _, all := range r.Any {
		body = append(body, alternative(all, r.Then)...)
	}
	last := r.Else
	if len(r.Any) == 0 {
		last = r.Then
	}
	body = append(body, bpf.RetConstant{Val: uint32(last)})
	if len(body) > 255 {
		return nil, fmt.Errorf("seccomp: the rule for call %d is too long", r.Nr)
	}
	return append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpEqual, Val: r.Nr, SkipFalse: uint8(len(body))}}, body...), nil
}

// alternative returns then when every condition holds and falls off its end
// otherwise. A condition is checked in two 32-bit halves, low half first.
func alternative(all []Cond, then Action) []bpf.Instruction {
	const size = 3 // instructions per half
	var out []bpf.Instruction
	left := len(all) * 2
	for _, c := range all {
		for half := range 2 {
			left--
			shift := 32 * half
			out = append(out,
				bpf.LoadAbsolute{Off: uint32(offArgs + 8*c.Arg + 4*half), Size: 4},
				bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: uint32(c.Mask >> shift)},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(c.Value >> shift), SkipFalse: uint8(left*size + 1)})
		}
	}
	return append(out, bpf.RetConstant{Val: uint32(then)})
}
