package kubeletstages_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"cluster-stack/lab/node/internal/kubeletstages"
)

var (
	now  = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	node = kubeletstages.Node{HostIPs: []string{"10.5.0.11"}, PodIPs: []string{"10.244.1.2"}, BootedAt: now.Add(-time.Hour)}
)

// world is a pod at an API server that believes everything a kubelet says.
type world struct {
	t      *testing.T
	stages *kubeletstages.Stages
	pod    *corev1.Pod
	gone   bool
	events []string
	played []string
}

func newWorld(t *testing.T, pod *corev1.Pod) *world {
	t.Helper()

	stages, err := kubeletstages.Load()
	if err != nil {
		t.Fatal(err)
	}

	return &world{t: t, stages: stages, pod: pod}
}

func (w *world) Event(_, reason, _ string) error {
	w.events = append(w.events, reason)

	return nil
}

func (w *world) PatchStatus(kind types.PatchType, patch []byte) error {
	if kind != types.StrategicMergePatchType {
		w.t.Fatalf("a patch of type %s", kind)
	}

	before, err := json.Marshal(w.pod)
	if err != nil {
		w.t.Fatal(err)
	}

	after, err := strategicpatch.StrategicMergePatch(before, patch, corev1.Pod{})
	if err != nil {
		w.t.Fatalf("%s: %v", patch, err)
	}

	w.pod = &corev1.Pod{}
	if err := json.Unmarshal(after, w.pod); err != nil {
		w.t.Fatalf("%s: %v", after, err)
	}

	return nil
}

func (w *world) Delete() error {
	w.gone = true

	return nil
}

// play lets the kubelet work until it has nothing more to do, and says how long that took.
func (w *world) play(node kubeletstages.Node, at time.Time) time.Duration {
	w.t.Helper()

	begin := at

	for range 10 {
		stage, err := w.stages.Next(context.Background(), w.pod, node, at)
		if err != nil {
			w.t.Fatal(err)
		}

		if stage == nil || w.gone {
			return at.Sub(begin)
		}

		at = at.Add(stage.Delay)

		if err := stage.Play(w); err != nil {
			w.t.Fatalf("%s: %v", stage.Name, err)
		}

		w.played = append(w.played, stage.Name)
	}

	w.t.Fatalf("the stages have no end: %v", w.played)

	return 0
}

func (w *world) mustHavePlayed(stages ...string) {
	w.t.Helper()

	if !slices.Equal(w.played, stages) {
		w.t.Fatalf("played %v, not %v", w.played, stages)
	}

	w.played = nil
}

func (w *world) condition(kind corev1.PodConditionType) corev1.PodCondition {
	for _, condition := range w.pod.Status.Conditions {
		if condition.Type == kind {
			return condition
		}
	}

	return corev1.PodCondition{}
}

func podOf(change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "1b0c", Generation: 1},
		Spec: corev1.PodSpec{
			NodeName:      "worker1",
			RestartPolicy: corev1.RestartPolicyAlways,
			Containers:    []corev1.Container{{Name: "web", Image: "nginx:1.29"}, {Name: "log", Image: "fluent@sha256:00"}},
		},
		Status: corev1.PodStatus{
			Phase:      corev1.PodPending,
			Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}},
		},
	}

	if change != nil {
		change(pod)
	}

	return pod
}

func running(t *testing.T, change func(*corev1.Pod)) *world {
	t.Helper()

	w := newWorld(t, podOf(change))
	w.play(node, now)

	if w.pod.Status.Phase != corev1.PodRunning {
		t.Fatalf("the pod is %s after %v", w.pod.Status.Phase, w.played)
	}

	w.played, w.events = nil, nil

	return w
}

func (w *world) delete(at time.Time, grace int64) {
	deadline := metav1.NewTime(at.Add(time.Duration(grace) * time.Second))
	w.pod.DeletionTimestamp, w.pod.DeletionGracePeriodSeconds = &deadline, &grace
}

