package sandbox

// Names of the layers, as Require, reports and doctor use them.
const (
	LayerUser         = "user namespace"
	LayerNamespaces   = "mount, pid, ipc, uts, cgroup namespaces"
	LayerNetwork      = "network namespace"
	LayerMemory       = "memory cgroup"
	LayerPids         = "pids cgroup"
	LayerCPU          = "cpu cgroup"
	LayerNoSwap       = "no swap"
	LayerFirstToDie   = "first to die"
	LayerDeathSignal  = "death signal"
	LayerNoNested     = "no nested namespaces"
	LayerRoot         = "empty root"
	LayerHostName     = "host name"
	LayerLimits       = "limits"
	LayerDescriptors  = "descriptors"
	LayerKeyring      = "own keyring"
	LayerNoPrivileges = "no new privileges"
	LayerCapabilities = "capabilities"
	LayerNotDumpable  = "not dumpable"
	LayerLandlock     = "landlock"
	LayerSeccomp      = "seccomp"
	LayerGVisor       = "gvisor"
)

// Layers are the names that a policy may require, outermost first.
func Layers() []string {
	return []string{
		LayerUser, LayerNamespaces, LayerNetwork, LayerMemory, LayerPids, LayerCPU, LayerNoSwap, LayerFirstToDie, LayerDeathSignal,
		LayerNoNested, LayerRoot, LayerHostName, LayerLimits, LayerDescriptors, LayerKeyring, LayerNoPrivileges, LayerCapabilities,
		LayerNotDumpable, LayerLandlock, LayerSeccomp, LayerGVisor,
	}
}

// advice says what an operator can do about a layer that is not active.
var advice = map[string]string{
	LayerUser:     "allow user namespaces: sysctl user.max_user_namespaces > 0; on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile",
	LayerMemory:   "run as root, or as a systemd unit with Delegate=yes; until then children are bounded by resource limits",
	LayerPids:     "run as root, or as a systemd unit with Delegate=yes; until then threads are bounded by resource limits",
	LayerCPU:      "run as root, or as a systemd unit with Delegate=yes; until then a child may use every core",
	LayerNoSwap:   "swapoff -a, or a host with cgroup version 2; pages of a child may be written to the swap device",
	LayerLandlock: "boot a kernel >= 5.13 with landlock in its lsm= list",
	LayerNoNested: "mount /proc writable for Firekeep",
	LayerKeyring:  "a kernel with CONFIG_KEYS",
	LayerGVisor:   "install runsc and name it in config.json as sandbox.gvisor; then sandbox.isolation can be \"gvisor\"",
}

// Advice says what to do about a layer that is not active, "" when nothing is
// known or nothing is wrong.
func (l Layer) Advice() string {
	if l.Active {
		return ""
	}
	return advice[l.Name]
}
