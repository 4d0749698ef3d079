package kubelet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/apimachinery/lease"
	nodeutil "k8s.io/component-helpers/node/util"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"cluster-stack/lab/node/internal/kubeletapi"
)

// The kubelet's own times.
const (
	registerFirst = 100 * time.Millisecond
	registerLast  = 7 * time.Second
	leaseDuration = 40 * time.Second
	leaseRenewal  = leaseDuration / 4
	statusRetry   = 10 * time.Second
	statusReport  = 5 * time.Minute
)

// node is the machine's Node: it is registered, its lease is renewed, its status
// reported, and what becomes of it told to the machine.
type node struct {
	settings kubeletapi.Settings
	identity *identity
	network  *podNetwork
	report   func(kubeletapi.Event)
	// changed is called when something of the Node changed that its pods depend on.
	changed func()
	touched chan struct{} // the status may have to be reported

	mu           sync.Mutex
	latest       *corev1.Node // as the API server has it; nil if it has none
	told         *kubeletapi.NodeStatus
	shuttingDown bool
}

// get is the Node as the API server has it; nil if it has none.
func (n *node) get() *corev1.Node {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.latest
}

func (n *node) touch() {
	select {
	case n.touched <- struct{}{}:
	default:
	}
}

func (n *node) shutDown() {
	n.mu.Lock()
	n.shuttingDown = true
	n.mu.Unlock()

	n.touch()
}

func (n *node) run(ctx context.Context) {
	if !n.register(ctx) {
		return
	}

	go n.watch(ctx)
	go n.renewLease(ctx)

	n.record(ctx, corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	n.reportStatus(ctx)
}

// register makes the Node, or finds the one that is there. A Node that somebody deletes later is not made again, as a
// kubelet does not before it is restarted.
func (n *node) register(ctx context.Context) bool {
	log := klog.FromContext(ctx)

	for delay := registerFirst; ; delay = min(2*delay, registerLast) {
		created, err := n.tryToRegister(ctx)
		if err == nil {
			log.Info("Successfully registered node", "node", n.settings.NodeName, "created", created)
			n.report(kubeletapi.Event{Registered: &kubeletapi.Registered{Created: created}})

			return true
		}

		if ctx.Err() != nil {
			return false
		}

		log.Error(err, "Unable to register node with API server", "node", n.settings.NodeName)

		select {
		case <-ctx.Done():
			return false
		case <-time.After(delay):
		}
	}
}

func (n *node) tryToRegister(ctx context.Context) (bool, error) {
	nodes := n.identity.client.CoreV1().Nodes()
	wanted := initialNode(n.settings, n.state(), time.Now())

	_, err := nodes.Create(ctx, wanted, metav1.CreateOptions{})
	if err == nil {
		return true, nil
	}

	if !apierrors.IsAlreadyExists(err) {
		return false, err
	}

	existing, err := nodes.Get(ctx, n.settings.NodeName, metav1.GetOptions{})
	if err != nil {
		return false, err
	}

	updated := existing.DeepCopy()
	if !adopt(updated, wanted) {
		return false, nil
	}

	_, _, err = nodeutil.PatchNodeStatus(n.identity.heartbeat.CoreV1(), types.NodeName(n.settings.NodeName), existing, updated)

	return false, err
}

func (n *node) renewLease(ctx context.Context) {
	owner := func(renewed *coordinationv1.Lease) error {
		if len(renewed.OwnerReferences) > 0 {
			return nil
		}

		node := n.get()
		if node == nil {
			return fmt.Errorf("there is no node %s that its lease could belong to", n.settings.NodeName)
		}

		renewed.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: corev1.SchemeGroupVersion.Version, Kind: "Node", Name: node.Name, UID: node.UID,
		}}

		return nil
	}

	lease.NewController(
		clock.RealClock{}, n.identity.heartbeat, n.settings.NodeName, int32(leaseDuration.Seconds()), nil, leaseRenewal,
		n.settings.NodeName, corev1.NamespaceNodeLease, owner,
	).Run(ctx)
}