func TestAPodRuns(t *testing.T) {
	w := newWorld(t, podOf(nil))
	w.play(node, now)
	w.mustHavePlayed("pod-create", "pod-ready")

	status := w.pod.Status
	if status.Phase != corev1.PodRunning || status.PodIP != "10.244.1.2" || status.HostIP != "10.5.0.11" {
		t.Errorf("%s at %s on %s", status.Phase, status.PodIP, status.HostIP)
	}

	for _, kind := range []corev1.PodConditionType{
		corev1.PodScheduled, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodReadyToStartContainers,
	} {
		if w.condition(kind).Status != corev1.ConditionTrue || w.condition(kind).Reason != "" {
			t.Errorf("%+v", w.condition(kind))
		}
	}

	for _, container := range status.ContainerStatuses {
		if !container.Ready || container.State.Running == nil || !container.State.Running.StartedAt.After(now.Add(-time.Second)) {
			t.Errorf("%+v", container)
		}
	}

	if image := status.ContainerStatuses[1].ImageID; len(image) != len("fluent@sha256:")+64 {
		t.Errorf("image id %s", image)
	}
}

func TestInitContainersComeFirst(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	w := newWorld(t, podOf(func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{
			{Name: "prepare", Image: "busybox"},
			{Name: "beside", Image: "proxy", RestartPolicy: &always},
		}
	}))
	w.play(node, now)
	w.mustHavePlayed("pod-create", "pod-init-container-completed", "pod-ready")

	prepare, beside := w.pod.Status.InitContainerStatuses[0], w.pod.Status.InitContainerStatuses[1]
	if prepare.State.Terminated == nil || prepare.State.Terminated.Reason != "Completed" {
		t.Errorf("%+v", prepare)
	}

	if beside.State.Running == nil || !*beside.Started {
		t.Errorf("%+v", beside)
	}

	if w.condition(corev1.PodReady).Status != corev1.ConditionTrue {
		t.Errorf("%+v", w.condition(corev1.PodReady))
	}
}

func TestWithoutANetworkAPodWaits(t *testing.T) {
	w := newWorld(t, podOf(nil))
	alone := node
	alone.PodIPs = nil
	w.play(alone, now)
	w.mustHavePlayed("pod-create")

	if waiting := w.pod.Status.ContainerStatuses[0].State.Waiting; waiting == nil || waiting.Reason != "ContainerCreating" {
		t.Errorf("%+v", waiting)
	}

	w.play(node, now)
	w.mustHavePlayed("pod-ready")
}

func TestAReadinessGateKeepsThePodUnready(t *testing.T) {
	w := running(t, func(pod *corev1.Pod) {
		pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/in-balancer"}}
	})

	if ready := w.condition(corev1.PodReady); ready.Status != corev1.ConditionFalse || ready.Reason != "ReadinessGatesNotReady" {
		t.Fatalf("%+v", ready)
	}

	w.pod.Status.Conditions = append(w.pod.Status.Conditions, corev1.PodCondition{Type: "example.org/in-balancer", Status: "True"})
	w.play(node, now)
	w.mustHavePlayed("pod-ready-again")

	if ready := w.condition(corev1.PodReady); ready.Status != corev1.ConditionTrue || ready.Reason != "" {
		t.Fatalf("%+v", ready)
	}
}

func TestAJobsPodSucceeds(t *testing.T) {
	w := newWorld(t, podOf(func(pod *corev1.Pod) {
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "once"}}
		pod.Annotations = map[string]string{"pod-complete.stage.kwok.x-k8s.io/delay": "40s"}
	}))

	if took := w.play(node, now); took < 40*time.Second {
		t.Errorf("it took %s", took)
	}

	w.mustHavePlayed("pod-create", "pod-ready", "pod-complete")

	if ready := w.condition(corev1.PodReady); w.pod.Status.Phase != corev1.PodSucceeded || ready.Reason != "PodCompleted" {
		t.Errorf("%s %+v", w.pod.Status.Phase, ready)
	}

	if state := w.pod.Status.ContainerStatuses[0].State; state.Running != nil || state.Terminated == nil || state.Terminated.ExitCode != 0 {
		t.Errorf("%+v", state)
	}
}

