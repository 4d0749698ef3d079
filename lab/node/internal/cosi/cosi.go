// Package cosi holds the machine's resources: a real COSI state with Talos'
// own resource types, and the rules by which API clients may read it. What is
// put into it is decided elsewhere.
package cosi

import (
	"context"
	"fmt"
	"strings"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/cosi-project/runtime/pkg/state/registry"
	"github.com/siderolabs/talos/pkg/machinery/resources/block"
	"github.com/siderolabs/talos/pkg/machinery/resources/cluster"
	"github.com/siderolabs/talos/pkg/machinery/resources/config"
	"github.com/siderolabs/talos/pkg/machinery/resources/etcd"
	"github.com/siderolabs/talos/pkg/machinery/resources/hardware"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"
	"github.com/siderolabs/talos/pkg/machinery/resources/kubeaccess"
	"github.com/siderolabs/talos/pkg/machinery/resources/network"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"github.com/siderolabs/talos/pkg/machinery/resources/secrets"
	"github.com/siderolabs/talos/pkg/machinery/resources/time"
	"github.com/siderolabs/talos/pkg/machinery/resources/v1alpha1"
	"github.com/siderolabs/talos/pkg/machinery/role"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cluster-stack/lab/node/internal/authz"
)

// New makes a state with the resource types that the lab's nodes fill; the
// diagnostics, static pods and manifests of Kubernetes are registered so that
// clients find them empty, as on a machine that has none.
func New(ctx context.Context) (state.State, error) {
	st := state.WrapCore(namespaced.NewState(func(namespace string) state.CoreState {
		return inmem.NewStateWithOptions(
			inmem.WithHistoryInitialCapacity(8), inmem.WithHistoryMaxCapacity(256), inmem.WithHistoryGap(4),
		)(namespace)
	}))

	namespaces, types := registry.NewNamespaceRegistry(st), registry.NewResourceRegistry(st)

	if err := namespaces.RegisterDefault(ctx); err != nil {
		return nil, err
	}

	if err := types.RegisterDefault(ctx); err != nil {
		return nil, err
	}

	for name, description := range map[resource.Namespace]string{
		v1alpha1.NamespaceName:        "Talos v1alpha1 subsystems glue resources.",
		cluster.NamespaceName:         "Cluster configuration and discovery resources.",
		cluster.RawNamespaceName:      "Cluster unmerged raw resources.",
		config.NamespaceName:          "Talos node configuration.",
		etcd.NamespaceName:            "etcd resources.",
		hardware.NamespaceName:        "Hardware resources.",
		k8s.NamespaceName:             "Kubernetes all node types resources.",
		k8s.ControlPlaneNamespaceName: "Kubernetes control plane resources.",
		network.NamespaceName:         "Networking resources.",
		secrets.NamespaceName:         "Resources with secret material.",
	} {
		if err := namespaces.Register(ctx, name, description); err != nil {
			return nil, err
		}
	}

	for _, kind := range []meta.ResourceWithRD{
		&block.Disk{}, &block.SystemDisk{}, &block.VolumeStatus{}, &block.DiscoveredVolume{}, &block.MountStatus{}, &block.VolumeConfig{},
		&cluster.Affiliate{}, &cluster.Config{}, &cluster.Identity{}, &cluster.Info{}, &cluster.Member{},
		&config.MachineConfig{}, &config.MachineType{},
		&etcd.Config{}, &etcd.Member{}, &etcd.Spec{},
		&hardware.MemoryModule{}, &hardware.PCIDevice{}, &hardware.PCRStatus{}, &hardware.Processor{}, &hardware.SystemInformation{},
		&k8s.AdmissionControlConfig{}, &k8s.APIServerConfig{}, &k8s.AuditPolicyConfig{}, &k8s.AuthorizationConfig{},
		&k8s.BootstrapManifestsConfig{}, &k8s.ConfigStatus{}, &k8s.ControllerManagerConfig{}, &k8s.Endpoint{},
		&k8s.ExtraManifestsConfig{}, &k8s.Manifest{}, &k8s.ManifestStatus{},
		&k8s.KubeletSpec{}, &k8s.KubePrismStatuses{}, &k8s.Nodename{}, &k8s.NodeStatus{}, &k8s.SchedulerConfig{}, &k8s.SecretsStatus{},
		&k8s.StaticPod{}, &k8s.StaticPodStatus{},
		&kubeaccess.Config{},
		&network.AddressStatus{}, &network.HostnameStatus{}, &network.LinkStatus{}, &network.NfTablesChain{}, &network.NodeAddress{},
		&network.ProbeSpec{}, &network.ProbeStatus{},
		&network.ResolverStatus{}, &network.RouteStatus{}, &network.RoutingRuleStatus{}, &network.Status{},
		&runtime.BootedEntry{}, &runtime.Diagnostic{}, &runtime.Environment{}, &runtime.ExtensionStatus{}, &runtime.KernelCmdline{},
		&runtime.MachineStatus{}, &runtime.MetaKey{},
		&runtime.PlatformMetadata{}, &runtime.SBOMItem{}, &runtime.SecurityState{}, &runtime.Version{},
		&secrets.EtcdRoot{}, &secrets.KubernetesRoot{}, &secrets.OSRoot{},
		&time.Status{},
		&v1alpha1.Service{},
	} {
		if err := types.Register(ctx, kind); err != nil {
			return nil, err
		}
	}

	return st, nil
}

