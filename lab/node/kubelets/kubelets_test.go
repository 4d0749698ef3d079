package main_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	controlPlaneRole = "node-role.kubernetes.io/control-plane"
	machineVariable  = "KUBELETS_TEST_MACHINE"
)

func base64Of(content []byte) string { return base64.StdEncoding.EncodeToString(content) }

func smallWorker(name, address string) kubeletapi.Settings {
	return kubeletapi.Settings{
		NodeName: name, Hostname: name, NodeIPs: []netip.Addr{netip.MustParseAddr(address)},
		Version: "v1.36.1", OSImage: "Talos (v1.13.0)", KernelVersion: "6.18.0-talos",
		ContainerRuntime: "containerd://2.2.3", Architecture: "amd64",
		MachineID: "machine-" + name, SystemUUID: "uuid-" + name, BootID: "boot-1", BootedAt: time.Now(),
		Cores: 2, MemoryBytes: 4 << 30, DiskBytes: 20 << 30, MaxPods: 110,
		SystemReserved: map[string]string{"cpu": "50m", "memory": "192Mi"},
	}
}

// machine is a machine of the test: its end of the connection, and all that it was told.
type machine struct {
	*kubeletapi.Client

	mu     sync.Mutex
	events []kubeletapi.Event
}

func startMachine(t *testing.T, c *cluster, settings kubeletapi.Settings) *machine {
	t.Helper()

	client, err := kubeletapi.Start(context.Background(), c.socket, settings)
	must(t, err)
	t.Cleanup(client.Close)

	m := &machine{Client: client}

	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- the kubelet of %s:\n%s", settings.NodeName, m.log())
		}
	})

	go func() {
		for {
			event, err := client.Next(context.Background())
			if err != nil {
				return
			}

			m.mu.Lock()
			m.events = append(m.events, event)
			m.mu.Unlock()
		}
	}()

	return m
}

func (m *machine) log() string {
	m.mu.Lock()
	defer m.mu.Unlock()

	var lines []string

	for _, event := range m.events {
		if event.Log != nil {
			lines = append(lines, *event.Log)
		}
	}

	return strings.Join(lines, "\n")
}

func (m *machine) certificates() []kubeletapi.Certificate {
	m.mu.Lock()
	defer m.mu.Unlock()

	var certificates []kubeletapi.Certificate

	for _, event := range m.events {
		if event.Certificate != nil {
			certificates = append(certificates, *event.Certificate)
		}
	}

	return certificates
}

// node is what the machine was last told of its Node.
func (m *machine) node() kubeletapi.NodeStatus {
	m.mu.Lock()
	defer m.mu.Unlock()

	for _, event := range slices.Backward(m.events) {
		if event.Node != nil {
			return *event.Node
		}
	}

	return kubeletapi.NodeStatus{}
}

func (c *cluster) node(t *testing.T, name string) *corev1.Node {
	t.Helper()

	node, err := c.client.CoreV1().Nodes().Get(context.Background(), name, metav1.GetOptions{})
	must(t, err)

	return node
}

func (c *cluster) ready(name string) (corev1.NodeCondition, error) {
	node, err := c.client.CoreV1().Nodes().Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return corev1.NodeCondition{}, err
	}

	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition, nil
		}
	}

	return corev1.NodeCondition{}, errors.New("no condition Ready")
}

func (c *cluster) awaitReady(t *testing.T, name string, wanted corev1.ConditionStatus) {
	t.Helper()
	until(t, fmt.Sprintf("%s is Ready=%s", name, wanted), func() error {
		ready, err := c.ready(name)
		if err == nil && ready.Status != wanted {
			err = fmt.Errorf("it is %+v", ready)
		}

		return err
	})
}

// pods are the pods with the label app, when there are so many in that phase.
func (c *cluster) awaitPods(t *testing.T, app string, count int, phase corev1.PodPhase) []corev1.Pod {
	t.Helper()

	var found []corev1.Pod

	until(t, fmt.Sprintf("%d pods of %s are %s", count, app, phase), func() error {
		pods, err := c.client.CoreV1().Pods(metav1.NamespaceAll).List(context.Background(), metav1.ListOptions{LabelSelector: "app=" + app})
		if err != nil {
			return err
		}

		found = nil

		var others []string

		for _, pod := range pods.Items {
			if pod.Status.Phase == phase && pod.DeletionTimestamp == nil {
				found = append(found, pod)
			} else {
				others = append(others, fmt.Sprintf("%s %s on %s", pod.Name, pod.Status.Phase, pod.Spec.NodeName))
			}
		}

		if len(found) != count {
			return fmt.Errorf("%d are, %v are not", len(found), others)
		}

		return nil
	})

	return found
}