func TestDeletion(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		grace  int64
		took   time.Duration
		phase  corev1.PodPhase
	}{
		"the containers end in a second": {nil, 30, time.Second, corev1.PodSucceeded},
		"they have no more than the grace period": {func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{"pod-delete.stage.kwok.x-k8s.io/delay": "1h"}
		}, 30, 30 * time.Second, corev1.PodSucceeded},
		"a job did not reach its end": {func(pod *corev1.Pod) {
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "once"}}
			pod.Annotations = map[string]string{"pod-complete.stage.kwok.x-k8s.io/delay": "1h"}
		}, 0, 0, corev1.PodFailed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, podOf(test.change))

			for range 2 {
				stage, err := w.stages.Next(context.Background(), w.pod, node, now)
				if err != nil {
					t.Fatal(err)
				}

				if err := stage.Play(w); err != nil {
					t.Fatal(err)
				}
			}

			w.delete(now, test.grace)

			if took := w.play(node, now); took != test.took {
				t.Errorf("it took %s", took)
			}

			if w.pod.Status.Phase != test.phase {
				t.Errorf("it ended as %s", w.pod.Status.Phase)
			}

			if w.gone != (test.grace != 0) {
				t.Errorf("gone: %v; with a grace period of 0 it was said already", w.gone)
			}
		})
	}
}

func TestAPodThatNeverStartedIsGoneAtOnce(t *testing.T) {
	w := newWorld(t, podOf(nil))
	w.delete(now, 30)
	w.play(node, now)
	w.mustHavePlayed("pod-gone")
}

func TestAfterARebootContainersStartAgain(t *testing.T) {
	w := running(t, func(pod *corev1.Pod) { pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure })
	rebooted := node
	rebooted.BootedAt = now.Add(time.Hour)
	rebooted.PodIPs = []string{"10.244.1.9"}
	first := w.pod.Status.ContainerStatuses[0]
	w.play(rebooted, now.Add(2*time.Hour))
	w.mustHavePlayed("pod-restart")

	again := w.pod.Status.ContainerStatuses[0]
	if again.RestartCount != 1 || again.ContainerID == first.ContainerID || again.LastTerminationState.Terminated == nil {
		t.Errorf("%+v", again)
	}

	if len(w.pod.Status.PodIPs) != 1 || w.pod.Status.PodIP != "10.244.1.9" {
		t.Errorf("addresses %v", w.pod.Status.PodIPs)
	}

	rebooted.BootedAt = now.Add(3 * time.Hour)
	w.play(rebooted, now.Add(4*time.Hour))

	if count := w.pod.Status.ContainerStatuses[0].RestartCount; count != 2 {
		t.Errorf("restarted %d times", count)
	}
}

func TestAfterARebootAPodThatMustNotRestartHasFailed(t *testing.T) {
	w := running(t, func(pod *corev1.Pod) { pod.Spec.RestartPolicy = corev1.RestartPolicyNever })
	rebooted := node
	rebooted.BootedAt = now.Add(time.Hour)
	w.play(rebooted, now.Add(2*time.Hour))
	w.mustHavePlayed("pod-lost")

	if w.pod.Status.Phase != corev1.PodFailed || w.pod.Status.ContainerStatuses[0].State.Terminated.ExitCode != 137 {
		t.Errorf("%+v", w.pod.Status)
	}
}

func TestAPodOfANodeThatWasTakenForDeadIsReadyAgain(t *testing.T) {
	w := running(t, nil)

	for index := range w.pod.Status.Conditions {
		if w.pod.Status.Conditions[index].Type == corev1.PodReady {
			w.pod.Status.Conditions[index].Status = corev1.ConditionFalse
			w.pod.Status.Conditions[index].Reason = "NodeNotReady"
		}
	}

	w.play(node, now)
	w.mustHavePlayed("pod-ready-again")

	if ready := w.condition(corev1.PodReady); ready.Status != corev1.ConditionTrue || ready.Reason != "" {
		t.Errorf("%+v", ready)
	}
}

func TestAMachineThatGoesDownEndsItsPods(t *testing.T) {
	w := running(t, nil)
	leaving := node
	leaving.ShuttingDown = true
	w.play(leaving, now)
	w.mustHavePlayed("pod-terminate")

	if w.pod.Status.Phase != corev1.PodFailed || w.condition(corev1.DisruptionTarget).Reason != "TerminationByKubelet" {
		t.Errorf("%+v", w.pod.Status)
	}

	rebooted := running(t, func(pod *corev1.Pod) { pod.Spec.RestartPolicy = corev1.RestartPolicyNever })
	leaving.BootedAt = now.Add(time.Hour)
	rebooted.play(leaving, now.Add(2*time.Hour))
	rebooted.mustHavePlayed("pod-terminate")

	late := newWorld(t, podOf(nil))
	late.play(leaving, now)
	late.mustHavePlayed("pod-reject")
}
