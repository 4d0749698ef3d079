package etcd

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/constants"
)

// cluster is which cluster a member without data begins with; one with data
// knows.
type cluster struct {
	members string
	state   string
}

const (
	stateNew      = "new"
	stateExisting = "existing"
)

// arguments are etcd's, as Talos gives them. What Talos decides the machine
// configuration's own arguments cannot change.
func (m *Member) arguments(initial *cluster) ([]string, error) {
	spec := m.config.Spec
	file := func(name string) string { return filepath.Join(m.config.PKIDir, name) }

	decided := map[string]string{
		"name":                               spec.Name,
		"auto-tls":                           "false",
		"peer-auto-tls":                      "false",
		"data-dir":                           m.config.DataDir,
		"listen-peer-urls":                   joinedURLs(spec.ListenPeerAddresses, constants.EtcdPeerPort),
		"listen-client-urls":                 joinedURLs(spec.ListenClientAddresses, constants.EtcdClientPort),
		"client-cert-auth":                   "true",
		"cert-file":                          file(serverCertificate),
		"key-file":                           file(serverKey),
		"trusted-ca-file":                    file(authority),
		"peer-client-cert-auth":              "true",
		"peer-cert-file":                     file(peerCertificate),
		"peer-key-file":                      file(peerKey),
		"peer-trusted-ca-file":               file(authority),
		"experimental-initial-corrupt-check": "true",
		"experimental-watch-progress-notify-interval": "5s",
		"experimental-compact-hash-check-enabled":     "true",
	}

	usual := map[string]string{
		"advertise-client-urls":       joinedURLs(spec.AdvertisedAddresses, constants.EtcdClientPort),
		"initial-advertise-peer-urls": joinedURLs(spec.AdvertisedAddresses, constants.EtcdPeerPort),
		// A killed process loses nothing that it has written; only a power cut
		// of the whole host would, and then the lab starts anew.
		"unsafe-no-fsync": "true",
	}

	if initial != nil {
		usual["initial-cluster"], usual["initial-cluster-state"] = initial.members, initial.state
	}

	merged := map[string][]string{}
	for name, value := range usual {
		merged[name] = []string{value}
	}

	for name, extra := range spec.ExtraArgs {
		if _, denied := decided[name]; denied {
			return nil, fmt.Errorf("extra arg %q is not allowed", name)
		}

		merged[name] = extra.Values
	}

	for name, value := range decided {
		merged[name] = []string{value}
	}

	var list []string

	for _, name := range slices.Sorted(maps.Keys(merged)) {
		for _, value := range merged[name] {
			list = append(list, fmt.Sprintf("--%s=%s", name, value))
		}
	}

	return list, nil
}

// urls are those of a port at the addresses.
func urls(addresses []netip.Addr, port int) []string {
	list := make([]string, 0, len(addresses))

	for _, address := range addresses {
		list = append(list, "https://"+net.JoinHostPort(address.String(), strconv.Itoa(port)))
	}

	return list
}

func joinedURLs(addresses []netip.Addr, port int) string {
	return strings.Join(urls(addresses, port), ",")
}

// members is a member as etcd's initial cluster names it.
func members(name string, peerURLs []string) string {
	named := make([]string, 0, len(peerURLs))

	for _, url := range peerURLs {
		named = append(named, name+"="+url)
	}

	return strings.Join(named, ",")
}