func template(app string, change func(*corev1.PodSpec)) corev1.PodTemplateSpec {
	grace := int64(2)
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: app, Image: "registry.example/" + app + ":1"}},
		},
	}

	if change != nil {
		change(&template.Spec)
	}

	return template
}

func selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func (c *cluster) installFlannel(t *testing.T) {
	t.Helper()

	_, err := c.client.AppsV1().DaemonSets("kube-system").Create(context.Background(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-flannel"},
		Spec: appsv1.DaemonSetSpec{Selector: selector("flannel"), Template: template("flannel", func(spec *corev1.PodSpec) {
			spec.HostNetwork = true
			spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
			spec.InitContainers = []corev1.Container{{Name: "install-config", Image: "registry.example/flannel:1"}}
		})},
	}, metav1.CreateOptions{})
	must(t, err)
}

func (c *cluster) deploy(t *testing.T, app string, replicas int32, change func(*corev1.PodSpec)) {
	t.Helper()

	_, err := c.client.AppsV1().Deployments("default").Create(context.Background(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector(app), Template: template(app, change)},
	}, metav1.CreateOptions{})
	must(t, err)
}

func onNode(name string) func(*corev1.PodSpec) {
	return func(spec *corev1.PodSpec) {
		spec.NodeSelector = map[string]string{corev1.LabelHostname: name}
		spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
}

// TestKubelets takes one cluster through the life of its nodes, in order.
func TestKubelets(t *testing.T) {
	c := newCluster(t)
	ctx := context.Background()
	whole := t // what starts in one part of the test lives in the next

	cp1Settings := c.settings(t, "cp1", "10.5.0.11")
	cp1Settings.Taints = []kubeletapi.Taint{{Key: controlPlaneRole, Effect: "NoSchedule"}}
	cp1 := startMachine(t, c, cp1Settings)

	worker1Settings := c.settings(t, "worker1", "10.5.0.21")
	worker1Settings.Labels = map[string]string{"example.org/rack": "7"}
	worker1 := startMachine(t, c, worker1Settings)

	// worker2 is a process of its own, with a network of its own.
	worker2 := startProcess(t, c, "worker2", "10.5.0.22")

	t.Run("a node joins with the labels, taints and addresses of its machine", func(t *testing.T) {
		until(t, "cp1 and worker1 are registered", func() error {
			for _, name := range []string{"cp1", "worker1", "worker2"} {
				if _, err := c.ready(name); err != nil {
					return err
				}
			}

			return nil
		})

		node := c.node(t, "worker1")
		if node.Labels["example.org/rack"] != "7" || node.Labels[corev1.LabelHostname] != "worker1" || node.Labels[corev1.LabelArchStable] != "amd64" {
			t.Errorf("labels %v", node.Labels)
		}

		if taints := c.node(t, "cp1").Spec.Taints; !slices.ContainsFunc(taints, func(taint corev1.Taint) bool {
			return taint.Key == controlPlaneRole && taint.Effect == corev1.TaintEffectNoSchedule
		}) {
			t.Errorf("taints %v", taints)
		}

		wanted := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.5.0.21"}, {Type: corev1.NodeHostName, Address: "worker1"}}
		if !slices.Equal(node.Status.Addresses, wanted) {
			t.Errorf("addresses %v", node.Status.Addresses)
		}

		if info := node.Status.NodeInfo; info.KubeletVersion != "v1.36.1" || info.OSImage != "Talos (v1.13.0)" || info.BootID != "boot-1" {
			t.Errorf("%+v", info)
		}

		if cpu, memory := node.Status.Allocatable.Cpu(), node.Status.Allocatable.Memory(); cpu.String() != "1950m" || memory.Cmp(resource.MustParse("3804Mi")) != 0 {
			t.Errorf("allocatable %s and %s", cpu, memory)
		}

		certificates := worker1.certificates()
		if len(certificates) == 0 || certificates[0].CommonName != "system:node:worker1" {
			t.Errorf("certificates %+v", certificates)
		}
	})

	t.Run("a node without a pod network is not ready, in the kubelet's words", func(t *testing.T) {
		ready, err := c.ready("worker1")
		must(t, err)

		if ready.Status != corev1.ConditionFalse || ready.Reason != "KubeletNotReady" || !strings.Contains(ready.Message, "cni plugin not initialized") {
			t.Errorf("%+v", ready)
		}

		until(t, "worker1 has the taint that goes with it", func() error {
			for _, taint := range c.node(t, "worker1").Spec.Taints {
				if taint.Key == corev1.TaintNodeNotReady {
					return nil
				}
			}

			return errors.New("it has not")
		})
	})

	t.Run("the pod network makes nodes ready", func(t *testing.T) {
		c.installFlannel(t)

		for _, name := range []string{"cp1", "worker1", "worker2"} {
			c.awaitReady(t, name, corev1.ConditionTrue)
		}

		until(t, "the machine is told", func() error {
			if told := worker1.node(); !told.Ready || told.Reason != "KubeletReady" || len(told.PodCIDRs) != 1 {
				return fmt.Errorf("it was told %+v", told)
			}

			return nil
		})

		for _, pod := range c.awaitPods(t, "flannel", 3, corev1.PodRunning) {
			if pod.Status.PodIP != pod.Status.HostIP || !strings.HasPrefix(pod.Status.PodIP, "10.5.0.") {
				t.Errorf("%s with the host's network has the address %s on %s", pod.Name, pod.Status.PodIP, pod.Status.HostIP)
			}
		}
	})

	t.Run("connections come from the machine's own network", func(t *testing.T) {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", worker2.command.Process.Pid))
		must(t, err)

		// 10.5.0.22 to port 6443 of 10.5.0.1, as the kernel writes it.
		if !strings.Contains(string(table), "1600050A:") || !strings.Contains(string(table), "0100050A:192B") {
			t.Errorf("none in worker2's network:\n%s", table)
		}
	})

	// These take their time, beside what follows.
	must(t, worker2.command.Process.Kill())

	refusal := make(chan error, 1)
	go func() {
		refusal <- worker1.Apply(ctx, kubeletapi.NodeSpec{Labels: map[string]string{controlPlaneRole: ""}})
	}()

	t.Run("a deployment runs, with addresses of the nodes' ranges", func(t *testing.T) {
		c.deploy(t, "web", 3, onNode("worker1"))

		network := netip.MustParsePrefix(c.node(t, "worker1").Spec.PodCIDR)
		addresses := map[string]bool{}

		for _, pod := range c.awaitPods(t, "web", 3, corev1.PodRunning) {
			addresses[pod.Status.PodIP] = true

			until(t, "the kubelet's log has the pod", func() error {
				if log := worker1.log(); !strings.Contains(log, `msg="SyncLoop ADD" source=api pod=default/`+pod.Name) ||
					!strings.Contains(log, `msg="Event occurred" object=default/`+pod.Name) {
					return errors.New(log)
				}

				return nil
			})

			if !network.Contains(netip.MustParseAddr(pod.Status.PodIP)) {
				t.Errorf("%s has %s, not of %s", pod.Name, pod.Status.PodIP, network)
			}
		}

		if len(addresses) != 3 {
			t.Errorf("addresses %v", addresses)
		}

		until(t, "the deployment is available", func() error {
			deployment, err := c.client.AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
			if err == nil && deployment.Status.AvailableReplicas != 3 {
				err = fmt.Errorf("%+v", deployment.Status)
			}

			return err
		})
	})

	t.Run("a job completes", func(t *testing.T) {
		_, err := c.client.BatchV1().Jobs("default").Create(ctx, &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: "once"},
			Spec: batchv1.JobSpec{Template: template("once", func(spec *corev1.PodSpec) {
				onNode("worker1")(spec)
				spec.RestartPolicy = corev1.RestartPolicyNever
			})},
		}, metav1.CreateOptions{})
		must(t, err)

		until(t, "the job is complete", func() error {
			job, err := c.client.BatchV1().Jobs("default").Get(ctx, "once", metav1.GetOptions{})
			if err == nil && job.Status.Succeeded != 1 {
				err = fmt.Errorf("%+v", job.Status)
			}

			return err
		})
	})

	t.Run("what Talos wants of the node is applied", func(t *testing.T) {
		// A worker asks with the kubelet's identity, which may not give itself a role.
		must(t, worker1.Apply(ctx, kubeletapi.NodeSpec{Labels: map[string]string{"example.org/zone": "a"}}))

		if value := c.node(t, "worker1").Labels["example.org/zone"]; value != "a" {
			t.Errorf("label %q", value)
		}

		must(t, worker1.Apply(ctx, kubeletapi.NodeSpec{Cordoned: true}))

		node := c.node(t, "worker1")
		if _, there := node.Labels["example.org/zone"]; there || !node.Spec.Unschedulable || node.Annotations["talos.dev/cordoned"] == "" {
			t.Errorf("%v %v %v", node.Labels, node.Spec, node.Annotations)
		}

		must(t, worker1.Apply(ctx, kubeletapi.NodeSpec{}))

		if c.node(t, "worker1").Spec.Unschedulable {
			t.Error("it is still cordoned")
		}

		// A control plane asks as an administrator.
		must(t, cp1.Apply(ctx, kubeletapi.NodeSpec{
			Labels: map[string]string{controlPlaneRole: ""},
			Taints: []kubeletapi.Taint{{Key: controlPlaneRole, Effect: "NoSchedule"}},
			Administrator: &kubeletapi.Credentials{
				Server: server, Authorities: c.authorities,
				Certificate: string(c.admin.CertData), Key: string(c.admin.KeyData),
			},
		}))

		if _, there := c.node(t, "cp1").Labels[controlPlaneRole]; !there {
			t.Error("cp1 has no role")
		}
	})

	t.Run("the API server refuses a node what is not its own", func(t *testing.T) {
		_, err := c.clientOf(t, "worker1").CoreV1().Nodes().Patch(
			ctx, "cp1", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{},
		)
		if !apierrors.IsForbidden(err) {
			t.Errorf("%v", err)
		}
	})

	t.Run("static pods have mirrors that follow the machine", func(t *testing.T) { testStaticPods(t, c, cp1) })

	t.Run("a disruption budget holds a drain up", func(t *testing.T) { testDrain(t, c, worker1) })

	t.Run("a node may not give itself a role", func(t *testing.T) {
		var refused *kubeletapi.Error
		if err := <-refusal; !errors.As(err, &refused) || refused.Reason != string(metav1.StatusReasonForbidden) {
			t.Errorf("%v", err)
		}
	})

	t.Run("a kubelet that starts again keeps its certificate and its pods", func(t *testing.T) {
		c.deploy(t, "kept", 2, onNode("worker1"))
		before := c.awaitPods(t, "kept", 2, corev1.PodRunning)

		worker1.Close()

		again := startMachine(whole, c, worker1Settings)
		until(t, "it is registered", func() error {
			if !again.node().Exists {
				return errors.New(again.log())
			}

			return nil
		})

		if requests := c.firstRequestsOf(t, "worker1"); requests != 1 {
			t.Errorf("it asked for a first certificate %d times", requests)
		}

		c.deploy(t, "later", 1, onNode("worker1"))
		c.awaitPods(t, "later", 1, corev1.PodRunning)

		for _, pod := range c.awaitPods(t, "kept", 2, corev1.PodRunning) {
			for _, earlier := range before {
				if pod.UID == earlier.UID && (pod.Status.ContainerStatuses[0].RestartCount != 0 || pod.Status.PodIP != earlier.Status.PodIP) {
					t.Errorf("%+v", pod.Status)
				}
			}
		}

		worker1 = again
	})

	t.Run("a machine that was booted again starts its pods again", func(t *testing.T) {
		worker1.Close()

		until(t, "a second has passed, the unit of the times in a pod's status", func() error {
			for _, pod := range c.awaitPods(t, "kept", 2, corev1.PodRunning) {
				if started := pod.Status.ContainerStatuses[0].State.Running.StartedAt; time.Since(started.Time) < time.Second {
					return fmt.Errorf("%s started at %s", pod.Name, started)
				}
			}

			return nil
		})

		rebooted := worker1Settings
		rebooted.BootID, rebooted.BootedAt = "boot-2", time.Now()
		worker1 = startMachine(whole, c, rebooted)

		until(t, "the containers are new", func() error {
			for _, pod := range c.awaitPods(t, "kept", 2, corev1.PodRunning) {
				if status := pod.Status.ContainerStatuses[0]; status.RestartCount != 1 || status.LastTerminationState.Terminated == nil {
					return fmt.Errorf("%+v", status)
				}
			}

			return nil
		})

		if boot := c.node(t, "worker1").Status.NodeInfo.BootID; boot != "boot-2" {
			t.Errorf("boot id %s", boot)
		}
	})

	t.Run("a machine that goes down ends its pods", func(t *testing.T) {
		must(t, worker1.Shutdown(ctx, 20*time.Second))

		ready, err := c.ready("worker1")
		must(t, err)

		if ready.Status != corev1.ConditionFalse || ready.Message != "node is shutting down" {
			t.Errorf("%+v", ready)
		}

		pods, err := c.client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=worker1"})
		must(t, err)

		for _, pod := range pods.Items {
			if pod.Status.Phase == corev1.PodRunning {
				t.Errorf("%s still runs", pod.Name)
			}
		}
	})

	t.Run("a killed machine's node goes not ready by itself", func(t *testing.T) {
		c.awaitReady(t, "worker2", corev1.ConditionUnknown)
	})

	t.Run("a certificate is renewed before it ends", func(t *testing.T) { testRenewal(t, whole, c) })

	t.Run("a kubelet outlives its API server", func(t *testing.T) {
		c.deploy(t, "through", 2, onNode("worker3"))
		before := c.awaitPods(t, "through", 2, corev1.PodRunning)

		must(t, c.apiServer.Process.Kill())
		c.apiServer.Wait() //nolint:errcheck
		c.startAPIServer(whole)

		must(t, c.client.CoreV1().Pods("default").Delete(ctx, before[0].Name, metav1.DeleteOptions{}))
		until(t, "the deleted pod is gone", func() error {
			_, err := c.client.CoreV1().Pods("default").Get(ctx, before[0].Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}

			return fmt.Errorf("it is there (%w)", err)
		})
		c.awaitPods(t, "through", 2, corev1.PodRunning)
		c.awaitReady(t, "worker3", corev1.ConditionTrue)
	})

	t.Run("a kubelet that ended leaves no file and no connection open", func(t *testing.T) {
		before := c.playerFiles(t)
		worker4 := startMachine(t, c, c.settings(t, "worker4", "10.5.0.24"))
		c.awaitReady(t, "worker4", corev1.ConditionTrue)

		if during := c.playerFiles(t); during <= before {
			t.Errorf("%d files are open without it, %d with it", before, during)
		}

		worker4.Close()
		until(t, "the player's files are as many as before", func() error {
			if after := c.playerFiles(t); after > before {
				return fmt.Errorf("%d are open, not %d", after, before)
			}

			return nil
		})
	})

	t.Run("when the player ends, so does every kubelet", func(t *testing.T) {
		must(t, c.player.Process.Kill())

		until(t, "the machine hears of it", func() error {
			if err := cp1.SetStaticPods(ctx, nil); !errors.Is(err, kubeletapi.ErrClosed) {
				return fmt.Errorf("it hears %v", err)
			}

			return nil
		})
	})
}

