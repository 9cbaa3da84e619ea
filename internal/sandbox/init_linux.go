package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/firekeep/firekeep/internal/sandbox/seccomp"
	"golang.org/x/sys/unix"
)

// initName is argv[0] of the preparing child.
const initName = "firekeep-sandbox-init"

// Init must be the first call of main (and of TestMain) in every program that
// uses the launcher. In the preparing child it confines the process and
// becomes the program; it does not return. Elsewhere it does nothing.
func Init() {
	if len(os.Args) != 2 || os.Args[0] != initName && os.Args[0] != gvisorInitName {
		return
	}
	runtime.LockOSThread()
	n, err := strconv.Atoi(os.Args[1])
	if err == nil && os.Args[0] == gvisorInitName {
		gvisorInit(n)
	}
	if err != nil || os.Getpid() != 1 {
		os.Exit(125)
	}
	orders := os.NewFile(uintptr(3+n), "orders")
	child := preparing{status: os.NewFile(uintptr(4+n), "status"), program: 5 + n}
	child.run(orders)
	os.Exit(125)
}

// preparing is the child between its birth and the start of the program.
type preparing struct {
	status  *os.File
	program int
	order   order
	layers  []Layer
}

// step is one act of the preparation.
type step struct {
	name string
	do   func(*preparing) (detail string, err error)
	// optional: the child runs without this layer unless the order requires it.
	optional bool
}

// steps are in the order of what each still needs: mounts need capabilities,
// and everything comes before the filter that forbids it all.
var steps = []step{
	{LayerDeathSignal, (*preparing).dieWithParent, false},
	{"orders", nil, false},
	{LayerNoNested, (*preparing).forbidNested, true},
	{LayerKeyring, (*preparing).newKeyring, true},
	{LayerRoot, (*preparing).emptyRoot, false},
	{LayerHostName, (*preparing).hideHostName, false},
	{LayerLimits, (*preparing).limit, false},
	{LayerDescriptors, (*preparing).closeDescriptors, false},
	{LayerNoPrivileges, (*preparing).noNewPrivileges, false},
	{LayerCapabilities, (*preparing).dropCapabilities, false},
	{LayerNotDumpable, (*preparing).notDumpable, false},
	{LayerLandlock, (*preparing).landlock, true},
	{LayerSeccomp, (*preparing).filter, false},
}

func (p *preparing) run(orders *os.File) {
	unix.CloseOnExec(int(orders.Fd()))
	unix.CloseOnExec(int(p.status.Fd()))
	unix.CloseOnExec(p.program)
	for _, s := range steps {
		if s.name == LayerSeccomp && !p.checkRequired() { // reported while nothing is filtered yet
			return
		}
		if s.name == "orders" {
			if err := p.read(orders); err != nil {
				return // the parent is gone
			}
			continue
		}
		if slices.Contains(p.order.Without, s.name) {
			continue
		}
		detail, err := s.do(p)
		if err != nil {
			detail = err.Error()
		}
		p.layers = append(p.layers, Layer{Name: s.name, Active: err == nil, Detail: detail})
		if err != nil && !s.optional {
			p.fail(s.name, err.Error(), false)
			return
		}
	}
	p.start()
}

// read takes the orders, which the parent writes when everything on its side is
// in place. An early end means that the parent died before the death signal
// was armed.
func (p *preparing) read(orders *os.File) error {
	defer orders.Close()
	if err := json.NewDecoder(io.LimitReader(orders, 1<<24)).Decode(&p.order); err != nil {
		return err
	}
	p.layers = append([]Layer{
		{Name: LayerUser, Active: true, Detail: fmt.Sprintf("uid %d inside", os.Getuid())},
		{Name: LayerNamespaces, Active: true},
		{Name: LayerNetwork, Active: true, Detail: "no interface is up"},
	}, append(p.order.Layers, p.layers...)...)
	return nil
}

// checkRequired refuses when a layer that the job demands is not there. Only
// seccomp is still to come, and that is never optional.
func (p *preparing) checkRequired() bool {
	for _, name := range p.order.Require {
		i := slices.IndexFunc(p.layers, func(l Layer) bool { return l.Name == name })
		if name == LayerSeccomp || i >= 0 && p.layers[i].Active {
			continue
		}
		why := "unknown layer"
		if i >= 0 {
			why = p.layers[i].Detail
		}
		p.fail(name, why, true)
		return false
	}
	return true
}

// fail reports the step that went wrong.
func (p *preparing) fail(step, problem string, missing bool) {
	_ = json.NewEncoder(p.status).Encode(answer{Layers: p.layers, Step: step, Problem: problem, Missing: missing})
}

// start reports the layers and becomes the program. The status pipe closes
// with the start, which tells the parent.
func (p *preparing) start() {
	if err := json.NewEncoder(p.status).Encode(answer{Layers: p.layers}); err != nil {
		return
	}
	args, err1 := syscall.SlicePtrFromStrings(p.order.Args)
	env, err2 := syscall.SlicePtrFromStrings(p.order.Env)
	empty, _ := unix.BytePtrFromString("")
	if err1 != nil || err2 != nil {
		p.fail("arguments", "a zero byte", false)
		return
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(p.program), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	runtime.KeepAlive(args)
	runtime.KeepAlive(env)
	p.fail("program", errno.Error(), false)
}

func (p *preparing) filter() (string, error) {
	return "allow-list", seccomp.Engine(p.program).Install(false)
}
