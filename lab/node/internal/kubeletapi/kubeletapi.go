// Package kubeletapi is what a machine and the player of its kubelet say to
// each other over a unix socket: JSON values, one a line.
//
// The machine opens one connection when its kubelet starts, and that connection
// is the life of the kubelet. When it ends, for whatever reason, the kubelet is
// gone at once and without a word to the API server, as if the power had failed.
// The player reaches the API server from the network namespace that the machine
// has sent first of all. Asking the kernel who is at the other end would not do:
// the lab's processes see the host's /proc, where they have other numbers.
//
// The first request is Start. Every request is answered once, in any order;
// events come in between. The package knows nothing of Kubernetes' own types.
package kubeletapi

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Settings are what a kubelet is started with: its flags, its configuration, and
// what it would find out by looking at the machine.
type Settings struct {
	NodeName string       `json:"nodeName"`
	Hostname string       `json:"hostname"`
	NodeIPs  []netip.Addr `json:"nodeIPs"`

	// Version is the kubelet's own version, such as v1.36.1.
	Version          string    `json:"version"`
	OSImage          string    `json:"osImage"`
	KernelVersion    string    `json:"kernelVersion"`
	ContainerRuntime string    `json:"containerRuntime"` // such as containerd://2.2.3
	Architecture     string    `json:"architecture"`
	MachineID        string    `json:"machineID"`
	SystemUUID       string    `json:"systemUUID"`
	BootID           string    `json:"bootID"`
	BootedAt         time.Time `json:"bootedAt"`

	Cores       int   `json:"cores"`
	MemoryBytes int64 `json:"memoryBytes"`
	DiskBytes   int64 `json:"diskBytes"` // of the file system with the pods' own data
	MaxPods     int   `json:"maxPods"`
	// SystemReserved is what pods may not use: quantities by the name of the resource.
	SystemReserved map[string]string `json:"systemReserved,omitempty"`

	// Labels and Taints are given to a Node that the kubelet creates; one that is there already keeps its own.
	Labels map[string]string `json:"labels,omitempty"`
	Taints []Taint           `json:"taints,omitempty"`

	ProviderID            string `json:"providerID,omitempty"`
	ExternalCloudProvider bool   `json:"externalCloudProvider,omitempty"`

	// Server is the URL of the API server, as the machine reaches it.
	Server string `json:"server"`
	// Authorities are the PEM-encoded certificates of those who may sign the API server's certificate.
	Authorities string `json:"authorities"`
	// BootstrapToken asks for the first client certificate.
	BootstrapToken string `json:"bootstrapToken"`
	// StateDirectory keeps what outlives a restart: the client certificate in pki, and which pod network has come.
	StateDirectory string `json:"stateDirectory"`
}

// Taint is a taint of a Node.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

// NodeSpec is what Talos itself wants of the Node. What it set earlier and does
// not want any more is taken away; what others set stays.
type NodeSpec struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Taints      []Taint           `json:"taints,omitempty"`
	Cordoned    bool              `json:"cordoned,omitempty"`
	// Administrator is who asks the API server for it: control planes use a certificate of their own making. Without
	// one it is the kubelet, whom the API server allows less.
	Administrator *Credentials `json:"administrator,omitempty"`
}

// Credentials are a way to the API server.
type Credentials struct {
	Server      string `json:"server"`
	Authorities string `json:"authorities"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// StaticPod is a pod that the machine runs by itself.
type StaticPod struct {
	// Manifest is the Pod, as it would be given to a kubelet.
	Manifest json.RawMessage `json:"manifest"`
	// Source is where a kubelet would have found it: "http" or "file".
	Source     string           `json:"source"`
	Containers []ContainerState `json:"containers"`
}

// ContainerState is how one container of a static pod fares. It waits until it
// has started, and is over when it has finished.
type ContainerState struct {
	Name       string     `json:"name"`
	StartedAt  *time.Time `json:"startedAt,omitempty"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
	Ready      bool       `json:"ready"`
	Restarts   int        `json:"restarts"`
	ExitCode   int        `json:"exitCode"`
	Reason     string     `json:"reason,omitempty"`
	Message    string     `json:"message,omitempty"`
}