func testStaticPods(t *testing.T, c *cluster, cp1 *machine) {
	t.Helper()

	ctx := context.Background()
	started := time.Now().Add(-time.Minute)
	pod := func(image string, ready bool) []kubeletapi.StaticPod {
		manifest, err := json.Marshal(corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Name: "kube-apiserver", Namespace: "kube-system", Labels: map[string]string{"app": "apiserver"}},
			Spec: corev1.PodSpec{
				HostNetwork: true, PriorityClassName: "system-cluster-critical",
				Containers: []corev1.Container{{Name: "kube-apiserver", Image: image}},
			},
		})
		must(t, err)

		return []kubeletapi.StaticPod{{Manifest: manifest, Source: "http", Containers: []kubeletapi.ContainerState{
			{Name: "kube-apiserver", StartedAt: &started, Ready: ready},
		}}}
	}
	mirror := func(check func(*corev1.Pod) error) {
		t.Helper()
		until(t, "the mirror is right", func() error {
			pod, err := c.client.CoreV1().Pods("kube-system").Get(ctx, "kube-apiserver-cp1", metav1.GetOptions{})
			if err != nil {
				return err
			}

			return check(pod)
		})
	}
	ready := func(wanted corev1.ConditionStatus) func(*corev1.Pod) error {
		return func(pod *corev1.Pod) error {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == wanted && pod.Status.Phase == corev1.PodRunning {
					return nil
				}
			}

			return fmt.Errorf("%+v", pod.Status)
		}
	}

	must(t, cp1.SetStaticPods(ctx, pod("registry.example/apiserver:1", false)))
	mirror(ready(corev1.ConditionFalse))
	must(t, cp1.SetStaticPods(ctx, pod("registry.example/apiserver:1", true)))
	mirror(ready(corev1.ConditionTrue))

	var first *corev1.Pod

	mirror(func(pod *corev1.Pod) error {
		first = pod

		if pod.Annotations["kubernetes.io/config.source"] != "http" || pod.Annotations[corev1.MirrorPodAnnotationKey] == "" ||
			pod.OwnerReferences[0].Kind != "Node" || pod.Status.PodIP != "10.5.0.11" {
			return fmt.Errorf("%+v %+v", pod.ObjectMeta, pod.Status)
		}

		return nil
	})

	must(t, cp1.SetStaticPods(ctx, pod("registry.example/apiserver:2", true)))
	mirror(func(pod *corev1.Pod) error {
		if pod.UID == first.UID || pod.Spec.Containers[0].Image != "registry.example/apiserver:2" {
			return errors.New("it is still the old one")
		}

		return ready(corev1.ConditionTrue)(pod)
	})

	// Somebody deletes it, and it comes again.
	must(t, c.client.CoreV1().Pods("kube-system").Delete(ctx, "kube-apiserver-cp1", metav1.DeleteOptions{}))
	mirror(ready(corev1.ConditionTrue))

	must(t, cp1.SetStaticPods(ctx, nil))
	until(t, "the mirror is gone", func() error {
		_, err := c.client.CoreV1().Pods("kube-system").Get(ctx, "kube-apiserver-cp1", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}

		return fmt.Errorf("it is there (%w)", err)
	})
}

