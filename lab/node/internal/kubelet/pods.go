package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/kubeletstages"
)

const (
	playTimeout = 30 * time.Second
	retryFirst  = 200 * time.Millisecond
	retryLast   = 10 * time.Second
)

// podID tells a pod from another one of the same name that comes after it.
type podID = types.UID

// pods are those that the cluster put on this node: each is led from stage to
// stage. The mirrors of static pods are not among them.
type pods struct {
	settings kubeletapi.Settings
	identity *identity
	network  *podNetwork
	stages   *kubeletstages.Stages
	log      logr.Logger
	// networkCame is called when a pod has brought the pod network, mirrorChanged when a mirror pod came, changed or went.
	networkCame   func()
	mirrorChanged func()
	containers    *containers

	ctx   context.Context //nolint:containedctx // of the life of the kubelet, for what timers start
	store cache.Store

	mu           sync.Mutex
	known        bool // all pods that there were at the start
	shuttingDown bool
	work         map[podID]*work
}

// work is what is about to happen to one pod.
type work struct {
	stage    string // the next stage, if there is one
	timer    *time.Timer
	playing  bool
	again    bool   // look at the pod again after playing
	anew     bool   // even if it is the same
	done     string // the version of the pod for which there is nothing more to do
	failures int
}

func (p *pods) run(ctx context.Context) {
	store, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(
			p.identity.client.CoreV1().RESTClient(), "pods", "",
			fields.OneTermEqualSelector("spec.nodeName", p.settings.NodeName),
		),
		ObjectType: &corev1.Pod{},
		Transform:  withoutManagedFields,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    p.added,
			UpdateFunc: func(_, object any) { p.seen(object) },
			DeleteFunc: p.gone,
		},
	})

	p.mu.Lock()
	p.ctx, p.store = ctx, store
	p.mu.Unlock()

	go controller.RunWithContext(ctx)

	if !cache.WaitForCacheSync(ctx.Done(), controller.HasSynced) {
		return
	}

	// Pods that have addresses keep them, before others get any.
	for _, pod := range p.list() {
		if len(pod.Status.PodIPs) > 0 {
			p.network.addresses(pod)
		}
	}

	p.mu.Lock()
	p.known = true
	p.mu.Unlock()

	p.considerAll()
	p.mirrorChanged()
}

// areKnown says whether the pods that there were at the start have been seen.
func (p *pods) areKnown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.known
}

// list is every pod on this node, as the API server has it.
func (p *pods) list() []*corev1.Pod {
	p.mu.Lock()
	store := p.store
	p.mu.Unlock()

	if store == nil {
		return nil
	}

	var pods []*corev1.Pod

	for _, object := range store.List() {
		if pod, isPod := object.(*corev1.Pod); isPod {
			pods = append(pods, pod)
		}
	}

	return pods
}

func (p *pods) added(object any) {
	if pod, isPod := object.(*corev1.Pod); isPod {
		p.log.Info("SyncLoop ADD", "source", "api", "pod", pod.Namespace+"/"+pod.Name)
	}

	p.seen(object)
}

func (p *pods) seen(object any) {
	pod, isPod := object.(*corev1.Pod)
	if !isPod {
		return
	}

	if isMirror(pod) {
		p.mirrorChanged()

		return
	}

	came, err := p.network.brings(pod)
	if err != nil {
		p.log.Error(err, "The pod network was not recorded", "pod", pod.Name)
	}

	if came {
		p.log.Info("The pod network has come", "pod", pod.Name)
		p.networkCame()
		p.considerAll()
	}

	p.consider(pod, false)
}

func (p *pods) gone(object any) {
	if unknown, missed := object.(cache.DeletedFinalStateUnknown); missed {
		object = unknown.Obj
	}

	pod, isPod := object.(*corev1.Pod)
	if !isPod {
		return
	}

	p.log.Info("SyncLoop REMOVE", "source", "api", "pod", pod.Namespace+"/"+pod.Name)

	if isMirror(pod) {
		p.mirrorChanged()

		return
	}

	p.mu.Lock()

	if work := p.work[pod.UID]; work != nil && work.timer != nil {
		work.timer.Stop()
	}

	delete(p.work, pod.UID)
	p.mu.Unlock()

	p.network.release(pod.UID)
	p.containers.touch()
}

// considerAll looks at every pod again, because something that the stages depend on has changed.
func (p *pods) considerAll() {
	for _, pod := range p.list() {
		if !isMirror(pod) {
			p.consider(pod, true)
		}
	}
}

// consider decides what happens to a pod next, and when. What the machine runs becomes what it makes of it.
func (p *pods) consider(pod *corev1.Pod, anew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.containers.runs(pod) {
		p.containers.touch()

		if !p.shuttingDown {
			return
		}
	}

	if !p.known || p.ctx.Err() != nil {
		return
	}

	doing := p.work[pod.UID]
	if doing == nil {
		doing = &work{}
		p.work[pod.UID] = doing
	}

	switch {
	case doing.playing:
		doing.again, doing.anew = true, doing.anew || anew

		return
	case doing.done == pod.ResourceVersion && !anew:
		return
	}

	stage := p.next(pod)

	switch {
	case stage == nil:
		doing.cancel()
		doing.done = pod.ResourceVersion
	case doing.stage == stage.Name && doing.timer != nil: // its time runs already
	default:
		doing.cancel()
		doing.stage = stage.Name
		doing.timer = time.AfterFunc(stage.Delay, func() { p.play(pod) })
	}
}

