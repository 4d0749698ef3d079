package kubelet

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const apiServer = `{"metadata": {"name": "kube-apiserver", "namespace": "kube-system"},
"spec": {"hostNetwork": true, "containers": [{"name": "kube-apiserver", "image": "apiserver:1"}]}}`

func TestAManifest(t *testing.T) {
	pods := &staticPods{settings: settings()}

	pod, err := pods.read(kubeletapi.StaticPod{Manifest: json.RawMessage(apiServer), Source: "file"})
	if err != nil {
		t.Fatal(err)
	}

	if pod.Name != "kube-apiserver-worker1" || pod.Spec.NodeName != "worker1" || len(pod.Spec.Tolerations) != 1 {
		t.Errorf("%+v", pod)
	}

	if !isMirror(pod) || pod.Annotations[sourceAnnotation] != "file" || len(pod.Annotations[hashAnnotation]) != 2*hashLength {
		t.Errorf("%v", pod.Annotations)
	}

	other, err := pods.read(kubeletapi.StaticPod{Manifest: json.RawMessage(strings.Replace(apiServer, ":1", ":2", 1)), Source: "file"})
	if err != nil {
		t.Fatal(err)
	}

	if other.Annotations[hashAnnotation] == pod.Annotations[hashAnnotation] {
		t.Errorf("both have the hash %s", other.Annotations[hashAnnotation])
	}

	for _, manifest := range []string{`{`, `{"metadata": {"name": "x"}}`, `{"spec": {"containers": [{"name": "x"}]}}`} {
		if _, err := pods.read(kubeletapi.StaticPod{Manifest: json.RawMessage(manifest)}); err == nil {
			t.Errorf("%s is a manifest", manifest)
		}
	}
}

func TestTheStatusOfAStaticPodFollowsItsContainers(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}, {Name: "b", Image: "b"}}}}
	at, later := metav1.NewTime(now), metav1.NewTime(now.Add(time.Minute))
	started := now.Add(-time.Minute)
	of := func(pod corev1.PodStatus, kind corev1.PodConditionType) corev1.PodCondition {
		for _, condition := range pod.Conditions {
			if condition.Type == kind {
				return condition
			}
		}

		return corev1.PodCondition{}
	}

	first := podStatus(pod, []kubeletapi.ContainerState{{Name: "a", StartedAt: &started, Ready: true}}, []string{"10.5.0.11"}, []string{"10.5.0.11"}, status{}, at)
	if first.Phase != corev1.PodPending || first.ContainerStatuses[1].State.Waiting == nil || of(first, corev1.PodReady).Status != corev1.ConditionFalse {
		t.Errorf("%+v", first)
	}

	both := []kubeletapi.ContainerState{{Name: "a", StartedAt: &started, Ready: true}, {Name: "b", StartedAt: &started, Ready: true, Restarts: 3}}

	second := podStatus(pod, both, []string{"10.5.0.11"}, []string{"10.5.0.11"}, first, later)
	if ready := of(second, corev1.PodReady); second.Phase != corev1.PodRunning || ready.Status != corev1.ConditionTrue || !ready.LastTransitionTime.Equal(&later) {
		t.Errorf("%+v", second)
	}

	if scheduled := of(second, corev1.PodScheduled); !scheduled.LastTransitionTime.Equal(&at) || !second.StartTime.Equal(&at) {
		t.Errorf("scheduled %+v, started %s", scheduled, second.StartTime)
	}

	if restarts := second.ContainerStatuses[1].RestartCount; restarts != 3 {
		t.Errorf("%d restarts", restarts)
	}

	both[1].FinishedAt, both[1].Ready, both[1].ExitCode, both[1].Reason = &started, false, 1, "Error"

	third := podStatus(pod, both, []string{"10.5.0.11"}, []string{"10.5.0.11"}, second, later)
	if over := third.ContainerStatuses[1].State.Terminated; over == nil || over.ExitCode != 1 || of(third, corev1.ContainersReady).Status != corev1.ConditionFalse {
		t.Errorf("%+v", third)
	}
}
