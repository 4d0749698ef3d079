package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"

	"cluster-stack/lab/node/internal/controlplane"
	"cluster-stack/lab/node/internal/staticpods"
)

// KubePrism is how the machine's own load balancer before the API servers fares.
type KubePrism struct {
	Endpoint string
	Healthy  bool
}

// Members are the machines of the cluster that this one knows of.
func (n *Node) Members() []cluster.AffiliateSpec {
	n.mu.Lock()
	defer n.mu.Unlock()

	return slices.Clone(n.affiliates)
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
