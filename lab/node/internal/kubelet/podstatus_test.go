package kubelet

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cluster-stack/lab/node/internal/kubeletapi"
)

func TestThePhaseOfAPodThatIsToEnd(t *testing.T) {
	now := time.Now()
	running := kubeletapi.ContainerState{StartedAt: &now, Ready: true}
	done := kubeletapi.ContainerState{StartedAt: &now, FinishedAt: &now}
	failed := kubeletapi.ContainerState{StartedAt: &now, FinishedAt: &now, ExitCode: 3}

	for _, test := range []struct {
		policy      corev1.RestartPolicy
		one, other  kubeletapi.ContainerState
		phase       corev1.PodPhase
		readyReason string
	}{
		{corev1.RestartPolicyOnFailure, running, running, corev1.PodRunning, ""},
		{corev1.RestartPolicyOnFailure, done, running, corev1.PodRunning, "ContainersNotReady"},
		{corev1.RestartPolicyOnFailure, done, done, corev1.PodSucceeded, "PodCompleted"},
		{corev1.RestartPolicyOnFailure, done, failed, corev1.PodRunning, "ContainersNotReady"},
		{corev1.RestartPolicyNever, done, failed, corev1.PodFailed, "PodCompleted"},
		{corev1.RestartPolicyNever, done, done, corev1.PodSucceeded, "PodCompleted"},
		{corev1.RestartPolicyAlways, done, done, corev1.PodRunning, "ContainersNotReady"},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{
			RestartPolicy: test.policy, Containers: []corev1.Container{{Name: "one"}, {Name: "other"}},
		}}
		test.one.Name, test.other.Name = "one", "other"
		states := []kubeletapi.ContainerState{test.one, test.other}
		found := podStatus(pod, states, []string{"10.0.0.1"}, []string{"10.0.0.1"}, corev1.PodStatus{}, metav1.Now())

		if found.Phase != test.phase {
			t.Errorf("%s: %s", test.policy, found.Phase)
		}

		for _, condition := range found.Conditions {
			if condition.Type == corev1.PodReady && condition.Reason != test.readyReason {
				t.Errorf("%s, %s: not ready because of %q", test.policy, test.phase, condition.Reason)
			}
		}
	}
}
