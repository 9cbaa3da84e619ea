package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// The tile code runs here without tiles: a parent traces a child, catches each
// instruction that the processor does not know, decodes its bytes, does what the
// manual says it does, with every fault the manual lists, and lets the child go
// on behind it. So the assembly's addresses, registers, shapes and loops are
// those that run; only the unit is ours. A processor with tiles runs the same
// child without faults.

const emulatedChild = "FIREKEEP_TEST_EMULATED"

// TestTilesEmulated runs TestTilesInChild in a traced child.
func TestTilesEmulated(t *testing.T) {
	if len(detectArchBF16()) == 0 {
		t.Skip("the code around the tiles needs AVX512-BF16")
	}
	runtime.LockOSThread() // ptrace belongs to a thread
	defer runtime.UnlockOSThread()
	var out strings.Builder
	child := exec.Command(os.Args[0], "-test.run=^TestTilesInChild$", "-test.v", "-test.short="+fmt.Sprint(testing.Short()))
	child.Env = append(os.Environ(), emulatedChild+"=1", "GODEBUG=asyncpreemptoff=1")
	child.Stdout, child.Stderr = &out, &out
	child.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); errors.Is(err, syscall.EPERM) {
		t.Skip("this host does not let a process trace its child")
	} else if err != nil {
		t.Fatal(err)
	}
	e := &emulator{pid: child.Process.Pid, tiles: map[int]*tileState{}, done: map[string]int{}}
	status, err := e.run()
	_ = child.Wait() // the copies of its output
	t.Logf("emulated: %v", e.done)
	if err != nil || !status.Exited() || status.ExitStatus() != 0 {
		t.Fatalf("%v, status %v\n%s", err, status, out.String())
	}
	for _, name := range []string{"ldtilecfg", "tilerelease", "tilezero", "tileloadd", "tilestored", "tdpbf16ps"} {
		if !hasAMX() && e.done[name] == 0 {
			t.Errorf("no %s was met: nothing is shown", name)
		}
	}
	if e.done["ldtilecfg"] != e.done["tilerelease"] {
		t.Error("a configuration is not released")
	}
}

// TestTilesInChild is the child: tiles against their reference, bit by bit.
func TestTilesInChild(t *testing.T) {
	if os.Getenv(emulatedChild) == "" && !hasAMX() {
		t.Skip("this processor has no tiles; TestTilesEmulated runs this test with its own")
	}
	if hasAMX() {
		if err := permitAMX(); err != nil {
			t.Skip(err)
		}
	}
	exact := amxBF16
	exact.strip = stripAMXGo
	c := check{t: &amxTable, state: 3}
	shapes := shapesBF16
	if testing.Short() {
		shapes = [][3]int{{1, 1, 1}, {5, 40, 33}, {14, 36, 120}, {3, 5, 2100}, {16, 16, 32}, {17, 20, 40}, {32, 64, 64}, {33, 70, 62}, {47, 50, 33}}
	}
	for _, s := range shapes {
		for _, acc := range []bool{false, true} {
			for _, transposed := range []bool{false, true} {
				c.exactly(&exact, func() { c.productBF16(s[0], s[1], s[2], transposed, acc) })
			}
		}
	}
	for _, s := range shapesDense {
		for _, kind := range denseKinds {
			c.exactly(&exact, func() { c.denseBF16(s[0], s[1], s[2], kind, false) })
			c.exactly(&exact, func() { c.denseBF16(s[0], s[1], s[2], kind, true) })
		}
	}
	if c.err != nil {
		t.Fatal(c.err)
	}
}

// exactly runs f with another reference and no tolerance.
func (c *check) exactly(reference *unitBF16, f func()) {
	goodTable := goBF16
	goBF16 = *reference
	defer func() { goBF16 = goodTable }()
	c.exact = true
	f()
}

// tileState is the tile state of a thread.
type tileState struct {
	configured bool
	rows       [8]int
	rowBytes   [8]int
	data       [8][16][64]byte
}

// emulator traces a process and its threads.
type emulator struct {
	pid   int
	mem   *os.File
	tiles map[int]*tileState
	done  map[string]int
}

