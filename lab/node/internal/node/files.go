package node

import (
	"fmt"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/constants"

	"cluster-stack/lab/node/internal/files"
	"cluster-stack/lab/node/internal/hardware"
)

const (
	ephemeralLabel = "EPHEMERAL"
	// etcdFolder is where on that partition etcd's data is.
	etcdFolder = "etcd"
)

// EtcdData is where in the lab the data of the machine's etcd member is.
func EtcdData(system *hardware.Disk) string {
	return system.Partition(ephemeralLabel) + "/" + etcdFolder
}

// Files are what of the machine's file system there is to look at.
func (n *Node) Files() files.Tree {
	tree := files.Tree{
		Made: map[string][]byte{
			"/proc/cmdline":                   []byte(n.KernelCommandLine() + "\n"),
			"/proc/sys/kernel/random/boot_id": []byte(n.BootID + "\n"),
			"/etc/hostname":                   []byte(n.FQDN() + "\n"),
			"/etc/hosts":                      n.hostsFile(),
			constants.DefaultTrustedCAFile:    n.trustedRoots(),
		},
		Mounted: map[string]string{},
	}

	for _, id := range n.Logs.IDs() {
		tree.Made[constants.LogMountPoint+"/"+id+".log"] = []byte(n.Logs.Service(id).Text())
	}

	if system := n.Disk(); system != nil {
		tree.Mounted["/var"] = system.Partition(ephemeralLabel)
		tree.Mounted[constants.EtcdDataPath] = EtcdData(system)
	}

	return tree
}

// hostsFile is /etc/hosts as Talos writes it.
func (n *Node) hostsFile() []byte {
	var text strings.Builder

	line := func(address string, names ...string) {
		fmt.Fprintf(&text, "%-15s %s\n", address, strings.Join(names, " "))
	}

	line("127.0.0.1", "localhost")

	own := []string{n.FQDN()}
	if n.Hostname() != n.FQDN() {
		own = append(own, n.Hostname())
	}

	if addresses := n.IPs(); len(addresses) > 0 {
		line(addresses[0].String(), own...)
	}

	line("::1", "localhost", "ip6-localhost", "ip6-loopback")
	line("ff02::1", "ip6-allnodes")
	line("ff02::2", "ip6-allrouters")

	if current := n.Config(); current != nil {
		for _, host := range current.NetworkStaticHostConfig() {
			line(host.IP(), host.Aliases()...)
		}
	}

	return []byte(text.String())
}

// trustedRoots is the file with the authorities that the machine trusts. Those
// of the image are not in the lab: its machines trust the lab's.
func (n *Node) trustedRoots() []byte {
	text := "##\n## Bundle of CA Root Certificates\n##\n"

	if current := n.Config(); current != nil && current.TrustedRoots() != nil {
		for _, certificates := range current.TrustedRoots().ExtraTrustedRootCertificates() {
			text += "\n" + certificates
		}
	}

	return []byte(text)
}
