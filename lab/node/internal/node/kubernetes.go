package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"

	"cluster-stack/lab/node/internal/controlplane"
	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/manifests"
	"cluster-stack/lab/node/internal/staticpods"
)

// KubePrism is how the machine's own load balancer before the API servers fares.
type KubePrism struct {
	Endpoint string
	Healthy  bool
}

// ControlPlaneMembers are the control planes that this machine knows of.
func (n *Node) ControlPlaneMembers() []cluster.AffiliateSpec {
	n.mu.Lock()
	defer n.mu.Unlock()

	var found []cluster.AffiliateSpec

	for i := range n.affiliates { // hundreds of others: none is copied to be looked at
		if n.affiliates[i].ControlPlane != nil {
			found = append(found, n.affiliates[i])
		}
	}

	return found
}

// PublishKubePrism publishes the load balancer, nil for none.
func (n *Node) PublishKubePrism(prism *KubePrism) error {
	var wanted []resource.Resource

	if prism != nil {
		statuses := k8s.NewKubePrismStatuses(k8s.NamespaceName, k8s.KubePrismStatusesID)
		*statuses.TypedSpec() = k8s.KubePrismStatusesSpec{Host: prism.Endpoint, Healthy: prism.Healthy}
		wanted = append(wanted, statuses)
	}

	return n.replace(k8s.NamespaceName, k8s.KubePrismStatusesType, wanted)
}

// PublishControlPlane publishes what the control plane is made from, and
// answers the versions of it.
func (n *Node) PublishControlPlane(configuration *controlplane.Configuration, secrets string) (controlplane.Versions, error) {
	apiServer, manager, scheduler := k8s.NewAPIServerConfig(), k8s.NewControllerManagerConfig(), k8s.NewSchedulerConfig()
	admission, audit, authorization := k8s.NewAdmissionControlConfig(), k8s.NewAuditPolicyConfig(), k8s.NewAuthorizationConfig()

	*apiServer.TypedSpec() = configuration.APIServer
	*manager.TypedSpec() = configuration.ControllerManager
	*scheduler.TypedSpec() = configuration.Scheduler
	*admission.TypedSpec() = configuration.AdmissionControl
	*audit.TypedSpec() = configuration.AuditPolicy
	*authorization.TypedSpec() = configuration.Authorization

	if err := n.put(apiServer, manager, scheduler, admission, audit, authorization); err != nil {
		return controlplane.Versions{}, err
	}

	versions := controlplane.Versions{Secrets: secrets, Configuration: map[string]string{}}

	for _, part := range []resource.Resource{admission, audit, authorization, scheduler} {
		version, err := n.versionOf(part)
		if err != nil {
			return versions, err
		}

		versions.Files += version
	}

	for name, part := range map[string]resource.Resource{
		k8s.APIServerID: apiServer, k8s.ControllerManagerID: manager, k8s.SchedulerID: scheduler,
	} {
		version, err := n.versionOf(part)
		if err != nil {
			return versions, err
		}

		versions.Configuration[name] = version
	}

	secretsStatus := k8s.NewSecretsStatus(k8s.ControlPlaneNamespaceName, k8s.StaticPodSecretsStaticPodID)
	*secretsStatus.TypedSpec() = k8s.SecretsStatusSpec{Ready: true, Version: versions.Secrets}

	configStatus := k8s.NewConfigStatus(k8s.ControlPlaneNamespaceName, k8s.ConfigStatusStaticPodID)
	*configStatus.TypedSpec() = k8s.ConfigStatusSpec{Ready: true, Version: versions.Files}

	return versions, n.put(secretsStatus, configStatus)
}

func (n *Node) versionOf(item resource.Resource) (string, error) {
	current, err := n.Resources.Get(context.Background(), item.Metadata())
	if err != nil {
		return "", err
	}

	return current.Metadata().Version().String(), nil
}

// PublishStaticPods publishes the pods that the machine has by itself.
func (n *Node) PublishStaticPods(manifests []staticpods.Manifest) error {
	var wanted []resource.Resource

	for _, manifest := range manifests {
		pod := k8s.NewStaticPod(k8s.NamespaceName, staticPodID(manifest))

		// as JSON has it: plain values only
		if err := json.Unmarshal(manifest.Raw, &pod.TypedSpec().Pod); err != nil {
			return fmt.Errorf("static pod %s: %w", pod.Metadata().ID(), err)
		}

		wanted = append(wanted, pod)
	}

	return n.replace(k8s.NamespaceName, k8s.StaticPodType, wanted)
}

// staticPodID is the name of one of Talos' own pods; others have their namespace
// with it.
func staticPodID(manifest staticpods.Manifest) string {
	name := manifest.Pod.Metadata.Name
	if slices.Contains([]string{k8s.APIServerID, k8s.ControllerManagerID, k8s.SchedulerID}, name) {
		return name
	}

	return manifest.Pod.Metadata.Namespace + "-" + name
}

// RegistersNode reports whether the machine becomes a node of Kubernetes.
func (n *Node) RegistersNode() bool {
	current := n.Config()

	return n.Hardware.RunsKubernetes() && current != nil && current.Machine() != nil &&
		!current.Machine().Kubelet().SkipNodeRegistration()
}

// Extensions are the versions of the system extensions by name. The factory's
// schematic counts as one.
func (n *Node) Extensions() map[string]string {
	versions := map[string]string{"schematic": n.Image.Schematic}
	for _, extension := range n.Image.Extensions {
		versions[extension[strings.LastIndex(extension, "/")+1:]] = n.Version.Tag()
	}

	return versions
}

