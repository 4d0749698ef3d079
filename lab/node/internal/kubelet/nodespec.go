package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	applyTimeout = 10 * time.Second
	applyRetry   = 100 * time.Millisecond
)

// Apply brings the Node to what Talos wants of it, as Talos does: it gives what nobody gave, changes and takes away only
// what is its own, and writes down in annotations what that is. Somebody else's change in between, and a refusal, are
// met with another try, for some seconds.
func (k *Kubelet) Apply(ctx context.Context, spec kubeletapi.NodeSpec) error {
	client, err := k.identity.wait(ctx)
	if err != nil {
		return err
	}

	if spec.Administrator != nil {
		administrator, closeIdle, err := k.identity.administratorClient(*spec.Administrator)
		if err != nil {
			return err
		}

		defer closeIdle()

		client = administrator
	}

	deadline := time.Now().Add(applyTimeout)

	for {
		err := applyOnce(ctx, client, k.settings.NodeName, spec)
		if !apierrors.IsConflict(err) && !apierrors.IsForbidden(err) || time.Now().After(deadline) {
			return err
		}

		select {
		case <-ctx.Done():
			return err
		case <-time.After(applyRetry):
		}
	}
}

func applyOnce(ctx context.Context, client kubernetes.Interface, name string, spec kubeletapi.NodeSpec) error {
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}

	if err := applySpec(node, spec); err != nil {
		return err
	}

	_, err = client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})

	return err
}

func applySpec(node *corev1.Node, spec kubeletapi.NodeSpec) error {
	owned := map[string]map[string]bool{}

	for _, annotation := range []string{
		constants.AnnotationOwnedLabels, constants.AnnotationOwnedAnnotations, constants.AnnotationOwnedTaints,
	} {
		keys, err := readOwned(node, annotation)
		if err != nil {
			return err
		}

		owned[annotation] = keys
	}

	if node.Labels == nil {
		node.Labels = map[string]string{}
	}

	if node.Annotations == nil {
		node.Annotations = map[string]string{}
	}

	applyValues(node.Labels, owned[constants.AnnotationOwnedLabels], spec.Labels)
	applyValues(node.Annotations, owned[constants.AnnotationOwnedAnnotations], spec.Annotations)
	applyTaints(node, owned[constants.AnnotationOwnedTaints], spec.Taints)
	applyCordon(node, spec.Cordoned)

	for annotation, keys := range owned {
		if err := writeOwned(node, annotation, keys); err != nil {
			return err
		}
	}

	return nil
}

// applyValues gives a Node labels or annotations.
func applyValues(values map[string]string, owned map[string]bool, wanted map[string]string) {
	for key, value := range wanted {
		current, exists := values[key]
		if !exists || current == value || owned[key] {
			values[key] = value
			owned[key] = true
		}
	}

	for key := range owned {
		if _, wants := wanted[key]; !wants {
			delete(values, key)
			delete(owned, key)
		}
	}
}

// applyTaints gives a Node taints, of which it counts one for each key.
func applyTaints(node *corev1.Node, owned map[string]bool, wanted []kubeletapi.Taint) {
	for _, one := range wanted {
		taint := corev1.Taint{Key: one.Key, Value: one.Value, Effect: corev1.TaintEffect(one.Effect)}
		place := slices.IndexFunc(node.Spec.Taints, func(existing corev1.Taint) bool { return existing.Key == taint.Key })

		switch {
		case place < 0:
			node.Spec.Taints = append(node.Spec.Taints, taint)
			owned[taint.Key] = true
		case owned[taint.Key]:
			node.Spec.Taints[place].Value, node.Spec.Taints[place].Effect = taint.Value, taint.Effect
		case node.Spec.Taints[place].Value == taint.Value && node.Spec.Taints[place].Effect == taint.Effect:
			owned[taint.Key] = true
		}
	}

	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		unwanted := owned[taint.Key] && !slices.ContainsFunc(wanted, func(one kubeletapi.Taint) bool { return one.Key == taint.Key })
		if unwanted {
			delete(owned, taint.Key)
		}

		return unwanted
	})
}

// applyCordon cordons the Node, or takes the cordon away if it was Talos that made it.
func applyCordon(node *corev1.Node, wanted bool) {
	_, ours := node.Annotations[constants.AnnotationCordonedKey]

	switch {
	case wanted && !node.Spec.Unschedulable:
		node.Spec.Unschedulable = true
		node.Annotations[constants.AnnotationCordonedKey] = constants.AnnotationCordonedValue
	case !wanted && node.Spec.Unschedulable && ours:
		node.Spec.Unschedulable = false
		delete(node.Annotations, constants.AnnotationCordonedKey)
	}
}

func readOwned(node *corev1.Node, annotation string) (map[string]bool, error) {
	owned := map[string]bool{}

	value := node.Annotations[annotation]
	if value == "" {
		return owned, nil
	}

	var keys []string
	if err := json.Unmarshal([]byte(value), &keys); err != nil {
		return nil, fmt.Errorf("annotation %s of node %s: %w", annotation, node.Name, err)
	}

	for _, key := range keys {
		owned[key] = true
	}

	return owned, nil
}

func writeOwned(node *corev1.Node, annotation string, owned map[string]bool) error {
	if len(owned) == 0 {
		delete(node.Annotations, annotation)

		return nil
	}

	encoded, err := json.Marshal(slices.Sorted(maps.Keys(owned)))
	if err != nil {
		return err
	}

	node.Annotations[annotation] = string(encoded)

	return nil
}