func (w *work) cancel() {
	if w.timer != nil {
		w.timer.Stop()
	}

	w.stage, w.timer, w.failures = "", nil, 0
}

// next is the pod's next stage. The caller holds the lock.
func (p *pods) next(pod *corev1.Pod) *kubeletstages.Stage {
	stage, err := p.stages.Next(p.ctx, pod, kubeletstages.Node{
		HostIPs:      p.network.hostIPs,
		PodIPs:       p.network.addresses(pod),
		BootedAt:     p.settings.BootedAt,
		ShuttingDown: p.shuttingDown,
	}, time.Now())
	if err != nil {
		p.log.Error(err, "The next stage of a pod is not known", "pod", pod.Name, "namespace", pod.Namespace)
	}

	return stage
}

// play does what is next for a pod. It looks at the pod again: time has passed.
func (p *pods) play(earlier *corev1.Pod) {
	p.mu.Lock()

	doing := p.work[earlier.UID]
	object, exists, _ := p.store.Get(earlier)
	pod, isPod := object.(*corev1.Pod)

	if p.ctx.Err() != nil || doing == nil || doing.playing || !exists || !isPod || pod.UID != earlier.UID {
		p.mu.Unlock()

		return
	}

	stage := p.next(pod)
	planned := doing.stage
	doing.timer = nil

	if stage == nil || stage.Name != planned {
		doing.stage = ""
		p.mu.Unlock()
		p.consider(pod, true)

		return
	}

	doing.playing = true
	p.mu.Unlock()

	ctx, cancel := context.WithTimeout(p.ctx, playTimeout)
	err := stage.Play(&podActions{ctx: ctx, identity: p.identity, nodeName: p.settings.NodeName, pod: pod})

	cancel()
	p.played(pod, stage.Name, err)
}

// played notes how it went. A pod that is gone, or is another one by now, is none of ours; everything else is tried again.
func (p *pods) played(pod *corev1.Pod, stage string, err error) {
	p.mu.Lock()

	doing := p.work[pod.UID]
	if doing == nil || p.ctx.Err() != nil {
		p.mu.Unlock()

		return
	}

	doing.playing = false

	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		p.log.Error(err, "A pod's state could not be told", "pod", pod.Name, "namespace", pod.Namespace, "stage", stage)

		delay := min(retryFirst<<min(doing.failures, 10), retryLast)
		doing.failures++
		doing.again, doing.anew = false, false
		doing.timer = time.AfterFunc(delay, func() { p.play(pod) })
		p.mu.Unlock()

		return
	}

	doing.failures, doing.stage, doing.done = 0, "", pod.ResourceVersion
	again, anew := doing.again, doing.anew
	doing.again, doing.anew = false, false
	object, exists, _ := p.store.Get(pod)
	p.mu.Unlock()

	if latest, isPod := object.(*corev1.Pod); again && exists && isPod && latest.UID == pod.UID {
		p.consider(latest, anew)
	}
}

func (p *pods) shutDown() {
	p.mu.Lock()
	p.shuttingDown = true
	p.mu.Unlock()

	p.considerAll()
}

func (p *pods) isShuttingDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.shuttingDown
}

// haveEnded says whether none of the pods runs any more. One whose end the API server cannot be told has ended too.
func (p *pods) haveEnded() bool {
	for _, pod := range p.list() {
		p.mu.Lock()
		doing := p.work[pod.UID]
		untold := doing != nil && doing.failures > 0
		p.mu.Unlock()

		over := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if !over && !untold && !isMirror(pod) {
			return false
		}
	}

	return true
}

// podActions are a stage's wishes, as requests of this kubelet.
type podActions struct {
	ctx      context.Context //nolint:containedctx // of one stage
	identity *identity
	nodeName string
	pod      *corev1.Pod
}

func (a *podActions) Event(kind, reason, message string) error {
	about := corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: a.pod.Namespace, Name: a.pod.Name, UID: a.pod.UID,
		ResourceVersion: a.pod.ResourceVersion,
	}
	record(a.ctx, a.identity.client, a.nodeName, about, kind, reason, message)

	return nil
}

func (a *podActions) PatchStatus(kind types.PatchType, patch []byte) error {
	var content map[string]any
	if err := json.Unmarshal(patch, &content); err != nil {
		return fmt.Errorf("the patch of a stage: %w", err)
	}

	content["metadata"] = map[string]any{"uid": a.pod.UID}

	patch, err := json.Marshal(content)
	if err != nil {
		return err
	}

	_, err = a.identity.client.CoreV1().Pods(a.pod.Namespace).Patch(
		a.ctx, a.pod.Name, kind, patch, metav1.PatchOptions{}, "status",
	)

	return err
}

func (a *podActions) Delete() error {
	now := int64(0)

	return a.identity.client.CoreV1().Pods(a.pod.Namespace).Delete(a.ctx, a.pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: &a.pod.UID},
	})
}
