package kubelet

import (
	"encoding/json"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestAnObjectsKeyInTheInventoryIsThatOfTalosLibrary(t *testing.T) {
	for text, wanted := range map[string]string{
		`{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:coredns"}}`: "_system__coredns_rbac.authorization.k8s.io_ClusterRole",
		`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"}}`:        "kube-system_coredns__ConfigMap",
	} {
		one := &unstructured.Unstructured{}
		if err := one.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}

		if got := reference(one); got != wanted {
			t.Errorf("%s, wanted %s", got, wanted)
		}
	}
}

func TestNamespacesAndDefinitionsComeFirst(t *testing.T) {
	var given []json.RawMessage
	for _, text := range []string{
		`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "z"}}`,
		`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}`,
		`{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things"}}`,
		`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "y"}}`,
		`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b"}}`,
	} {
		given = append(given, json.RawMessage(text))
	}

	objects, err := objectsOf(given)
	if err != nil {
		t.Fatal(err)
	}

	var names []string
	for _, one := range objects {
		names = append(names, one.GetName())
	}

	if !slices.Equal(names, []string{"b", "y", "things", "z", "a"}) {
		t.Errorf("%s", names)
	}
}