// PublishKubelet publishes what the kubelet is: clients learn its version from it.
func (n *Node) PublishKubelet(settings kubeletapi.Settings) error {
	addresses := make([]string, 0, len(settings.NodeIPs))
	for _, address := range settings.NodeIPs {
		addresses = append(addresses, address.String())
	}

	spec := k8s.NewKubeletSpec(k8s.NamespaceName, k8s.KubeletID)
	*spec.TypedSpec() = k8s.KubeletSpecSpec{
		Image: n.Config().Machine().Kubelet().Image(), ExpectedNodename: settings.NodeName,
		Args: []string{"--hostname-override=" + settings.NodeName, "--node-ip=" + strings.Join(addresses, ",")},
	}

	return n.put(spec)
}

// PublishNodeStatus publishes the machine's Node.
func (n *Node) PublishNodeStatus(status kubeletapi.NodeStatus) error {
	n.mu.Lock()
	n.nodeStatus = status
	n.mu.Unlock()

	defer n.reportStatus()

	var wanted []resource.Resource

	if status.Exists {
		published := k8s.NewNodeStatus(k8s.NamespaceName, n.Nodename())
		*published.TypedSpec() = k8s.NodeStatusSpec{
			Nodename: n.Nodename(), NodeReady: status.Ready, Unschedulable: status.Unschedulable,
			Labels: status.Labels, Annotations: status.Annotations, PodCIDRs: status.PodCIDRs,
		}
		wanted = append(wanted, published)
	}

	return n.replace(k8s.NamespaceName, k8s.NodeStatusType, wanted)
}

// IsNode reports whether the machine has a Node in Kubernetes.
func (n *Node) IsNode() bool {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.nodeStatus.Exists
}

// IsCordoned reports whether nothing is scheduled on the machine's Node.
func (n *Node) IsCordoned() bool {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.nodeStatus.Unschedulable
}

func (n *Node) nodeProblem() string {
	if !n.RegistersNode() {
		return ""
	}

	n.mu.Lock()
	status := n.nodeStatus
	n.mu.Unlock()

	switch {
	case !status.Exists:
		return fmt.Sprintf("node %q status is not available yet", n.Nodename())
	case !status.Ready:
		return fmt.Sprintf("node %q is not ready", n.Nodename())
	default:
		return ""
	}
}

// podStatus is as much of a pod's status as the machine's readiness needs.
type podStatus struct {
	Phase      string `json:"phase"`
	Conditions []struct {
		Type   string `json:"type"`
		Status string `json:"status"`
	} `json:"conditions"`
}

func (s podStatus) problem() string {
	switch s.Phase {
	case "Succeeded":
		return ""
	case "Running":
		for _, condition := range s.Conditions {
			if condition.Type == "Ready" && condition.Status == "True" {
				return ""
			}
		}

		return "not ready"
	default:
		return strings.ToLower(s.Phase)
	}
}

// PublishStaticPodStatuses publishes what the kubelet says of the static pods.
func (n *Node) PublishStaticPodStatuses(pods []kubeletapi.StaticPodStatus) error {
	defer n.reportStatus()

	var (
		wanted   []resource.Resource
		problems []string
	)

	for _, pod := range pods {
		status := k8s.NewStaticPodStatus(k8s.NamespaceName, pod.Namespace+"/"+pod.Name)
		if err := json.Unmarshal(pod.Status, &status.TypedSpec().PodStatus); err != nil {
			return fmt.Errorf("static pod %s: %w", pod.Name, err)
		}

		wanted = append(wanted, status)

		var read podStatus
		if err := json.Unmarshal(pod.Status, &read); err != nil {
			return fmt.Errorf("static pod %s: %w", pod.Name, err)
		}

		if problem := read.problem(); problem != "" {
			problems = append(problems, status.Metadata().ID()+" "+problem)
		}
	}

	n.mu.Lock()
	n.staticPodsWord = strings.Join(problems, ", ")
	n.mu.Unlock()

	return n.replace(k8s.NamespaceName, k8s.StaticPodStatusType, wanted)
}

func (n *Node) staticPodsProblem() string {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.staticPodsWord
}

// PublishManifestConfigs publishes what the manifests are made from.
func (n *Node) PublishManifestConfigs(bootstrap k8s.BootstrapManifestsConfigSpec, extra k8s.ExtraManifestsConfigSpec) error {
	bootstrapConfig, extraConfig := k8s.NewBootstrapManifestsConfig(), k8s.NewExtraManifestsConfig()
	*bootstrapConfig.TypedSpec() = bootstrap
	*extraConfig.TypedSpec() = extra

	return n.put(bootstrapConfig, extraConfig)
}

// PublishManifests publishes the objects that the cluster is to begin with.
func (n *Node) PublishManifests(list []manifests.Manifest) error {
	var wanted []resource.Resource

	for _, one := range list {
		manifest := k8s.NewManifest(k8s.ControlPlaneNamespaceName, one.Name)
		for _, object := range one.Objects {
			manifest.TypedSpec().Items = append(manifest.TypedSpec().Items, k8s.SingleManifest{Object: object})
		}

		wanted = append(wanted, manifest)
	}

	return n.replace(k8s.ControlPlaneNamespaceName, k8s.ManifestType, wanted)
}

// PublishManifestStatus publishes that they have been applied.
func (n *Node) PublishManifestStatus(list []manifests.Manifest) error {
	status := k8s.NewManifestStatus(k8s.ControlPlaneNamespaceName)
	for _, one := range list {
		status.TypedSpec().ManifestsApplied = append(status.TypedSpec().ManifestsApplied, one.Name)
	}

	return n.put(status)
}
