package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"

	"cluster-stack/lab/node/internal/talos"
)

// The library that decodes here is that of Talos 1.13. What an older node does
// not know yet is listed here, from the configuration schemas of the releases.

var documentsSince = map[string]uint64{
	"ExistingVolumeConfig": 11, "RawVolumeConfig": 11, "SwapVolumeConfig": 11, "ZswapConfig": 11,

	"BondConfig": 12, "BridgeConfig": 12, "DHCPv4Config": 12, "DHCPv6Config": 12, "DummyLinkConfig": 12,
	"HCloudVIPConfig": 12, "HostnameConfig": 12, "Layer2VIPConfig": 12, "LinkAliasConfig": 12, "LinkConfig": 12,
	"OOMConfig": 12, "RegistryAuthConfig": 12, "RegistryMirrorConfig": 12, "RegistryTLSConfig": 12,
	"ResolverConfig": 12, "StaticHostConfig": 12, "TimeSyncConfig": 12, "VLANConfig": 12, "WireguardConfig": 12,

	"BlackholeRouteConfig": 13, "EnvironmentConfig": 13, "ExternalVolumeConfig": 13, "ImageVerificationConfig": 13,
	"KubeSpanConfig": 13, "RoutingRuleConfig": 13, "TCPProbeConfig": 13, "VRFConfig": 13,
}

// keysSince are keys that came later than their document; the document without
// a kind is the v1alpha1 one.
var keysSince = []struct {
	kind  string
	path  string
	since uint64
}{
	{"", "machine.install.grubUseUKICmdline", 12},
	{"", "cluster.network.cni.flannel.kubeNetworkPoliciesEnabled", 13},
	{"VolumeConfig", "encryption", 11},
	{"VolumeConfig", "mount", 13},
	{"UserVolumeConfig", "volumeType", 12},
	{"UserVolumeConfig", "mount", 13},
	{"EthernetConfig", "wakeOnLan", 12},
}

// checkDialect refuses what the booted version does not know, in the words of
// its decoder. YAML that does not parse is left to the library.
func checkDialect(data []byte, version talos.Version) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))

	for {
		var node yaml.Node

		if err := decoder.Decode(&node); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}

			return nil //nolint:nilerr // the library words this error
		}

		if len(node.Content) != 1 || node.Content[0].Kind != yaml.MappingNode {
			continue
		}

		if err := checkDocument(node.Content[0], version); err != nil {
			return err
		}
	}
}

func checkDocument(document *yaml.Node, version talos.Version) error {
	kind, apiVersion, name := scalar(document, "kind"), scalar(document, "apiVersion"), scalar(document, "name")

	shown := kind
	if shown == "" {
		shown = "v1alpha1"
	}

	fail := func(err error) error {
		return fmt.Errorf("error decoding document %s/%s/%s (line %d): %w", apiVersion, shown, name, document.Line, err)
	}

	if since, ok := documentsSince[kind]; ok && !version.AtLeast(since) {
		return fail(fmt.Errorf("%q %q: not registered", kind, apiVersion))
	}

	for _, key := range keysSince {
		if key.kind != kind || version.AtLeast(key.since) {
			continue
		}

		path := strings.Split(key.path, ".")

		value := document
		for _, part := range path {
			value = child(value, part)
		}

		if value == nil {
			continue
		}

		var unknown any = value

		for i := len(path) - 1; i >= 0; i-- {
			unknown = map[string]any{path[i]: unknown}
		}

		text, err := yaml.Marshal(unknown)
		if err != nil {
			return fail(err)
		}

		return fail(fmt.Errorf("unknown keys found during decoding:\n%s", text))
	}

	return nil
}

func child(node *yaml.Node, key string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}

	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}

	return nil
}

func scalar(node *yaml.Node, key string) string {
	if value := child(node, key); value != nil && value.Kind == yaml.ScalarNode {
		return value.Value
	}

	return ""
}