func testDrain(t *testing.T, c *cluster, worker1 *machine) {
	t.Helper()

	ctx := context.Background()
	none := intstr.FromInt32(0)
	_, err := c.client.PolicyV1().PodDisruptionBudgets("default").Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &none, Selector: selector("web")},
	}, metav1.CreateOptions{})
	must(t, err)

	c.deploy(t, "free", 1, onNode("worker1"))
	free := c.awaitPods(t, "free", 1, corev1.PodRunning)[0]
	guarded := c.awaitPods(t, "web", 3, corev1.PodRunning)

	until(t, "the budget is known", func() error {
		budget, err := c.client.PolicyV1().PodDisruptionBudgets("default").Get(ctx, "web", metav1.GetOptions{})
		if err == nil && budget.Status.ExpectedPods != 3 {
			err = fmt.Errorf("%+v", budget.Status)
		}

		return err
	})

	// A drain that is held up says so, and is no failure.
	begin := time.Now()
	must(t, worker1.Drain(ctx, 6*time.Second))

	if took := time.Since(begin); took < 5*time.Second {
		t.Errorf("the drain was over in %s", took)
	}

	if _, err := c.client.CoreV1().Pods("default").Get(ctx, free.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("%s was not evicted: %v", free.Name, err)
	}

	for _, pod := range guarded {
		if _, err := c.client.CoreV1().Pods("default").Get(ctx, pod.Name, metav1.GetOptions{}); err != nil {
			t.Errorf("%s was evicted: %v", pod.Name, err)
		}
	}

	must(t, c.client.PolicyV1().PodDisruptionBudgets("default").Delete(ctx, "web", metav1.DeleteOptions{}))
	must(t, worker1.Drain(ctx, time.Minute))

	for _, pod := range guarded {
		if _, err := c.client.CoreV1().Pods("default").Get(ctx, pod.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s was not evicted: %v", pod.Name, err)
		}
	}
}

