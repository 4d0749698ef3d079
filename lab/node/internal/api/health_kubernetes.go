package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cosi-project/runtime/api/v1alpha1"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/protobuf/client"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"

	"cluster-stack/lab/node/internal/controlplane"
	"cluster-stack/lab/node/internal/pki"
)

const kubernetesTimeout = 10 * time.Second

// errNotApplicable is a check that the cluster has nothing for.
var errNotApplicable = errors.New("not applicable")

// kubernetesChecks asks the machine's own API server, with little more than
// HTTP: Kubernetes' library would cost each machine of the lab more memory than
// all the rest of it.
type kubernetesChecks struct {
	server string
	client *http.Client
	nodes  *checkedNodes
	// cni is the network that the configuration has the cluster begin with.
	cni string
}

func newKubernetesChecks(settings config.Config, nodes *checkedNodes) (*kubernetesChecks, error) {
	certificate, err := pki.TalosAdministrator(settings.Cluster())
	if err != nil {
		return nil, err
	}

	pair, err := tls.X509KeyPair(certificate.Crt, certificate.Key)
	if err != nil {
		return nil, err
	}

	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(pki.KubernetesCAs(settings.Cluster()))

	return &kubernetesChecks{
		server: controlplane.LocalServer(settings), nodes: nodes, cni: settings.Cluster().Network().CNI().Name(),
		client: &http.Client{Timeout: kubernetesTimeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: authorities, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
		}}},
	}, nil
}

func (k *kubernetesChecks) close() { k.client.CloseIdleConnections() }

