package staticpods_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"cluster-stack/lab/node/internal/controlplane"
	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/staticpods"
)

const patience = 30 * time.Second

func manifest(t *testing.T, script string, readiness *controlplane.Probe) staticpods.Manifest {
	t.Helper()

	pod := controlplane.Pod{
		Metadata: controlplane.Metadata{Name: "server", Namespace: "kube-system"},
		Spec:     controlplane.PodSpec{Containers: []controlplane.Container{{Name: "main", Command: []string{script}, ReadinessProbe: readiness}}},
	}

	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}

	return staticpods.Manifest{Pod: pod, Raw: raw}
}

func newRunner(t *testing.T) *staticpods.Runner {
	t.Helper()

	runner := staticpods.New(staticpods.Machine{
		Program: func(_ *controlplane.Pod, container *controlplane.Container) (*staticpods.Program, error) {
			if container.Command[0] == "refused" {
				return nil, fmt.Errorf("there is no such program")
			}

			return &staticpods.Program{Name: "sh", Arguments: []string{"-c", container.Command[0]}}, nil
		},
		Log:     func(*controlplane.Pod, *controlplane.Container) func(string) { return func(string) {} },
		Say:     t.Logf,
		Changed: func() {},
	})
	t.Cleanup(runner.Stop)

	return runner
}

func until(t *testing.T, runner *staticpods.Runner, what string, is func(kubeletapi.ContainerState) bool) kubeletapi.ContainerState {
	t.Helper()

	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		states := runner.States()
		if len(states) == 1 && is(states[0].Containers[0]) {
			return states[0].Containers[0]
		}

		if time.Now().After(end) {
			t.Fatalf("the container is not %s: %+v", what, states)
		}
	}
}

func TestAContainerThatEndsIsStartedAgainAtOnceAndThenLater(t *testing.T) {
	runner := newRunner(t)
	runner.Set([]staticpods.Manifest{manifest(t, "exit 3", nil)})

	state := until(t, runner, "in a crash loop", func(state kubeletapi.ContainerState) bool { return state.Reason == "CrashLoopBackOff" })
	if state.Restarts != 1 || state.ExitCode != 3 || state.Ready {
		t.Errorf("%+v", state)
	}
}

func TestAContainerThatIsToEndEnds(t *testing.T) {
	for policy, code := range map[string]int{"OnFailure": 0, "Never": 3} {
		t.Run(policy, func(t *testing.T) {
			given := manifest(t, fmt.Sprintf("exit %d", code), nil)
			given.Pod.Spec.RestartPolicy = policy
			runner := newRunner(t)
			runner.Set([]staticpods.Manifest{given})
			until(t, runner, "over", func(state kubeletapi.ContainerState) bool { return state.FinishedAt != nil })
			time.Sleep(50 * time.Millisecond) // it would start again at once

			state := runner.States()[0].Containers[0]
			if state.FinishedAt == nil || state.Restarts != 0 || state.ExitCode != code {
				t.Errorf("%+v", state)
			}
		})
	}
}

func TestAContainerThatFailsIsStartedAgainIfItsPodIsToSucceed(t *testing.T) {
	given := manifest(t, "exit 3", nil)
	given.Pod.Spec.RestartPolicy = "OnFailure"
	runner := newRunner(t)
	runner.Set([]staticpods.Manifest{given})
	until(t, runner, "started again", func(state kubeletapi.ContainerState) bool { return state.Restarts > 0 })
}

func TestAChangedPodStartsAnewAndAnUnchangedOneStays(t *testing.T) {
	runner := newRunner(t)
	runner.Set([]staticpods.Manifest{manifest(t, "exec sleep 1000", nil)})

	first := until(t, runner, "running", func(state kubeletapi.ContainerState) bool { return state.Ready })

	runner.Set([]staticpods.Manifest{manifest(t, "exec sleep 1000", nil)})

	if now := runner.States()[0].Containers[0]; !now.StartedAt.Equal(*first.StartedAt) {
		t.Error("the unchanged pod has been started again")
	}

	runner.Set([]staticpods.Manifest{manifest(t, "exec sleep 2000", nil)})

	until(t, runner, "running again", func(state kubeletapi.ContainerState) bool {
		return state.Ready && state.StartedAt.After(*first.StartedAt)
	})

	runner.Stop()

	if states := runner.States(); len(states) != 0 {
		t.Errorf("after the stop there is %+v", states)
	}
}

func TestAContainerIsReadyWhenItsProbeSaysSo(t *testing.T) {
	var healthy atomic.Bool

	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		if !healthy.Load() {
			answer.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)

	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}

	port, err := strconv.Atoi(address.Port())
	if err != nil {
		t.Fatal(err)
	}

	runner := newRunner(t)
	runner.Set([]staticpods.Manifest{manifest(t, "exec sleep 1000", &controlplane.Probe{
		HTTPGet: controlplane.HTTPGet{Host: address.Hostname(), Port: port, Path: "/readyz", Scheme: "HTTP"}, PeriodSeconds: 1,
	})})

	if state := until(t, runner, "running", func(state kubeletapi.ContainerState) bool { return state.StartedAt != nil }); state.Ready {
		t.Error("it is ready before its probe says so")
	}

	healthy.Store(true)
	until(t, runner, "ready", func(state kubeletapi.ContainerState) bool { return state.Ready })
	healthy.Store(false)
	until(t, runner, "not ready any more", func(state kubeletapi.ContainerState) bool { return !state.Ready })
}

func TestAProgramThatIsRefusedSaysWhy(t *testing.T) {
	runner := newRunner(t)
	runner.Set([]staticpods.Manifest{manifest(t, "refused", nil)})

	state := until(t, runner, "refused", func(state kubeletapi.ContainerState) bool { return state.Reason == "CreateContainerError" })
	if state.Message != "there is no such program" || state.StartedAt != nil {
		t.Errorf("%+v", state)
	}
}
