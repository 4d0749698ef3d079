package kubelet

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cluster-stack/lab/node/internal/kubeletapi"
)

func TestOnlyWhatTalosOwnsIsChangedAndTakenAway(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker1", Labels: map[string]string{"theirs": "1", "same": "1"}}}

	apply := func(labels map[string]string) map[string]string {
		t.Helper()

		if err := applySpec(node, kubeletapi.NodeSpec{Labels: labels}); err != nil {
			t.Fatal(err)
		}

		return node.Labels
	}

	// What nobody gave is given, what is already so is taken over, what somebody else gave stays.
	if labels := apply(map[string]string{"ours": "1", "same": "1", "theirs": "2"}); !maps.Equal(labels, map[string]string{"theirs": "1", "same": "1", "ours": "1"}) {
		t.Errorf("%v", labels)
	}

	if owned := node.Annotations["talos.dev/owned-labels"]; owned != `["ours","same"]` {
		t.Errorf("owned: %s", owned)
	}

	if labels := apply(map[string]string{"ours": "2"}); !maps.Equal(labels, map[string]string{"theirs": "1", "ours": "2"}) {
		t.Errorf("%v", labels)
	}

	if labels := apply(nil); !maps.Equal(labels, map[string]string{"theirs": "1"}) {
		t.Errorf("%v", labels)
	}

	if _, there := node.Annotations["talos.dev/owned-labels"]; there {
		t.Error("owns nothing, and says so")
	}
}

func TestTaints(t *testing.T) {
	node := &corev1.Node{}
	node.Spec.Taints = []corev1.Taint{
		{Key: "theirs", Effect: corev1.TaintEffectNoExecute},
		{Key: "role", Effect: corev1.TaintEffectNoSchedule},
	}

	apply := func(taints ...kubeletapi.Taint) []corev1.Taint {
		t.Helper()

		if err := applySpec(node, kubeletapi.NodeSpec{Taints: taints}); err != nil {
			t.Fatal(err)
		}

		return node.Spec.Taints
	}

	// The taint of the registration becomes Talos' own.
	taints := apply(kubeletapi.Taint{Key: "role", Effect: "NoSchedule"}, kubeletapi.Taint{Key: "theirs", Effect: "NoSchedule"}, kubeletapi.Taint{Key: "new", Value: "1", Effect: "NoSchedule"})
	if len(taints) != 3 || taints[0].Effect != corev1.TaintEffectNoExecute || taints[2].Value != "1" {
		t.Errorf("%v", taints)
	}

	if taints := apply(kubeletapi.Taint{Key: "new", Value: "2", Effect: "NoSchedule"}); len(taints) != 2 || taints[1].Value != "2" {
		t.Errorf("%v", taints)
	}

	if taints := apply(); len(taints) != 1 || taints[0].Key != "theirs" {
		t.Errorf("%v", taints)
	}
}

func TestACordonOfSomebodyElseStays(t *testing.T) {
	node := &corev1.Node{}
	node.Spec.Unschedulable = true

	for _, wanted := range []bool{true, false} {
		if err := applySpec(node, kubeletapi.NodeSpec{Cordoned: wanted}); err != nil {
			t.Fatal(err)
		}

		if !node.Spec.Unschedulable {
			t.Error("it was taken away")
		}
	}

	node.Spec.Unschedulable = false

	for _, wanted := range []bool{true, false} {
		if err := applySpec(node, kubeletapi.NodeSpec{Cordoned: wanted}); err != nil {
			t.Fatal(err)
		}

		if node.Spec.Unschedulable != wanted {
			t.Errorf("unschedulable: %v", node.Spec.Unschedulable)
		}
	}
}
