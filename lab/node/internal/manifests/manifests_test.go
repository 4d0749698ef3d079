package manifests_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"

	"cluster-stack/lab/node/internal/manifests"
)

func settings(t *testing.T, patches ...string) config.Config {
	t.Helper()

	input, err := generate.NewInput("test", "https://10.5.0.9:6443", "1.36.0")
	if err != nil {
		t.Fatal(err)
	}

	provider, err := input.Config(machine.TypeControlPlane)
	if err != nil {
		t.Fatal(err)
	}

	loaded, err := configpatcher.LoadPatches(patches)
	if err != nil {
		t.Fatal(err)
	}

	patched, err := configpatcher.Apply(configpatcher.WithConfig(provider), loaded)
	if err != nil {
		t.Fatal(err)
	}

	result, err := patched.Config()
	if err != nil {
		t.Fatal(err)
	}

	return result
}

func bootstrap(t *testing.T, patches ...string) map[string][]map[string]any {
	t.Helper()

	current := settings(t, patches...)

	spec, err := manifests.NewConfig(current)
	if err != nil {
		t.Fatal(err)
	}

	made, err := manifests.Bootstrap(spec, current.Cluster().Token())
	if err != nil {
		t.Fatal(err)
	}

	byName := map[string][]map[string]any{}
	for _, manifest := range made {
		byName[manifest.Name] = manifest.Objects
	}

	return byName
}

func names(objects []map[string]any) []string {
	var list []string

	for _, object := range objects {
		metadata, _ := object["metadata"].(map[string]any)
		list = append(list, fmt.Sprintf("%s %s", object["kind"], metadata["name"]))
	}

	slices.Sort(list)

	return list
}

func TestAClusterBeginsWithWhatTalosGivesIt(t *testing.T) {
	made := bootstrap(t)

	for name, wanted := range map[string][]string{
		"01-csr-node-bootstrap":        {"ClusterRoleBinding system-bootstrap-node-bootstrapper"},
		"01-csr-approver-role-binding": {"ClusterRoleBinding system-bootstrap-approve-node-client-csr"},
		"01-csr-renewal-role-binding":  {"ClusterRoleBinding system-bootstrap-node-renewal"},
		"05-flannel": {
			"ClusterRole flannel", "ClusterRoleBinding flannel", "ConfigMap kube-flannel-cfg", "DaemonSet kube-flannel", "ServiceAccount flannel",
		},
		"10-kube-proxy":               {"ClusterRoleBinding kube-proxy", "DaemonSet kube-proxy", "ServiceAccount kube-proxy"},
		"11-kube-config-in-cluster":   {"ConfigMap kubeconfig-in-cluster"},
		"11-talos-node-rbac-template": {"ClusterRole system:talos-nodes", "ClusterRoleBinding system:talos-nodes"},
		"11-core-dns": {
			"ClusterRole system:coredns", "ClusterRoleBinding system:coredns", "ConfigMap coredns", "Deployment coredns", "ServiceAccount coredns",
		},
		"11-core-dns-svc": {"Service kube-dns"},
	} {
		if got := names(made[name]); !slices.Equal(got, wanted) {
			t.Errorf("%s: %s", name, got)
		}
	}

	if len(made) != 10 || !strings.HasPrefix(names(made["00-kubelet-bootstrapping-token"])[0], "Secret bootstrap-token-") {
		t.Errorf("there are %d manifests: %v", len(made), made)
	}

	text, _ := json.Marshal(made)

	for _, wanted := range []string{
		`\"Network\": \"10.244.0.0/16\"`, `"clusterIPs":["10.96.0.10"]`, `"ipFamilyPolicy":"SingleStack"`,
		`["/usr/local/bin/kube-proxy","--cluster-cidr=10.244.0.0/16","--conntrack-max-per-core=0",` +
			`"--hostname-override=$(NODE_NAME)","--kubeconfig=/etc/kubernetes/kubeconfig","--proxy-mode=nftables"]`,
		`server: https://127.0.0.1:7445`, `disable success cluster.local`,
	} {
		if !strings.Contains(string(text), wanted) {
			t.Errorf("%s is nowhere", wanted)
		}
	}
}

func TestTheConfigurationLeavesPartsOut(t *testing.T) {
	made := bootstrap(t, `
cluster:
  network:
    cni: {name: none}
    podSubnets: [10.1.0.0/16, "fd01::/64"]
    serviceSubnets: [10.2.0.0/16, "fd02::/112"]
  proxy: {disabled: true}
machine:
  features:
    kubernetesTalosAPIAccess: {enabled: true, allowedRoles: ["os:reader"], allowedKubernetesNamespaces: [default]}
`)

	for _, name := range []string{"05-flannel", "10-kube-proxy"} {
		if made[name] != nil {
			t.Errorf("%s is there", name)
		}
	}

	if made["13-talos-service-account-crd"] == nil {
		t.Error("the service accounts of Talos are missing")
	}

	if text, _ := json.Marshal(made["11-core-dns-svc"]); !strings.Contains(string(text), `"clusterIPs":["10.2.0.10","fd02::a"],"ipFamilies":["IPv4","IPv6"]`) {
		t.Errorf("%s", text)
	}
}

func TestExtraManifestsHaveTheOrderOfTalos(t *testing.T) {
	spec := manifests.NewExtra(settings(t, `
cluster:
  network: {cni: {name: custom, urls: ["http://10.42.0.2/cni.yaml"]}}
  externalCloudProvider: {enabled: true, manifests: ["http://10.42.0.2/cloud.yaml"]}
  extraManifests: ["http://10.42.0.2/more.yaml"]
  extraManifestHeaders: {Token: x}
  inlineManifests: [{name: own, contents: "apiVersion: v1"}]
`))

	var got []string
	for _, manifest := range spec.ExtraManifests {
		got = append(got, manifest.Priority+"-"+manifest.Name+" "+manifest.ExtraHeaders["Token"])
	}

	if wanted := []string{
		"05-http://10.42.0.2/cni.yaml ", "30-http://10.42.0.2/cloud.yaml ", "99-http://10.42.0.2/more.yaml x", "99-own ",
	}; !slices.Equal(got, wanted) {
		t.Errorf("%q", got)
	}
}

func TestAManifestIsTakenApart(t *testing.T) {
	made, err := manifests.Parse("x", []byte("# nothing\n---\nkind: List\nitems: [{kind: A}, {kind: B}]\n---\nkind: C\n"))
	if err != nil || len(made.Objects) != 3 {
		t.Errorf("%v %v", made, err)
	}

	if _, err := manifests.Parse("x", []byte("a: b")); err == nil || !strings.Contains(err.Error(), "Object 'Kind' is missing") {
		t.Error(err)
	}
}
