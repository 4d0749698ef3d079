package kubelet

import (
	"context"
	"fmt"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
)

// The inventory of what Talos has applied is a ConfigMap, in the form of kpt's
// and Flux' libraries. Talos' own library for it is not used: it needs parts of
// Kubernetes' API that 1.36 no longer has.
const (
	inventoryAnnotation = "config.k8s.io/owning-inventory"
	inventoryNamespace  = constants.KubernetesInventoryNamespace
	inventoryName       = constants.KubernetesBootstrapManifestsInventoryName
)

// reference is an object's key in the inventory. A colon, which names of roles
// may have and keys may not, is written as two underscores.
func reference(one *unstructured.Unstructured) string {
	kind := one.GroupVersionKind()

	return fmt.Sprintf("%s_%s_%s_%s", one.GetNamespace(), strings.ReplaceAll(one.GetName(), ":", "__"), kind.Group, kind.Kind)
}

func readInventory(ctx context.Context, client kubernetes.Interface) (map[string]string, error) {
	found, err := client.CoreV1().ConfigMaps(inventoryNamespace).Get(ctx, inventoryName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		found, err = client.CoreV1().ConfigMaps(inventoryNamespace).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: inventoryName, Namespace: inventoryNamespace},
		}, metav1.CreateOptions{})
	}

	if err != nil {
		return nil, err
	}

	if found.Data == nil {
		return map[string]string{}, nil
	}

	return found.Data, nil
}

func writeInventory(ctx context.Context, client kubernetes.Interface, inventory map[string]string) error {
	_, err := client.CoreV1().ConfigMaps(inventoryNamespace).Update(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: inventoryName, Namespace: inventoryNamespace}, Data: inventory,
	}, metav1.UpdateOptions{})

	return err
}
