// Package manifests are the objects that Talos has a cluster begin with, and
// those that the machine configuration adds: what they are, not who brings them
// to the API server.
package manifests

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/blang/semver/v4"
	"github.com/siderolabs/go-kubernetes/kubernetes/compatibility"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

//go:embed templates
var templates embed.FS

// Manifest is a list of objects under a name; manifests are applied in the order of their names.
type Manifest struct {
	Name    string
	Objects []map[string]any
}

// NewConfig reads what the machine configuration says about the objects that a
// cluster begins with.
func NewConfig(settings config.Config) (k8s.BootstrapManifestsConfigSpec, error) {
	cluster := settings.Cluster()
	cni := cluster.Network().CNI()
	prism := settings.Machine().Features().KubePrism()

	spec := k8s.BootstrapManifestsConfigSpec{
		Server: cluster.Endpoint().String(), ClusterDomain: cluster.Network().DNSDomain(), PodCIDRs: cluster.Network().PodCIDRs(),
		ProxyEnabled: cluster.Proxy().Enabled(), ProxyImage: cluster.Proxy().Image(),
		CoreDNSEnabled: cluster.CoreDNS().Enabled(), CoreDNSImage: cluster.CoreDNS().Image(),
		FlannelEnabled: cni.Name() == constants.FlannelCNI, FlannelImage: "ghcr.io/siderolabs/flannel:" + constants.FlannelVersion,
		FlannelExtraArgs: cni.Flannel().ExtraArgs(), FlannelKubeNetworkPoliciesEnabled: cni.Flannel().KubeNetworkPoliciesEnabled(),
		FlannelKubeNetworkPoliciesImage: "registry.k8s.io/networking/kube-network-policies:" + constants.KubeNetworkPoliciesVersion,
		TalosAPIServiceEnabled:          settings.Machine().Features().KubernetesTalosAPIAccess().Enabled(), CNIName: cni.Name(),
	}

	if prism.Enabled() {
		spec.Server = fmt.Sprintf("https://127.0.0.1:%d", prism.Port())
		spec.FlannelKubeServiceHost, spec.FlannelKubeServicePort = "127.0.0.1", strconv.Itoa(prism.Port())
	}

	addresses, err := cluster.Network().DNSServiceIPs()
	if err != nil {
		return spec, fmt.Errorf("error calculating DNS service IPs: %w", err)
	}

	for _, address := range addresses {
		switch {
		case address.Is4() && spec.DNSServiceIP == "":
			spec.DNSServiceIP = address.String()
		case address.Is6() && spec.DNSServiceIPv6 == "":
			spec.DNSServiceIPv6 = address.String()
		}
	}

	spec.ProxyArgs, err = proxyArguments(cluster)

	return spec, err
}

// nftables are what kube-proxy uses from this version on.
var nftables = semver.MustParse("1.31.0")

func proxyArguments(cluster config.ClusterConfig) ([]string, error) {
	mode := cluster.Proxy().Mode()
	if mode == "" {
		mode = "iptables"
		if semver.Version(compatibility.VersionFromImageRef(cluster.Proxy().Image())).GTE(nftables) {
			mode = "nftables"
		}
	}

	merged := map[string][]string{
		"cluster-cidr": {strings.Join(cluster.Network().PodCIDRs(), ",")}, "hostname-override": {"$(NODE_NAME)"},
		"kubeconfig": {"/etc/kubernetes/kubeconfig"}, "proxy-mode": {mode}, "conntrack-max-per-core": {"0"},
	}

	for name, values := range cluster.Proxy().ExtraArgs() {
		if name == "kubeconfig" {
			return nil, fmt.Errorf("extra arg %q is not allowed", name)
		}

		merged[name] = values
	}

	var list []string

	for name, values := range merged {
		for _, value := range values {
			list = append(list, fmt.Sprintf("--%s=%s", name, value))
		}
	}

	slices.Sort(list)

	return list, nil
}

// values are what the templates are filled with.
type values struct {
	k8s.BootstrapManifestsConfigSpec

	TokenID, TokenSecret           string
	PodCIDRv4, PodCIDRv6           string
	DNSServiceIPs                  []string
	DNSServiceFamilies             []string
	FlannelArguments, ProxyCommand []string
}

