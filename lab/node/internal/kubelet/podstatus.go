package kubelet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"cluster-stack/lab/node/internal/kubeletapi"
)

// reportStatus brings a pod's status at the API server to what the machine says.
func reportStatus(ctx context.Context, identity *identity, pod *corev1.Pod, wanted status) error {
	ctx, cancel := context.WithTimeout(ctx, playTimeout)
	defer cancel()

	wanted.QOSClass = pod.Status.QOSClass
	wanted.ObservedGeneration = pod.Generation

	if apiequality.Semantic.DeepEqual(pod.Status, wanted) {
		return nil
	}

	before, err := json.Marshal(corev1.Pod{Status: pod.Status})
	if err != nil {
		return err
	}

	after, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: wanted})
	if err != nil {
		return err
	}

	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil {
		return err
	}

	_, err = identity.client.CoreV1().Pods(pod.Namespace).Patch(
		ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status",
	)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}

	return err
}

// podStatus is the status of a pod whose containers fare as the machine says.
func podStatus(
	pod *corev1.Pod, states []kubeletapi.ContainerState, hostIPs, podIPs []string, before status, now metav1.Time,
) status {
	byName := map[string]kubeletapi.ContainerState{}
	for _, state := range states {
		byName[state.Name] = state
	}

	result := status{
		Phase:     corev1.PodRunning,
		HostIP:    hostIPs[0],
		StartTime: before.StartTime,
	}

	if result.StartTime == nil {
		result.StartTime = &now
	}

	for _, ip := range hostIPs {
		result.HostIPs = append(result.HostIPs, corev1.HostIP{IP: ip})
	}

	for _, ip := range podIPs {
		result.PodIPs = append(result.PodIPs, corev1.PodIP{IP: ip})
		result.PodIP = result.PodIPs[0].IP
	}

	ready := corev1.ConditionTrue

	for _, container := range pod.Spec.Containers {
		state := byName[container.Name]
		result.ContainerStatuses = append(result.ContainerStatuses, containerStatus(pod, container, state))

		if state.StartedAt == nil && state.Restarts == 0 {
			result.Phase = corev1.PodPending
		}

		if !state.Ready {
			ready = corev1.ConditionFalse
		}
	}

	notReady := "ContainersNotReady"

	if over := phaseWhenOver(pod, byName); over != "" {
		result.Phase, notReady = over, "PodCompleted"
	}

	for kind, value := range map[corev1.PodConditionType]corev1.ConditionStatus{
		corev1.PodScheduled: corev1.ConditionTrue, corev1.PodReadyToStartContainers: corev1.ConditionTrue,
		corev1.PodInitialized: corev1.ConditionTrue, corev1.ContainersReady: ready, corev1.PodReady: ready,
	} {
		condition := corev1.PodCondition{Type: kind, Status: value, LastTransitionTime: now}
		if value == corev1.ConditionFalse {
			condition.Reason = notReady
		}

		for _, earlier := range before.Conditions {
			if earlier.Type == kind && earlier.Status == value {
				condition.LastTransitionTime = earlier.LastTransitionTime
			}
		}

		result.Conditions = append(result.Conditions, condition)
	}

	// What others say of the pod stays.
	for _, earlier := range before.Conditions {
		if !slices.ContainsFunc(result.Conditions, func(one corev1.PodCondition) bool { return one.Type == earlier.Type }) {
			result.Conditions = append(result.Conditions, earlier)
		}
	}

	slices.SortFunc(result.Conditions, func(one, other corev1.PodCondition) int {
		return slices.Compare([]byte(one.Type), []byte(other.Type))
	})

	return result
}

// phaseWhenOver is the phase of a pod of which no container starts again; empty for any other.
func phaseWhenOver(pod *corev1.Pod, states map[string]kubeletapi.ContainerState) corev1.PodPhase {
	if pod.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		return ""
	}

	ended := func(container corev1.Container) bool {
		state := states[container.Name]

		return state.FinishedAt != nil && (state.ExitCode == 0 || pod.Spec.RestartPolicy == corev1.RestartPolicyNever)
	}
	failed := func(container corev1.Container) bool { return states[container.Name].ExitCode != 0 }

	switch {
	case !allOf(pod.Spec.Containers, ended):
		return ""
	case slices.ContainsFunc(pod.Spec.Containers, failed):
		return corev1.PodFailed
	}

	return corev1.PodSucceeded
}

func containerStatus(pod *corev1.Pod, container corev1.Container, state kubeletapi.ContainerState) corev1.ContainerStatus {
	started := state.StartedAt != nil && state.FinishedAt == nil
	id := sha256.Sum256(fmt.Appendf(nil, "%s%s/%s/%d", pod.Annotations[hashAnnotation], pod.UID, container.Name, state.Restarts))
	image := sha256.Sum256([]byte(container.Image))
	result := corev1.ContainerStatus{
		Name:         container.Name,
		Image:        container.Image,
		RestartCount: int32(state.Restarts), //nolint:gosec
		Ready:        state.Ready,
		Started:      &started,
	}

	if state.StartedAt != nil {
		result.ContainerID = "containerd://" + hex.EncodeToString(id[:])
		result.ImageID = "sha256:" + hex.EncodeToString(image[:])
	}

	switch {
	case started:
		result.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(*state.StartedAt).Rfc3339Copy()}
	case state.FinishedAt != nil:
		over := &corev1.ContainerStateTerminated{
			ExitCode:    int32(state.ExitCode), //nolint:gosec
			Reason:      state.Reason,
			Message:     state.Message,
			FinishedAt:  metav1.NewTime(*state.FinishedAt).Rfc3339Copy(),
			ContainerID: result.ContainerID,
		}
		if state.StartedAt != nil {
			over.StartedAt = metav1.NewTime(*state.StartedAt).Rfc3339Copy()
		}

		result.State.Terminated = over
	default:
		waiting := &corev1.ContainerStateWaiting{Reason: state.Reason, Message: state.Message}
		if waiting.Reason == "" {
			waiting.Reason = "ContainerCreating"
		}

		result.State.Waiting = waiting
	}

	return result
}
