package kubeletapi

import (
	"encoding/json"
	"net/netip"
)

// PodList are all pods of the node whose containers are programs. The machine
// runs those and no others.
type PodList struct {
	Pods []Pod `json:"pods"`
}

// Pod is one of them, with everything resolved that only the API server knows.
// The machine starts it anew when anything of it changes but its volumes.
type Pod struct {
	UID       string       `json:"uid"`
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`
	// HostNetwork says that it has the machine's network; else it has one of its own.
	HostNetwork bool `json:"hostNetwork,omitempty"`
	// RestartPolicy is that of Kubernetes: Always, OnFailure or Never.
	RestartPolicy string      `json:"restartPolicy"`
	Containers    []Container `json:"containers"`
	// Volumes are the files of each volume, by name and path; an empty one is the pod's own to write to.
	Volumes map[string]map[string][]byte `json:"volumes,omitempty"`
	// GraceSeconds is how long a container may take to end when it is asked to.
	GraceSeconds int64 `json:"graceSeconds"`
}

// Container is a container of such a pod. One without an image is only said to run.
type Container struct {
	Name      string   `json:"name"`
	Image     *Image   `json:"image,omitempty"`
	Arguments []string `json:"arguments,omitempty"`
	Env       []string `json:"env,omitempty"`
	Mounts    []Mount  `json:"mounts,omitempty"`
	// Startup, Readiness and Liveness are Probes of Kubernetes, with a host and a port that is a number.
	Startup   json.RawMessage `json:"startup,omitempty"`
	Readiness json.RawMessage `json:"readiness,omitempty"`
	Liveness  json.RawMessage `json:"liveness,omitempty"`
}

// Image is what a container finds in its root: a program that needs nothing else, and folders.
type Image struct {
	Program string `json:"program"`
	// Folders are folders of the lab by their path in the container.
	Folders map[string]string `json:"folders,omitempty"`
	// OSRelease is the image's /etc/os-release, where its program wants to see one.
	OSRelease string `json:"osRelease,omitempty"`
}

// Mount is where a container has a volume.
type Mount struct {
	Volume   string `json:"volume"`
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// PodState is how a pod fares that the machine runs. One that has ended is not reported any more.
type PodState struct {
	UID        string           `json:"uid"`
	Containers []ContainerState `json:"containers"`
}

// ServiceList are the cluster's services, as a node's proxy knows them, and where its pods are.
type ServiceList struct {
	Services []Service  `json:"services"`
	Pods     []PodRange `json:"pods,omitempty"`
}

// PodRange are the addresses of the pods of one node. Without that node they are those of the machine itself.
type PodRange struct {
	Range netip.Prefix `json:"range"`
	Node  netip.Addr   `json:"node,omitzero"`
}

// Service is one of them.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Addresses are what its name stands for: the service's own, or the pods' where it has none.
	Addresses []netip.Addr  `json:"addresses,omitempty"`
	Ports     []ServicePort `json:"ports,omitempty"`
}

// ServicePort is a port of the service's own addresses, and where connections to it end.
type ServicePort struct {
	Protocol string           `json:"protocol"` // TCP or UDP
	Port     uint16           `json:"port"`
	Targets  []netip.AddrPort `json:"targets,omitempty"`
}
