package kubelet

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"cluster-stack/lab/node/internal/kubeletapi"
)

func flannel() *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet", Name: "kube-flannel"}}}}
	pod.Spec.HostNetwork = true
	pod.Status.Phase = corev1.PodRunning

	return pod
}

func network(t *testing.T) *podNetwork {
	t.Helper()

	made, err := newPodNetwork(kubeletapi.Settings{StateDirectory: t.TempDir(), NodeIPs: settings().NodeIPs})
	if err != nil {
		t.Fatal(err)
	}

	return made
}

func podWith(uid types.UID, addresses ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}}
	for _, address := range addresses {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: address})
	}

	return pod
}

func TestWhoBringsTheNetwork(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		brings bool
	}{
		"flannel":               {func(*corev1.Pod) {}, true},
		"cilium":                {func(pod *corev1.Pod) { pod.OwnerReferences[0].Name = "cilium" }, true},
		"not yet running":       {func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodPending }, false},
		"without the host's":    {func(pod *corev1.Pod) { pod.Spec.HostNetwork = false }, false},
		"any other daemon":      {func(pod *corev1.Pod) { pod.OwnerReferences[0].Name = "kube-proxy" }, false},
		"a deployment so named": {func(pod *corev1.Pod) { pod.OwnerReferences[0].Kind = "ReplicaSet" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			network, pod := network(t), flannel()
			test.change(pod)

			if brings, err := network.brings(pod); brings != test.brings || network.ready() != test.brings || err != nil {
				t.Errorf("brings %v, ready %v, %v", brings, network.ready(), err)
			}
		})
	}
}

func TestTheNetworkIsThereAfterARestart(t *testing.T) {
	directory := t.TempDir()

	for _, ready := range []bool{false, true} {
		network, err := newPodNetwork(kubeletapi.Settings{StateDirectory: directory})
		if err != nil {
			t.Fatal(err)
		}

		if network.ready() != ready {
			t.Errorf("ready: %v", network.ready())
		}

		if _, err := network.brings(flannel()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAddresses(t *testing.T) {
	network := network(t)
	network.use([]string{"10.244.3.0/29", "fd00:3::/64"})

	if addresses := network.addresses(podWith("early")); addresses != nil {
		t.Errorf("without a network a pod has %v", addresses)
	}

	if _, err := network.brings(flannel()); err != nil {
		t.Fatal(err)
	}

	if addresses := network.addresses(flannel()); !slices.Equal(addresses, []string{"10.5.0.11", "fd00::11"}) {
		t.Errorf("with the host's network a pod has %v", addresses)
	}

	// One that was there before keeps what it has.
	if addresses := network.addresses(podWith("old", "10.244.3.3", "fd00:3::9")); !slices.Equal(addresses, []string{"10.244.3.3", "fd00:3::9"}) {
		t.Errorf("a pod that has addresses gets %v", addresses)
	}

	var given []string

	for number := range 5 {
		addresses := network.addresses(podWith(types.UID(fmt.Sprint(number))))
		if again := network.addresses(podWith(types.UID(fmt.Sprint(number)))); !slices.Equal(again, addresses) {
			t.Errorf("first %v, then %v", addresses, again)
		}

		given = append(given, addresses[0])
	}

	if !slices.Equal(given, []string{"10.244.3.2", "10.244.3.4", "10.244.3.5", "10.244.3.6", "10.244.3.7"}) {
		t.Errorf("%v", given)
	}

	if addresses := network.addresses(podWith("late")); len(addresses) != 1 {
		t.Errorf("of a full range a pod gets %v", addresses)
	}

	network.release("0")

	if addresses := network.addresses(podWith("next")); addresses[0] != "10.244.3.2" {
		t.Errorf("what was given back is %v", addresses)
	}

	if addresses := network.addresses(podWith("0")); len(addresses) != 1 {
		t.Errorf("a pod that is gone still has %v", addresses)
	}
}