// object is as much of a node, pod or workload as the checks look at.
type object struct {
	Metadata struct {
		Name              string            `json:"name"`
		Labels            map[string]string `json:"labels"`
		DeletionTimestamp string            `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Unschedulable bool   `json:"unschedulable"`
		Replicas      int    `json:"replicas"`
		NodeName      string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase                  string                           `json:"phase"`
		Addresses              []struct{ Type, Address string } `json:"addresses"`
		Conditions             []struct{ Type, Status string }  `json:"conditions"`
		DesiredNumberScheduled int                              `json:"desiredNumberScheduled"`
	} `json:"status"`
}

func (o object) ready() bool {
	for _, condition := range o.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True"
		}
	}

	return false
}

func (k *kubernetesChecks) list(ctx context.Context, path string) ([]object, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.server+path, nil)
	if err != nil {
		return nil, err
	}

	response, err := k.client.Do(request)
	if err != nil {
		return nil, err
	}

	defer response.Body.Close() //nolint:errcheck // read to its end

	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}

	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the API server answers %s", response.Status)
	}

	var list struct {
		Items []object `json:"items"`
	}

	return list.Items, json.Unmarshal(body, &list)
}

const (
	nodesPath  = "/api/v1/nodes"
	podsPath   = "/api/v1/namespaces/kube-system/pods?labelSelector="
	workloads  = "/apis/apps/v1/namespaces/kube-system/"
	proxyLabel = "k8s-app%3Dkube-proxy"
	dnsLabel   = "k8s-app%3Dkube-dns"
)

// reported wants exactly the nodes that were discovered.
func (k *kubernetesChecks) reported(ctx context.Context) error {
	nodes, err := k.list(ctx, nodesPath)
	if err != nil {
		return err
	}

	var unexpected []string

	missing := k.nodes.names()

	for _, node := range nodes {
		known := false

		for _, address := range node.Status.Addresses {
			if ip, err := netip.ParseAddr(address.Address); err == nil {
				if at := slices.Index(missing, ip.String()); at >= 0 {
					missing = slices.Delete(missing, at, at+1)
					known = true
				}
			}
		}

		if !known {
			unexpected = append(unexpected, node.Metadata.Name)
		}
	}

	switch {
	case len(unexpected) > 0:
		return fmt.Errorf("unexpected nodes with IPs %q", unexpected)
	case len(missing) > 0:
		return fmt.Errorf("can't find expected node with IPs %q", missing)
	default:
		return nil
	}
}

// staticPods wants the three servers on each control plane, as its kubelet says.
func (k *kubernetesChecks) staticPods(ctx context.Context) error {
	return k.nodes.each(ctx, true, func(ctx context.Context, node checkedNode) error {
		resources := state.WrapCore(client.NewAdapter(v1alpha1.NewStateClient(node.connection)))

		pods, err := safe.StateListAll[*k8s.StaticPodStatus](ctx, resources)
		if err != nil {
			return fmt.Errorf("error listing static pods: %w", err)
		}

		var missing []string

		for _, name := range []string{k8s.APIServerID, k8s.ControllerManagerID, k8s.SchedulerID} {
			there := false
			for pod := range pods.All() {
				there = there || strings.HasPrefix(pod.Metadata().ID(), "kube-system/"+name)
			}

			if !there {
				missing = append(missing, "kube-system/"+name)
			}
		}

		if missing != nil {
			return fmt.Errorf("missing static pods: %v", missing)
		}

		return nil
	})
}

// components wants each of the three servers ready on each control plane.
func (k *kubernetesChecks) components(ctx context.Context) error {
	wanted := 0

	for _, node := range k.nodes.nodes {
		if node.controlPlane {
			wanted++
		}
	}

	for _, name := range []string{k8s.APIServerID, k8s.ControllerManagerID, k8s.SchedulerID} {
		if err := k.podsReady(ctx, "k8s-app%3D"+name, wanted); err != nil {
			return fmt.Errorf("expected ready %s on all control planes: %w", name, err)
		}
	}

	return nil
}

func (k *kubernetesChecks) podsReady(ctx context.Context, label string, wanted int) error {
	pods, err := k.list(ctx, podsPath+label)
	if err != nil {
		return err
	}

	var ready, others []string

	for _, pod := range pods {
		switch {
		case pod.Metadata.DeletionTimestamp != "" || pod.Status.Phase == "Failed" || pod.Status.Phase == "Succeeded":
		case pod.ready():
			ready = append(ready, pod.Metadata.Name)
		default:
			others = append(others, pod.Metadata.Name)
		}
	}

	switch {
	case len(ready) == 0:
		return fmt.Errorf("no ready pods found for namespace %q", "kube-system")
	case len(others) > 0:
		return fmt.Errorf("some pods are not ready: %v", others)
	case len(ready) != wanted:
		return fmt.Errorf("expected %d ready pods, got %d", wanted, len(ready))
	default:
		return nil
	}
}

func (k *kubernetesChecks) nodesReady(ctx context.Context) error {
	if k.cni == "none" {
		return errNotApplicable
	}

	return k.nodesAre(ctx, "some nodes are not ready: %v", object.ready)
}

func (k *kubernetesChecks) nodesSchedulable(ctx context.Context) error {
	return k.nodesAre(ctx, "some nodes are not schedulable: %v", func(node object) bool { return !node.Spec.Unschedulable })
}

func (k *kubernetesChecks) nodesAre(ctx context.Context, complaint string, well func(object) bool) error {
	nodes, err := k.list(ctx, nodesPath)
	if err != nil {
		return err
	}

	var others []string

	for _, node := range nodes {
		if !well(node) {
			others = append(others, node.Metadata.Name)
		}
	}

	if others != nil {
		return fmt.Errorf(complaint, others)
	}

	return nil
}

func (k *kubernetesChecks) proxyReady(ctx context.Context) error {
	found, err := k.list(ctx, workloads+"daemonsets?labelSelector="+proxyLabel)
	if err != nil {
		return err
	}

	if len(found) == 0 {
		return errNotApplicable
	}

	return k.podsReady(ctx, proxyLabel, found[0].Status.DesiredNumberScheduled)
}

func (k *kubernetesChecks) dnsReady(ctx context.Context) error {
	if k.cni == "none" {
		return errNotApplicable
	}

	found, err := k.list(ctx, workloads+"deployments?labelSelector="+dnsLabel)
	if err != nil {
		return err
	}

	if len(found) == 0 {
		return errNotApplicable
	}

	return k.podsReady(ctx, dnsLabel, found[0].Spec.Replicas)
}