// testRenewal gives a machine a certificate of which little is left.
func testRenewal(t, whole *testing.T, c *cluster) {
	t.Helper()

	old := newPair(t, c.ca, pkix.Name{CommonName: "system:node:worker3", Organization: []string{"system:nodes"}})
	directory := filepath.Join(c.path("worker3"), "pki")
	must(t, os.MkdirAll(directory, 0o700))
	must(t, os.WriteFile(filepath.Join(directory, "kubelet-client-old.pem"), slices.Concat(old.certPEM, old.keyPEM), 0o600))
	must(t, os.Symlink("kubelet-client-old.pem", filepath.Join(directory, "kubelet-client-current.pem")))

	settings := c.settings(t, "worker3", "10.5.0.23")
	settings.BootstrapToken = "it is not needed"
	worker3 := startMachine(whole, c, settings)

	until(t, "worker3 has another certificate", func() error {
		certificates := worker3.certificates()
		if len(certificates) < 2 || !certificates[0].NotAfter.Equal(old.certificate.NotAfter) {
			return fmt.Errorf("it has %+v", certificates)
		}

		return nil
	})
	c.awaitReady(t, "worker3", corev1.ConditionTrue)

	kept, err := os.ReadFile(filepath.Join(directory, "kubelet-client-current.pem"))
	must(t, err)

	if block, _ := pem.Decode(kept); bytes.Equal(block.Bytes, old.certificate.Raw) {
		t.Error("the machine still keeps the old one")
	}
}

