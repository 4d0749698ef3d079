package talosaccess

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"cluster-stack/lab/node/internal/kubeletapi"
)

func account(namespace string, spec map[string]any) *unstructured.Unstructured {
	made := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	made.SetGroupVersionKind(kind)
	made.SetNamespace(namespace)
	made.SetName("reader")
	made.SetUID("one")

	return made
}

func secretOf(owner *unstructured.Unstructured) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: owner.GetName(), OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)},
	}}
}

func TestAServiceAccountIsJudgedByTheRules(t *testing.T) {
	rules := kubeletapi.AccessRules{Namespaces: []string{"allowed"}, Roles: []string{"os:reader", "os:etcd:backup"}}
	reader := map[string]any{"roles": []any{"os:reader"}}
	earlier := account("allowed", reader)
	earlier.SetUID("another one")

	for what, one := range map[string]struct {
		account *unstructured.Unstructured
		secret  *corev1.Secret
		reason  string
		message string
		passing bool
	}{
		"allowed":              {account("allowed", reader), nil, "", "", false},
		"with its Secret":      {account("allowed", reader), secretOf(account("allowed", reader)), "", "", false},
		"other namespace":      {account("default", reader), nil, "ErrNamespaceNotAllowed", "Namespace is not allowed: default", false},
		"without roles":        {account("allowed", map[string]any{}), nil, "ErrRolesNotFound", "Roles not found", true},
		"roles that are none":  {account("allowed", map[string]any{"roles": "os:reader"}), nil, "ErrRolesNotFound", "Roles not found", true},
		"somebody's Secret":    {account("allowed", reader), &corev1.Secret{}, "ErrResourceExists", exists, true},
		"a predecessor's":      {account("allowed", reader), secretOf(earlier), "ErrResourceExists", exists, true},
		"one role is too much": {account("allowed", map[string]any{"roles": []any{"os:reader", "os:admin"}}), nil, "ErrRolesNotAllowed", "Roles not allowed: [os:admin]", false},
	} {
		roles, refused := judge(rules, one.account, one.secret)

		switch {
		case one.reason == "":
			if refused != nil || !slices.Equal(roles.Strings(), []string{"os:reader"}) {
				t.Errorf("%s: %v %+v", what, roles.Strings(), refused)
			}
		case refused == nil || *refused != refusal{one.reason, one.message, one.passing}:
			t.Errorf("%s: %+v", what, refused)
		case len(roles.Strings()) > 0:
			t.Errorf("%s: refused, and has roles %v", what, roles.Strings())
		}
	}
}

const exists = "Secret already exists and is not managed by controller: allowed/reader"

func TestOnlyTheSecretsOfServiceAccountsAreKeptWhole(t *testing.T) {
	own, foreign := secretOf(account("allowed", nil)), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}}

	for _, secret := range []*corev1.Secret{own, foreign} {
		secret.Data = map[string][]byte{"config": {1}}

		if _, err := withoutForeignData(secret); err != nil {
			t.Fatal(err)
		}
	}

	if own.Data == nil || foreign.Data != nil || foreign.Name != "foreign" {
		t.Errorf("%v %v", own, foreign)
	}
}