// run continues the process until it ends.
func (e *emulator) run() (syscall.WaitStatus, error) {
	const cloned = 3 // PTRACE_EVENT_CLONE
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(e.pid, &status, syscall.WALL, nil); err != nil {
		return status, err
	}
	if err := syscall.PtraceSetOptions(e.pid, syscall.PTRACE_O_TRACECLONE|0x100000); err != nil { // and PTRACE_O_EXITKILL
		return status, err
	}
	var err error
	if e.mem, err = os.OpenFile(fmt.Sprintf("/proc/%d/mem", e.pid), os.O_RDWR, 0); err != nil {
		return status, err
	}
	defer e.mem.Close()
	seen := map[int]bool{e.pid: true}
	next, deliver := e.pid, 0
	for {
		if err := syscall.PtraceCont(next, deliver); err != nil && !errors.Is(err, syscall.ESRCH) {
			return status, err
		}
		tid, err := syscall.Wait4(-1, &status, syscall.WALL, nil)
		if err != nil {
			return status, err
		}
		next, deliver = tid, 0
		switch {
		case tid == e.pid && (status.Exited() || status.Signaled()):
			return status, nil
		case status.Exited() || status.Signaled():
			continue
		case status.StopSignal() == syscall.SIGILL:
			if err := e.step(tid); err != nil {
				_ = syscall.Kill(e.pid, syscall.SIGKILL)
				return status, err
			}
		case status.StopSignal() == syscall.SIGTRAP && int(status)>>16 == cloned, !seen[tid] && status.StopSignal() == syscall.SIGSTOP:
			seen[tid] = true
		default:
			deliver = int(status.StopSignal())
		}
		seen[tid] = true
	}
}

// step does one instruction and moves the thread behind it.
func (e *emulator) step(tid int) error {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	code := make([]byte, 16)
	if _, err := e.mem.ReadAt(code, int64(regs.Rip)); err != nil {
		return err
	}
	t := e.tiles[tid]
	if t == nil {
		t = &tileState{}
		e.tiles[tid] = t
	}
	in, err := decodeTile(code, &regs)
	if err == nil {
		e.done[in.name]++
		err = e.execute(in, t)
	}
	if err != nil {
		return fmt.Errorf("at %x, bytes % x: %w", regs.Rip, code, err)
	}
	regs.Rip += uint64(in.size)
	return syscall.PtraceSetRegs(tid, &regs)
}

// tileInstruction is a decoded instruction.
type tileInstruction struct {
	name            string
	size            int
	reg, rm, vvvv   int
	address, stride uint64
}

// decodeTile decodes the three-byte VEX form of AMX instructions.
func decodeTile(code []byte, regs *syscall.PtraceRegs) (tileInstruction, error) {
	var in tileInstruction
	if code[0] != 0xc4 || code[1]&0x1f != 2 || code[2]&0x84 != 0 {
		return in, errors.New("not a VEX.128.0F38.W0 instruction")
	}
	gpr := func(n int) uint64 {
		return []uint64{regs.Rax, regs.Rcx, regs.Rdx, regs.Rbx, regs.Rsp, regs.Rbp, regs.Rsi, regs.Rdi, regs.R8, regs.R9, regs.R10, regs.R11, regs.R12, regs.R13, regs.R14, regs.R15}[n]
	}
	extend := func(bit uint) int { return int(^code[1]>>bit&1) << 3 }
	prefix, opcode, modrm := code[2]&3, code[3], code[4]
	mod := int(modrm >> 6)
	in.size, in.reg, in.rm, in.vvvv = 5, int(modrm>>3&7), int(modrm&7), int(^code[2]>>3&15)
	if mod != 3 {
		base, sib := in.rm|extend(5), false
		if in.rm == 4 {
			sib = true
			s := code[5]
			in.size++
			base = int(s&7) | extend(5)
			if index := int(s>>3&7) | extend(6); index != 4 {
				in.stride = gpr(index) << (s >> 6)
			}
		}
		if mod == 0 && base&7 == 5 || mod == 2 {
			return in, errors.New("an addressing mode that is not emulated")
		}
		in.address = gpr(base)
		if mod == 1 {
			in.address += uint64(int64(int8(code[in.size])))
			in.size++
		}
		if opcode == 0x4b && !sib {
			return in, errors.New("#UD: a tile is loaded or stored without an index")
		}
	}
	if opcode != 0x5c && in.vvvv != 0 || extend(7) != 0 {
		return in, errors.New("#UD: reserved bits")
	}
	switch {
	case opcode == 0x49 && mod != 3 && in.reg == 0 && prefix == 0:
		in.name = "ldtilecfg"
	case opcode == 0x49 && modrm == 0xc0 && prefix == 0:
		in.name = "tilerelease"
	case opcode == 0x49 && mod == 3 && in.rm == 0 && prefix == 3:
		in.name = "tilezero"
	case opcode == 0x4b && mod != 3 && prefix == 3:
		in.name = "tileloadd"
	case opcode == 0x4b && mod != 3 && prefix == 2:
		in.name = "tilestored"
	case opcode == 0x5c && mod == 3 && prefix == 2:
		in.name = "tdpbf16ps"
	default:
		return in, errors.New("an instruction that is not emulated")
	}
	return in, nil
}