// playerFiles counts what the player has open.
func (c *cluster) playerFiles(t *testing.T) int {
	t.Helper()

	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.player.Process.Pid))
	must(t, err)

	return len(open)
}

// clientOf asks with the certificate that the kubelet keeps on its machine's disk.
func (c *cluster) clientOf(t *testing.T, node string) kubernetes.Interface {
	t.Helper()

	file := filepath.Join(c.path(node), "pki", "kubelet-client-current.pem")
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server, TLSClientConfig: rest.TLSClientConfig{
		CAData: []byte(c.authorities), CertFile: file, KeyFile: file,
	}})
	must(t, err)

	return client
}

// firstRequestsOf counts how often a node's kubelet asked for a certificate when it had none.
func (c *cluster) firstRequestsOf(t *testing.T, node string) int {
	t.Helper()

	requests, err := c.client.CertificatesV1().CertificateSigningRequests().List(context.Background(), metav1.ListOptions{})
	must(t, err)

	count := 0

	for _, request := range requests.Items {
		block, _ := pem.Decode(request.Spec.Request)
		asked, err := x509.ParseCertificateRequest(block.Bytes)
		must(t, err)

		if asked.Subject.CommonName == "system:node:"+node && strings.HasPrefix(request.Spec.Username, "system:bootstrap:") {
			count++
		}
	}

	return count
}