// watch follows the Node.
func (n *node) watch(ctx context.Context) {
	seen := func(object any) {
		if node, isNode := object.(*corev1.Node); isNode {
			n.see(node)
		}
	}

	_, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(
			n.identity.client.CoreV1().RESTClient(), "nodes", "",
			fields.OneTermEqualSelector(metav1.ObjectNameField, n.settings.NodeName),
		),
		ObjectType: &corev1.Node{},
		Transform:  withoutManagedFields,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    seen,
			UpdateFunc: func(_, object any) { seen(object) },
			DeleteFunc: func(any) { n.see(nil) },
		},
	})
	controller.RunWithContext(ctx)
}

func (n *node) see(node *corev1.Node) {
	told := describe(node)

	n.mu.Lock()
	n.latest = node
	news := n.told == nil || !reflect.DeepEqual(*n.told, told)
	n.told = &told
	n.mu.Unlock()

	if news {
		n.report(kubeletapi.Event{Node: &told})
	}

	// The Node's identity is what mirror pods need, its ranges what pods need.
	if node != nil && n.network.use(node.Spec.PodCIDRs) || news {
		n.changed()
	}

	n.touch()
}

// state is what the status depends on besides the settings.
func (n *node) state() nodeState {
	n.mu.Lock()
	defer n.mu.Unlock()

	return nodeState{networkReady: n.network.ready(), shuttingDown: n.shuttingDown}
}

// reportStatus reports the status whenever it changed, and otherwise every five minutes: not at the same time as all
// other nodes that were started together.
func (n *node) reportStatus(ctx context.Context) {
	var (
		reported time.Time
		interval time.Duration
	)

	for {
		wait := statusRetry

		if before := n.get(); before != nil {
			now := time.Now()
			after := before.DeepCopy()
			setStatus(after, n.settings, n.state(), now)

			changed := statusChanged(before, after)

			switch due := reported.Add(interval).Sub(now); {
			case changed || due <= 0:
				if _, _, err := nodeutil.PatchNodeStatus(
					n.identity.heartbeat.CoreV1(), types.NodeName(n.settings.NodeName), before, after,
				); err != nil {
					klog.FromContext(ctx).Error(err, "Unable to update node status")

					break
				}

				interval = statusReport
				if changed || reported.IsZero() {
					interval = time.Duration(float64(statusReport) * (0.5 + rand.Float64())) //nolint:gosec
				}

				reported, wait = now, interval

				n.recordChanges(ctx, before, after)
			default:
				wait = due
			}
		}

		select {
		case <-ctx.Done():
			return
		case <-n.touched:
		case <-time.After(wait):
		}
	}
}

func (n *node) recordChanges(ctx context.Context, before, after *corev1.Node) {
	if was, is := readiness(before), readiness(after); was.Status != is.Status {
		reason := "NodeNotReady"
		if is.Status == corev1.ConditionTrue {
			reason = "NodeReady"
		}

		n.record(ctx, corev1.EventTypeNormal, reason, fmt.Sprintf("Node %s status is now: %s", after.Name, reason))
	}

	if was, is := before.Status.NodeInfo.BootID, after.Status.NodeInfo.BootID; was != "" && was != is {
		n.record(ctx, corev1.EventTypeWarning, "Rebooted", fmt.Sprintf("Node %s has been rebooted, boot id: %s", after.Name, is))
	}
}

func (n *node) record(ctx context.Context, kind, reason, message string) {
	about := corev1.ObjectReference{Kind: "Node", Name: n.settings.NodeName, UID: types.UID(n.settings.NodeName)}
	record(ctx, n.identity.client, n.settings.NodeName, about, kind, reason, message)
}

// describe is a Node in the words of the machine.
func describe(node *corev1.Node) kubeletapi.NodeStatus {
	if node == nil {
		return kubeletapi.NodeStatus{}
	}

	ready := readiness(node)
	described := kubeletapi.NodeStatus{
		Exists:        true,
		Ready:         ready.Status == corev1.ConditionTrue,
		Reason:        ready.Reason,
		Message:       ready.Message,
		Unschedulable: node.Spec.Unschedulable,
		Labels:        node.Labels,
		Annotations:   node.Annotations,
	}

	for _, taint := range node.Spec.Taints {
		described.Taints = append(described.Taints, kubeletapi.Taint{
			Key: taint.Key, Value: taint.Value, Effect: string(taint.Effect),
		})
	}

	for _, cidr := range node.Spec.PodCIDRs {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			described.PodCIDRs = append(described.PodCIDRs, prefix)
		}
	}

	return described
}
