package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"

	"cluster-stack/lab/node/internal/kubeletapi"
)

// ApplyManifests brings to the API server what is missing there of the objects, as a control plane of Talos does: what
// its inventory names is never looked at again, so that nothing is changed and nothing taken away. That is done by
// `talosctl upgrade-k8s`, with the same inventory.
func (k *Kubelet) ApplyManifests(ctx context.Context, given kubeletapi.Manifests) error {
	config, client, err := k.identity.administratorConfig(given.Administrator)
	if err != nil {
		return err
	}

	defer client.CloseIdleConnections()

	objects, err := objectsOf(given.Objects)
	if err != nil {
		return err
	}

	clientset, err := kubernetes.NewForConfigAndClient(config, client)
	if err != nil {
		return err
	}

	discovered, err := discovery.NewDiscoveryClientForConfigAndClient(config, client)
	if err != nil {
		return err
	}

	api, err := dynamic.NewForConfigAndClient(config, client)
	if err != nil {
		return err
	}

	inventory, err := readInventory(ctx, clientset)
	if err != nil {
		return fmt.Errorf("error getting inventory: %w", err)
	}

	applying := &manifestApply{
		api: api, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discovered)),
		inventory: inventory, say: func(message string) { k.report(kubeletapi.Event{Manifest: &message}) },
	}
	err = applying.all(ctx, objects)

	// also when it has failed half way
	if writeErr := writeInventory(ctx, clientset, inventory); writeErr != nil {
		err = errors.Join(err, fmt.Errorf("updating inventory failed: %w", writeErr))
	}

	return err
}

// objectsOf reads the objects, and puts namespaces and definitions of resources first.
func objectsOf(given []json.RawMessage) ([]*unstructured.Unstructured, error) {
	objects := make([]*unstructured.Unstructured, 0, len(given))

	for _, text := range given {
		one := &unstructured.Unstructured{}
		if err := one.UnmarshalJSON(text); err != nil {
			return nil, fmt.Errorf("an object of a manifest: %w", err)
		}

		objects = append(objects, one)
	}

	slices.SortStableFunc(objects, func(one, other *unstructured.Unstructured) int {
		if first, second := turn(one), turn(other); first != second || first == last {
			return first - second
		}

		return strings.Compare(one.GetName(), other.GetName())
	})

	return objects, nil
}

// last is the turn of what is neither a namespace nor a definition.
const last = 2

func turn(one *unstructured.Unstructured) int {
	switch kind := one.GroupVersionKind(); {
	case kind.Kind == "Namespace" && kind.Version == "v1":
		return 0
	case kind.Kind == "CustomResourceDefinition" && kind.Group == "apiextensions.k8s.io":
		return 1
	default:
		return last
	}
}

// manifestApply is one attempt.
type manifestApply struct {
	api       dynamic.Interface
	mapper    meta.RESTMapper
	inventory map[string]string
	say       func(message string)
}

// all goes on after objects that the API server does not take, and ends where it is out of reach.
func (m *manifestApply) all(ctx context.Context, objects []*unstructured.Unstructured) error {
	var problems []error

	for _, one := range objects {
		err := m.one(ctx, one)
		if err == nil {
			continue
		}

		problems = append(problems, err)

		if !isTheObjects(err) {
			break
		}
	}

	return errors.Join(problems...)
}

// errForeign is an object that belongs to somebody else's inventory.
var errForeign = errors.New("unexpected foreign inventory annotation")

// isTheObjects reports whether an error is the object's own fault.
func isTheObjects(err error) bool {
	return errors.Is(err, errForeign) || meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || apierrors.IsInvalid(err) ||
		apierrors.IsMethodNotSupported(err) || apierrors.IsBadRequest(err)
}

func (m *manifestApply) one(ctx context.Context, wanted *unstructured.Unstructured) error {
	kind := wanted.GroupVersionKind()
	name := fmt.Sprintf("%s/%s/%s/%s", kind.Group, kind.Version, kind.Kind, wanted.GetName())

	// A namespace that is not said is not in the inventory either.
	reference := reference(wanted)
	if _, applied := m.inventory[reference]; applied {
		return nil
	}

	mapping, err := m.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return fmt.Errorf("error creating mapping for object %s: %w", name, err)
	}

	var resource dynamic.ResourceInterface = m.api.Resource(mapping.Resource)

	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if wanted.GetNamespace() == "" {
			wanted.SetNamespace(corev1.NamespaceDefault)
		}

		resource = m.api.Resource(mapping.Resource).Namespace(wanted.GetNamespace())
	}

	switch _, err := resource.Get(ctx, wanted.GetName(), metav1.GetOptions{}); {
	case err == nil:
		m.inventory[reference] = ""

		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("error checking resource existence: %w", err)
	}

	annotations := wanted.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}

	if owner, owned := annotations[inventoryAnnotation]; owned && owner != constants.KubernetesBootstrapManifestsInventoryName {
		return fmt.Errorf("%w on %s", errForeign, name)
	}

	annotations[inventoryAnnotation] = constants.KubernetesBootstrapManifestsInventoryName
	wanted.SetAnnotations(annotations)

	if _, err := resource.Apply(ctx, wanted.GetName(), wanted, metav1.ApplyOptions{
		FieldManager: constants.KubernetesFieldManagerName,
	}); err != nil {
		return fmt.Errorf("error creating %s: %w", name, err)
	}

	m.say("created " + name)

	m.inventory[reference] = ""

	return nil
}
