package kubelet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	hashAnnotation   = "kubernetes.io/config.hash"
	sourceAnnotation = "kubernetes.io/config.source"
	seenAnnotation   = "kubernetes.io/config.seen"
	hashLength       = 16 // bytes, as the kubelet's
)

// status is a static pod's status, by which the next one knows since when things are as they are.
type status = corev1.PodStatus

// staticPods are the machine's own pods. Each has a mirror at the API server, which
// everybody can look at and nobody can change.
type staticPods struct {
	settings kubeletapi.Settings
	identity *identity
	report   func(kubeletapi.Event)
	node     *node
	pods     *pods
	touched  chan struct{}

	mu       sync.Mutex
	wanted   []*corev1.Pod
	statuses map[string]status
	reported []byte
}

func isMirror(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]

	return mirror
}

func (s *staticPods) touch() {
	select {
	case s.touched <- struct{}{}:
	default:
	}
}

// set takes the static pods that there are from now on.
func (s *staticPods) set(given []kubeletapi.StaticPod) error {
	s.mu.Lock()
	defer s.mu.Unlock()

	now := metav1.Now().Rfc3339Copy()
	statuses := map[string]status{}

	var (
		wanted []*corev1.Pod
		report kubeletapi.StaticPodReport
	)

	for _, one := range given {
		pod, err := s.read(one)
		if err != nil {
			return err
		}

		key := pod.Namespace + "/" + pod.Name
		hostIPs := s.pods.network.hostIPs
		pod.Status = podStatus(pod, one.Containers, hostIPs, hostIPs, s.statuses[key], now)
		statuses[key] = pod.Status
		wanted = append(wanted, pod)

		encoded, err := json.Marshal(pod.Status)
		if err != nil {
			return err
		}

		report.Pods = append(report.Pods, kubeletapi.StaticPodStatus{Namespace: pod.Namespace, Name: pod.Name, Status: encoded})
	}

	s.wanted, s.statuses = wanted, statuses

	if encoded, err := json.Marshal(report); err == nil && !slices.Equal(encoded, s.reported) {
		s.reported = encoded
		s.report(kubeletapi.Event{StaticPods: &report})
	}

	s.touch()

	return nil
}

// read is a manifest as the kubelet understands it.
func (s *staticPods) read(given kubeletapi.StaticPod) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := json.Unmarshal(given.Manifest, pod); err != nil {
		return nil, fmt.Errorf("the manifest of a static pod: %w", err)
	}

	if pod.Name == "" || len(pod.Spec.Containers) == 0 {
		return nil, errors.New("the manifest of a static pod has no name or no containers")
	}

	digest := sha256.New()
	fmt.Fprintf(digest, "%s:%s:%s", s.settings.NodeName, given.Source, given.Manifest)
	hash := hex.EncodeToString(digest.Sum(nil)[:hashLength])

	pod.Name = fmt.Sprintf("%s-%s", pod.Name, s.settings.NodeName)
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}

	pod.UID = ""
	pod.Spec.NodeName = s.settings.NodeName

	if given.Source == "file" {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
			Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute,
		})
	}

	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, hashAnnotation, hash)
	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, sourceAnnotation, given.Source)
	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, corev1.MirrorPodAnnotationKey, hash)

	return pod, nil
}

func (s *staticPods) run(ctx context.Context) {
	for {
		// As often as a kubelet looks at its pods again; what happens in between touches.
		wait := statusRetry

		if err := s.reconcile(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "The mirror pods are not what they should be")

			wait = time.Second
		}

		select {
		case <-ctx.Done():
			return
		case <-s.touched:
		case <-time.After(wait):
		}
	}
}

// reconcile brings the mirrors at the API server to what the machine runs.
func (s *staticPods) reconcile(ctx context.Context) error {
	node := s.node.get()
	if node == nil || !s.pods.areKnown() {
		return nil
	}

	s.mu.Lock()
	wanted := slices.Clone(s.wanted)
	s.mu.Unlock()

	mirrors := map[string]*corev1.Pod{}

	for _, pod := range s.pods.list() {
		if isMirror(pod) {
			mirrors[pod.Namespace+"/"+pod.Name] = pod
		}
	}

	var failures []error

	for _, pod := range wanted {
		key := pod.Namespace + "/" + pod.Name
		failures = append(failures, s.mirror(ctx, pod, mirrors[key], node))

		delete(mirrors, key)
	}

	for _, mirror := range mirrors {
		failures = append(failures, s.remove(ctx, mirror))
	}

	return errors.Join(failures...)
}

// mirror brings one mirror to what its pod is.
func (s *staticPods) mirror(ctx context.Context, pod, mirror *corev1.Pod, node *corev1.Node) error {
	if mirror != nil && (mirror.Annotations[hashAnnotation] != pod.Annotations[hashAnnotation] || mirror.DeletionTimestamp != nil) {
		if err := s.remove(ctx, mirror); err != nil {
			return err
		}

		mirror = nil
	}

	if mirror == nil {
		created, err := s.create(ctx, pod, node)
		if apierrors.IsAlreadyExists(err) {
			// The last one is not seen yet, or not seen to be gone yet. That is still to come, and touches.
			return nil
		}

		if err != nil {
			return err
		}

		mirror = created
	}

	return reportStatus(ctx, s.identity, mirror, pod.Status)
}

func (s *staticPods) create(ctx context.Context, pod *corev1.Pod, node *corev1.Node) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, playTimeout)
	defer cancel()

	controller := true
	mirror := pod.DeepCopy()
	mirror.Status = corev1.PodStatus{}
	mirror.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &controller,
	}}
	metav1.SetMetaDataAnnotation(&mirror.ObjectMeta, seenAnnotation, time.Now().Format(time.RFC3339Nano))

	return s.identity.client.CoreV1().Pods(pod.Namespace).Create(ctx, mirror, metav1.CreateOptions{})
}

func (s *staticPods) remove(ctx context.Context, mirror *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, playTimeout)
	defer cancel()

	now := int64(0)

	err := s.identity.client.CoreV1().Pods(mirror.Namespace).Delete(ctx, mirror.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: &mirror.UID},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}

	return err
}