// process is a machine that is a process with a network of its own.
type process struct {
	command *exec.Cmd
}

func startProcess(t *testing.T, c *cluster, name, address string) *process {
	t.Helper()

	settings, err := json.Marshal(c.settings(t, name, address))
	must(t, err)

	program, err := os.Executable()
	must(t, err)

	// The shell becomes the machine as soon as it has its end of the cable.
	script := fmt.Sprintf(
		`while ! ip link show %[1]s >/dev/null 2>&1; do sleep 0.05; done; ip addr add %[2]s/24 dev %[1]s && ip link set %[1]s up && exec %[3]s -test.run=TestMachineOfItsOwn`,
		name, address, program,
	)
	t.Setenv(machineVariable, string(settings))
	t.Setenv("KUBELETS_SOCKET", c.socket)

	command := c.start(t, "unshare", "--net", "sh", "-c", script)
	inside := fmt.Sprintf("/proc/%d/ns/net", command.Process.Pid)

	until(t, "the machine has a network of its own", func() error {
		own, err := os.Readlink("/proc/self/ns/net")
		must(t, err)

		theirs, err := os.Readlink(inside)
		if err == nil && own == theirs {
			err = errors.New("it is still ours")
		}

		return err
	})

	run(t, "ip", "link", "add", "cable", "type", "veth", "peer", "name", name)
	run(t, "ip", "link", "set", "cable", "master", "bridge", "up")
	run(t, "ip", "link", "set", name, "netns", fmt.Sprint(command.Process.Pid))

	return &process{command: command}
}

// TestMachineOfItsOwn is no test: it is such a process.
func TestMachineOfItsOwn(t *testing.T) {
	encoded := os.Getenv(machineVariable)
	if encoded == "" {
		t.Skip("started by TestKubelets")
	}

	var settings kubeletapi.Settings

	must(t, json.Unmarshal([]byte(encoded), &settings))

	client, err := kubeletapi.Start(context.Background(), os.Getenv("KUBELETS_SOCKET"), settings)
	must(t, err)

	for {
		event, err := client.Next(context.Background())
		must(t, err)

		if event.Log != nil {
			fmt.Fprintln(os.Stderr, *event.Log)
		}
	}
}
