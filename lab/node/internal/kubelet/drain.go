package kubelet

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

// As Talos drains.
const (
	evictionGrace = int64(60) // seconds
	evictionRetry = 5 * time.Second
	goneWithin    = time.Minute
	goneCheck     = time.Second
)

// Drain evicts the pods of this node with the kubelet's own identity, as Talos does before a machine goes down: not
// `kubectl drain`, which asks for more and stops at the first obstacle. Pods of a DaemonSet, static pods and pods without
// a controller stay. What a PodDisruptionBudget holds up is asked again until the time is over; that is only logged.
func (k *Kubelet) Drain(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	client, err := k.identity.wait(ctx)
	if err != nil {
		return err
	}

	pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", k.settings.NodeName).String(),
	})
	if err != nil {
		return err
	}

	var evictions sync.WaitGroup

	for _, pod := range pods.Items {
		if reason := stays(&pod); reason != "" {
			k.log.Info("The pod is not evicted: "+reason, "namespace", pod.Namespace, "pod", pod.Name)

			continue
		}

		evictions.Go(func() {
			if err := evict(ctx, client, &pod); err != nil {
				k.log.Error(err, "Failed to evict pod", "namespace", pod.Namespace, "pod", pod.Name)
			}
		})
	}

	evictions.Wait()

	return nil
}

// stays says why a pod is not evicted.
func stays(pod *corev1.Pod) string {
	controller := metav1.GetControllerOf(pod)

	switch {
	case isMirror(pod):
		return "it is a static pod"
	case controller == nil:
		return "it has no controller"
	case controller.Kind == "DaemonSet":
		return "it belongs to a DaemonSet"
	default:
		return ""
	}
}

func evict(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) error {
	grace := evictionGrace
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: &grace},
	}

	for {
		err := client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, eviction)

		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err == nil:
			return waitUntilGone(ctx, client, pod)
		case !apierrors.IsTooManyRequests(err):
			return err
		}

		select {
		case <-ctx.Done():
			return err
		case <-time.After(evictionRetry):
		}
	}
}

func waitUntilGone(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()

	for {
		latest, err := client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})

		// A node may not look at a pod that is not on it, and that is also one that is gone.
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || err == nil && latest.UID != pod.UID {
			return nil
		}

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(goneCheck):
		}
	}
}