// ForClients is the state as API clients see it: read-only, registered types
// and namespaces only, and what is sensitive for administrators only.
func ForClients(st state.State) state.State {
	return state.WrapCore(state.Filter(st, func(ctx context.Context, access state.Access) error {
		if !access.Verb.Readonly() {
			return status.Error(codes.PermissionDenied, "write access is not allowed")
		}

		definition, err := safe.StateGetByID[*meta.ResourceDefinition](ctx, st, strings.ToLower(access.ResourceType))
		if state.IsNotFoundError(err) {
			return status.Error(codes.PermissionDenied, fmt.Sprintf("resource type %q is not supported", access.ResourceType))
		}

		if err != nil {
			return err
		}

		if definition.TypedSpec().Sensitivity == meta.Sensitive && !authz.Roles(ctx).Includes(role.Admin) {
			return authz.ErrNotAuthorized
		}

		_, err = safe.StateGetByID[*meta.Namespace](ctx, st, access.ResourceNamespace)
		if state.IsNotFoundError(err) {
			return status.Error(codes.PermissionDenied, fmt.Sprintf("namespace %q is not supported", access.ResourceNamespace))
		}

		return err
	}))
}

// Put makes the resource be there as given: created, or updated when it differs.
func Put(ctx context.Context, st state.State, wanted resource.Resource) error {
	current, err := st.Get(ctx, wanted.Metadata())
	if state.IsNotFoundError(err) {
		return st.Create(ctx, wanted)
	}

	if err != nil {
		return err
	}

	if resource.Equal(withVersion(wanted, current), current) {
		return nil
	}

	return st.Update(ctx, wanted)
}

func withVersion(wanted, current resource.Resource) resource.Resource {
	created, updated := current.Metadata().Created(), current.Metadata().Updated()

	wanted.Metadata().SetVersion(current.Metadata().Version())
	wanted.Metadata().SetCreated(created)
	wanted.Metadata().SetUpdated(updated)

	return wanted
}

// Drop removes a resource that may be there.
func Drop(ctx context.Context, st state.State, pointer resource.Pointer) error {
	err := st.Destroy(ctx, pointer)
	if state.IsNotFoundError(err) {
		return nil
	}

	return err
}

// Replace makes the resources of one type and namespace be exactly those given.
func Replace(ctx context.Context, st state.State, namespace resource.Namespace, kind resource.Type, wanted []resource.Resource) error {
	keep := map[resource.ID]bool{}

	for _, item := range wanted {
		keep[item.Metadata().ID()] = true

		if err := Put(ctx, st, item); err != nil {
			return err
		}
	}

	current, err := st.List(ctx, resource.NewMetadata(namespace, kind, "", resource.VersionUndefined))
	if err != nil {
		return err
	}

	for _, item := range current.Items {
		if keep[item.Metadata().ID()] {
			continue
		}

		if err := Drop(ctx, st, item.Metadata()); err != nil {
			return err
		}
	}

	return nil
}