// execute does what the manual says, or faults as it says.
func (e *emulator) execute(in tileInstruction, t *tileState) error {
	if in.name != "ldtilecfg" && !t.configured {
		return errors.New("#UD: tiles are not configured")
	}
	if in.name != "ldtilecfg" && in.name != "tilerelease" && t.rows[in.reg] == 0 {
		return fmt.Errorf("#UD: tile %d is not configured", in.reg)
	}
	switch in.name {
	case "ldtilecfg":
		return e.configure(in.address, t)
	case "tilerelease":
		*t = tileState{}
	case "tilezero":
		t.data[in.reg] = [16][64]byte{}
	case "tileloadd":
		t.data[in.reg] = [16][64]byte{}
		for r := range t.rows[in.reg] {
			if _, err := e.mem.ReadAt(t.data[in.reg][r][:t.rowBytes[in.reg]], int64(in.address+uint64(r)*in.stride)); err != nil {
				return err
			}
		}
	case "tilestored":
		for r := range t.rows[in.reg] {
			if _, err := e.mem.WriteAt(t.data[in.reg][r][:t.rowBytes[in.reg]], int64(in.address+uint64(r)*in.stride)); err != nil {
				return err
			}
		}
	case "tdpbf16ps":
		return t.multiply(in.reg, in.rm, in.vvvv)
	}
	return nil
}

func (e *emulator) configure(address uint64, t *tileState) error {
	var b [64]byte
	if _, err := e.mem.ReadAt(b[:], int64(address)); err != nil {
		return err
	}
	if b[0] != 1 || b[1] != 0 {
		return errors.New("#GP: palette or start row")
	}
	*t = tileState{configured: true}
	for i := range 64 {
		if reserved := i >= 2 && i < 16 || i >= 32 && i < 48 || i >= 56; reserved && b[i] != 0 {
			return fmt.Errorf("#GP: reserved byte %d", i)
		}
	}
	for i := range 8 {
		t.rows[i], t.rowBytes[i] = int(b[48+i]), int(binary.LittleEndian.Uint16(b[16+2*i:]))
		if t.rows[i] > 16 || t.rowBytes[i] > 64 || (t.rows[i] == 0) != (t.rowBytes[i] == 0) {
			return fmt.Errorf("#GP: tile %d of %d rows of %d bytes", i, t.rows[i], t.rowBytes[i])
		}
	}
	return nil
}

// multiply is TDPBF16PS c, a, b.
func (t *tileState) multiply(c, a, b int) error {
	switch {
	case c == a || a == b || b == c || b > 7 || t.rows[a] == 0 || t.rows[b] == 0:
		return fmt.Errorf("#UD: tiles %d, %d, %d", c, a, b)
	case t.rows[c] != t.rows[a] || t.rowBytes[c] != t.rowBytes[b] || t.rowBytes[a]/4 != t.rows[b] || t.rowBytes[a]%4 != 0 || t.rowBytes[b]%4 != 0:
		return fmt.Errorf("#UD: shapes of tiles %d, %d, %d", c, a, b)
	}
	word := func(tile, row, i int) float32 {
		bits := uint32(binary.LittleEndian.Uint16(t.data[tile][row][2*i:])) << 16
		if bits&0x7f800000 == 0 {
			bits &= 0x80000000
		}
		return math.Float32frombits(bits)
	}
	zero := func(v float32) float32 { // results below the normal range
		if v != 0 && math.Abs(float64(v)) < 0x1p-126 {
			return float32(math.Copysign(0, float64(v)))
		}
		return v
	}
	fma := func(s, x, y float32) float32 { return zero(float32(float64(s) + float64(x)*float64(y))) }
	for m := range t.rows[c] {
		var sums [32]float32
		for k := range t.rowBytes[a] / 4 {
			for n := range t.rowBytes[c] / 4 {
				sums[2*n] = fma(sums[2*n], word(a, m, 2*k), word(b, k, 2*n))
				sums[2*n+1] = fma(sums[2*n+1], word(a, m, 2*k+1), word(b, k, 2*n+1))
			}
		}
		for n := range t.rowBytes[c] / 4 {
			at := t.data[c][m][4*n:]
			s := zero(math.Float32frombits(binary.LittleEndian.Uint32(at)))
			binary.LittleEndian.PutUint32(at, math.Float32bits(zero(s+zero(sums[2*n]+sums[2*n+1]))))
		}
		clear(t.data[c][m][t.rowBytes[c]:])
	}
	return nil
}
