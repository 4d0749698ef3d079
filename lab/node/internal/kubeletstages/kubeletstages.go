// Package kubeletstages says what becomes of a pod on a node where every image is
// there, every container starts and none fails: which status a kubelet reports
// next, and when. The answers are in pods.yaml, as stages of kwok
// (https://kwok.sigs.k8s.io/docs/user/stages-configuration/), and kwok's own
// library reads and applies them. Who talks to the API server is the caller's
// affair.
package kubeletstages

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/kwok/pkg/utils/gotpl"
	"sigs.k8s.io/kwok/pkg/utils/lifecycle"
	"sigs.k8s.io/yaml"
)

//go:embed pods.yaml
var definitions []byte

// Node is what the stages know of the node besides the pod; templates and
// expressions find it as .kubelet.
type Node struct {
	HostIPs []string
	// PodIPs are the addresses that this pod has, or gets when it starts; none if it cannot start for want of a network.
	PodIPs       []string
	BootedAt     time.Time
	ShuttingDown bool
}

// Actions are what a stage asks for.
type Actions interface {
	Event(kind, reason, message string) error
	PatchStatus(kind types.PatchType, patch []byte) error
	Delete() error
}

// Stages are the definitions, shared by all kubelets.
type Stages struct {
	lifecycle lifecycle.Lifecycle
	renderer  gotpl.Renderer
}

// Stage is what happens to one pod next.
type Stage struct {
	Name  string
	Delay time.Duration

	stage    *lifecycle.Stage
	renderer gotpl.Renderer
	pod      *unstructured.Unstructured
}

// Load reads the definitions.
func Load() (*Stages, error) {
	var stages []*internalversion.Stage

	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(definitions)))

	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}

		if err != nil {
			return nil, err
		}

		var stage v1alpha1.Stage
		if err := yaml.UnmarshalStrict(document, &stage); err != nil {
			return nil, fmt.Errorf("a pod stage: %w", err)
		}

		converted, err := internalversion.ConvertToInternalStage(&stage)
		if err != nil {
			return nil, fmt.Errorf("pod stage %s: %w", stage.Name, err)
		}

		stages = append(stages, converted)
	}

	all, err := lifecycle.NewLifecycle(stages)
	if err != nil {
		return nil, err
	}

	loaded := &Stages{lifecycle: all, renderer: gotpl.NewRenderer(nil)}

	// The library compiles an expression when it first needs it, and is not made for two who need it at once.
	if _, err := loaded.Next(context.Background(), &corev1.Pod{}, Node{}, time.Now()); err != nil {
		return nil, err
	}

	return loaded, nil
}

// Next is what happens to a pod next; nil if it stays as it is.
func (s *Stages) Next(ctx context.Context, pod *corev1.Pod, node Node, now time.Time) (*Stage, error) {
	view, err := seen(pod, node, now)
	if err != nil {
		return nil, err
	}

	event := &lifecycle.Event{Labels: pod.Labels, Annotations: pod.Annotations, Data: view}

	stage, err := s.lifecycle.Match(ctx, event)
	if err != nil || stage == nil {
		return nil, err
	}

	delay, _, err := stage.Delay(ctx, event, now)
	if err != nil {
		return nil, fmt.Errorf("the delay of stage %s: %w", stage.Name(), err)
	}

	// Nobody waits for a container longer than its grace period.
	if pod.DeletionTimestamp != nil {
		delay = min(delay, pod.DeletionTimestamp.Sub(now))
	}

	return &Stage{Name: stage.Name(), Delay: max(delay, 0), stage: stage, renderer: s.renderer, pod: view}, nil
}

// Play does what the stage says.
func (s *Stage) Play(actions Actions) error {
	_, err := s.stage.DoSteps(
		0, s.pod.GetFinalizers(), s.pod, s.renderer,
		func(event *internalversion.StageEvent) error {
			return actions.Event(event.Type, event.Reason, event.Message)
		},
		actions.Delete,
		func(patch *lifecycle.Patch) error {
			if patch.Subresource != "status" {
				return fmt.Errorf("stage %s: a kubelet changes nothing of a pod but its status", s.Name)
			}

			return actions.PatchStatus(patch.Type, patch.Data)
		},
		func(*lifecycle.Apply) error {
			return fmt.Errorf("stage %s: a kubelet applies no resources", s.Name)
		},
	)

	return err
}

// seen is the pod with .kubelet.
func seen(pod *corev1.Pod, node Node, now time.Time) (*unstructured.Unstructured, error) {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
	if err != nil {
		return nil, err
	}

	object["apiVersion"], object["kind"] = "v1", "Pod"
	object["kubelet"] = map[string]any{
		"now":          now.UTC().Format(time.RFC3339),
		"bootedAt":     node.BootedAt.UTC().Format(time.RFC3339),
		"hostIPs":      anySlice(node.HostIPs),
		"podIPs":       anySlice(node.PodIPs),
		"shuttingDown": node.ShuttingDown,
	}

	return &unstructured.Unstructured{Object: object}, nil
}

func anySlice(values []string) []any {
	slice := make([]any, len(values))
	for index, value := range values {
		slice[index] = value
	}

	return slice
}
