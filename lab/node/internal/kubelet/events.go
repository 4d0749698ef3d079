package kubelet

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// record writes an event about an object of this node, as `kubectl describe` shows it, and logs it. Events are nobody's
// duty: one that cannot be written is lost.
func record(
	ctx context.Context, client kubernetes.Interface, nodeName string, about corev1.ObjectReference, kind, reason, message string,
) {
	log := klog.FromContext(ctx)
	log.Info("Event occurred", "object", klog.KRef(about.Namespace, about.Name).String(), "kind", about.Kind, "type", kind, "reason", reason,
		"message", message)

	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name:      fmt.Sprintf("%s.%x", about.Name, time.Now().UnixNano()),
			Namespace: about.Namespace,
		},
		InvolvedObject:      about,
		Source:              corev1.EventSource{Component: "kubelet", Host: nodeName},
		ReportingController: "kubelet",
		ReportingInstance:   nodeName,
		FirstTimestamp:      now,
		LastTimestamp:       now,
		Count:               1,
		Type:                kind,
		Reason:              reason,
		Message:             message,
	}

	if event.Namespace == "" {
		event.Namespace = metav1.NamespaceDefault
	}

	if _, err := client.CoreV1().Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{}); err != nil {
		log.V(1).Info("An event was lost", "reason", reason, "error", err)
	}
}