// Request is one line from the machine. Exactly one of the pointers is set.
type Request struct {
	ID uint64 `json:"id"`

	Start      *Settings    `json:"start,omitempty"`
	Apply      *NodeSpec    `json:"apply,omitempty"`
	StaticPods *[]StaticPod `json:"staticPods,omitempty"`
	// PodStates tells how the pods fare that the kubelet has had the machine run.
	PodStates *[]PodState `json:"podStates,omitempty"`
	// Drain evicts the node's pods. It gives up after that time, and that is no failure.
	Drain *time.Duration `json:"drain,omitempty"`
	// Shutdown ends the node's pods before the machine goes down; the answer comes when they have ended, or after that time.
	Shutdown *time.Duration `json:"shutdown,omitempty"`
	// Manifests brings what is missing of them to the API server.
	Manifests *Manifests `json:"manifests,omitempty"`
	// TalosService and ServiceAccounts open Talos' API to pods. They go on until they are cancelled.
	TalosService    *TalosService    `json:"talosService,omitempty"`
	ServiceAccounts *ServiceAccounts `json:"serviceAccounts,omitempty"`
	// Cancel is the ID of an earlier request that nobody waits for any more; it has no answer of its own.
	Cancel *uint64 `json:"cancel,omitempty"`
}

// Manifests are objects that a control plane has its cluster begin with, in the
// order in which they are wanted.
type Manifests struct {
	Objects       []json.RawMessage `json:"objects"`
	Administrator Credentials       `json:"administrator"`
}

// Message is one line to the machine: the answer to a request, or an event.
type Message struct {
	Answer *Answer `json:"answer,omitempty"`
	Event  *Event  `json:"event,omitempty"`
}

// Answer says that a request is done.
type Answer struct {
	ID    uint64 `json:"id"`
	Error *Error `json:"error,omitempty"`
}

// Error is a request that failed.
type Error struct {
	// Reason is the API server's own (Forbidden, Conflict, NotFound ...), or empty.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Event is something that the kubelet did or saw. Exactly one field is set.
type Event struct {
	Certificate *Certificate `json:"certificate,omitempty"`
	// Registered says that the Node is there; it comes once.
	Registered *Registered      `json:"registered,omitempty"`
	Node       *NodeStatus      `json:"node,omitempty"`
	StaticPods *StaticPodReport `json:"staticPods,omitempty"`
	// Pods are those that the machine has to run from now on, and Services those of the cluster.
	Pods     *PodList     `json:"pods,omitempty"`
	Services *ServiceList `json:"services,omitempty"`
	// Manifest tells of an object that has been created.
	Manifest *string `json:"manifest,omitempty"`
	// Log is a line of the kubelet's log.
	Log *string `json:"log,omitempty"`
}

// Certificate is the kubelet's client certificate: a new one, or the one that was kept.
type Certificate struct {
	CommonName string    `json:"commonName"`
	NotAfter   time.Time `json:"notAfter"`
}

// Registered says whether the kubelet made the Node, or found it.
type Registered struct {
	Created bool `json:"created"`
}

// NodeStatus is the machine's own Node, as the API server has it.
type NodeStatus struct {
	Exists        bool              `json:"exists"`
	Ready         bool              `json:"ready"`
	Reason        string            `json:"reason,omitempty"`
	Message       string            `json:"message,omitempty"`
	Unschedulable bool              `json:"unschedulable,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
	Taints        []Taint           `json:"taints,omitempty"`
	PodCIDRs      []netip.Prefix    `json:"podCIDRs,omitempty"`
}

// StaticPodReport are all static pods as the kubelet's own API would list them.
type StaticPodReport struct {
	Pods []StaticPodStatus `json:"pods"`
}

// StaticPodStatus is one of them. It does not need the API server.
type StaticPodStatus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"` // with the node's name
	// Status is a PodStatus.
	Status json.RawMessage `json:"status"`
}

// Check says what is missing from settings.
func (s *Settings) Check() error {
	var missing []string

	for _, needed := range []struct {
		name    string
		present bool
	}{
		{"nodeName", s.NodeName != ""},
		{"hostname", s.Hostname != ""},
		{"nodeIPs", len(s.NodeIPs) > 0},
		{"version", s.Version != ""},
		{"architecture", s.Architecture != ""},
		{"bootedAt", !s.BootedAt.IsZero()},
		{"cores", s.Cores > 0},
		{"memoryBytes", s.MemoryBytes > 0},
		{"diskBytes", s.DiskBytes > 0},
		{"maxPods", s.MaxPods > 0},
		{"server", s.Server != ""},
		{"authorities", s.Authorities != ""},
		{"stateDirectory", s.StateDirectory != ""},
	} {
		if !needed.present {
			missing = append(missing, needed.name)
		}
	}

	if missing != nil {
		return fmt.Errorf("the settings of the kubelet lack %s", strings.Join(missing, ", "))
	}

	return nil
}
