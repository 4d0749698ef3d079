package talosaccess

import (
	"fmt"
	"slices"

	"github.com/siderolabs/talos/pkg/machinery/role"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"cluster-stack/lab/node/internal/kubeletapi"
)

// refusal is why a service account gets no talosconfig: the reason of an event, and the words of its status.
type refusal struct {
	reason, message string
	// passing is a refusal that may be over without a change of the service account, so that it is looked at again.
	passing bool
}

// judge says which roles a service account gets, or why none. The secret is the one of its name, if there is one.
func judge(rules kubeletapi.AccessRules, account *unstructured.Unstructured, secret *corev1.Secret) (role.Set, *refusal) {
	if secret != nil && !metav1.IsControlledBy(secret, account) {
		return role.Zero, &refusal{
			"ErrResourceExists",
			fmt.Sprintf("Secret already exists and is not managed by controller: %s/%s", account.GetNamespace(), account.GetName()),
			true,
		}
	}

	wanted, found, err := unstructured.NestedStringSlice(account.Object, "spec", "roles")
	if err != nil || !found {
		return role.Zero, &refusal{"ErrRolesNotFound", "Roles not found", true}
	}

	if !slices.Contains(rules.Namespaces, account.GetNamespace()) {
		return role.Zero, &refusal{"ErrNamespaceNotAllowed", "Namespace is not allowed: " + account.GetNamespace(), false}
	}

	refused := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return slices.Contains(rules.Roles, name) })
	if len(refused) > 0 {
		return role.Zero, &refusal{"ErrRolesNotAllowed", fmt.Sprintf("Roles not allowed: %v", refused), false}
	}

	roles, _ := role.Parse(wanted)

	return roles, nil
}