// Bootstrap are the objects that a cluster begins with.
func Bootstrap(spec k8s.BootstrapManifestsConfigSpec, token config.Token) ([]Manifest, error) {
	filling := values{
		BootstrapManifestsConfigSpec: spec, TokenID: token.ID(), TokenSecret: token.Secret(),
		FlannelArguments: append([]string{"--ip-masq", "--kube-subnet-mgr"}, spec.FlannelExtraArgs...),
		ProxyCommand:     append([]string{"/usr/local/bin/kube-proxy"}, spec.ProxyArgs...),
	}

	for _, cidr := range spec.PodCIDRs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("pod subnet: %w", err)
		}

		if prefix.Addr().Is4() {
			filling.PodCIDRv4 = cidr
		} else {
			filling.PodCIDRv6 = cidr
		}
	}

	for family, address := range map[string]string{"IPv4": spec.DNSServiceIP, "IPv6": spec.DNSServiceIPv6} {
		if address != "" {
			filling.DNSServiceIPs = append(filling.DNSServiceIPs, address)
			filling.DNSServiceFamilies = append(filling.DNSServiceFamilies, family)
		}
	}

	// IPv4 first, whatever the order of the map
	if len(filling.DNSServiceIPs) > 1 && filling.DNSServiceFamilies[0] == "IPv6" {
		slices.Reverse(filling.DNSServiceIPs)
		slices.Reverse(filling.DNSServiceFamilies)
	}

	wanted := map[string]bool{
		"05-flannel": spec.FlannelEnabled, "10-kube-proxy": spec.ProxyEnabled, "11-core-dns": spec.CoreDNSEnabled,
		"11-core-dns-svc": spec.CoreDNSEnabled, "13-talos-service-account-crd": spec.TalosAPIServiceEnabled,
	}

	parsed, err := template.New("").Funcs(template.FuncMap{"json": asJSON}).ParseFS(templates, "templates/*.yaml")
	if err != nil {
		return nil, err
	}

	var manifests []Manifest

	for _, one := range parsed.Templates() {
		name, isFile := strings.CutSuffix(path.Base(one.Name()), ".yaml")
		if enabled, optional := wanted[name]; !isFile || (optional && !enabled) {
			continue
		}

		var filled bytes.Buffer
		if err := one.Execute(&filled, filling); err != nil {
			return nil, err
		}

		manifest, err := Parse(name, filled.Bytes())
		if err != nil {
			return nil, err
		}

		manifests = append(manifests, manifest)
	}

	Sort(manifests)

	return manifests, nil
}

func asJSON(value any) (string, error) {
	encoded, err := json.Marshal(value)

	return string(encoded), err
}

// Sort puts manifests into the order in which they are applied.
func Sort(manifests []Manifest) {
	slices.SortFunc(manifests, func(one, other Manifest) int { return strings.Compare(one.Name, other.Name) })
}

// NewExtra reads which further manifests the machine configuration names.
func NewExtra(settings config.Config) k8s.ExtraManifestsConfigSpec {
	var spec k8s.ExtraManifestsConfigSpec

	add := func(priority string, headers map[string]string, urls ...string) {
		for _, url := range urls {
			spec.ExtraManifests = append(spec.ExtraManifests, k8s.ExtraManifest{
				Name: url, URL: url, Priority: priority, ExtraHeaders: headers,
			})
		}
	}

	cluster := settings.Cluster()

	add("05", nil, cluster.Network().CNI().URLs()...)
	add("30", nil, cluster.ExternalCloudProvider().ManifestURLs()...)
	add("99", cluster.ExtraManifestHeaderMap(), cluster.ExtraManifestURLs()...)

	for _, inline := range cluster.InlineManifests() {
		spec.ExtraManifests = append(spec.ExtraManifests, k8s.ExtraManifest{
			Name: inline.Name(), Priority: "99", InlineManifest: inline.Contents(),
		})
	}

	return spec
}

// Parse reads a manifest. Its lists are taken apart.
func Parse(name string, text []byte) (Manifest, error) {
	manifest := Manifest{Name: name}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))

	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return manifest, nil
		}

		if err != nil {
			return manifest, fmt.Errorf("manifest %s: %w", name, err)
		}

		var object map[string]any

		if err := yaml.Unmarshal(document, &object); err != nil {
			return manifest, fmt.Errorf("error converting manifest %s to JSON: %w", name, err)
		}

		if len(object) == 0 {
			continue
		}

		if object["kind"] == nil {
			return manifest, fmt.Errorf("error loading manifest %s: Object 'Kind' is missing", name)
		}

		items, isList := object["items"].([]any)
		if !isList || !strings.HasSuffix(fmt.Sprint(object["kind"]), "List") {
			manifest.Objects = append(manifest.Objects, object)

			continue
		}

		for _, item := range items {
			object, ok := item.(map[string]any)
			if !ok {
				return manifest, fmt.Errorf("error unwrapping a List of manifest %s: an item is no object", name)
			}

			manifest.Objects = append(manifest.Objects, object)
		}
	}
}
