package controlplane

// Pod is as much of a Kubernetes pod as the pods of a control plane need.
type Pod struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Spec       PodSpec  `json:"spec"`
}

// Metadata is whom a pod belongs to.
type Metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	UID         string            `json:"uid,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
}

// PodSpec is what a pod runs.
type PodSpec struct {
	Volumes         []Volume     `json:"volumes,omitempty"`
	Containers      []Container  `json:"containers"`
	SecurityContext *PodSecurity `json:"securityContext,omitempty"`
	HostNetwork     bool         `json:"hostNetwork,omitempty"`
	// RestartPolicy is Always where it is empty.
	RestartPolicy     string `json:"restartPolicy,omitempty"`
	PriorityClassName string `json:"priorityClassName,omitempty"`
	Priority          int32  `json:"priority,omitempty"`
}

// Volume is a folder of the machine.
type Volume struct {
	Name     string         `json:"name"`
	HostPath HostPathVolume `json:"hostPath"`
}

// HostPathVolume is where it is there.
type HostPathVolume struct {
	Path string `json:"path"`
}

// VolumeMount is where it is in a container.
type VolumeMount struct {
	Name      string `json:"name"`
	MountPath string `json:"mountPath"`
	ReadOnly  bool   `json:"readOnly,omitempty"`
}

// Container is one program of a pod.
type Container struct {
	Name            string             `json:"name"`
	Image           string             `json:"image"`
	Command         []string           `json:"command,omitempty"`
	Env             []EnvVar           `json:"env,omitempty"`
	Resources       Requirements       `json:"resources"`
	VolumeMounts    []VolumeMount      `json:"volumeMounts,omitempty"`
	StartupProbe    *Probe             `json:"startupProbe,omitempty"`
	LivenessProbe   *Probe             `json:"livenessProbe,omitempty"`
	ReadinessProbe  *Probe             `json:"readinessProbe,omitempty"`
	SecurityContext *ContainerSecurity `json:"securityContext,omitempty"`
}

// EnvVar is a variable of a container's environment.
type EnvVar struct {
	Name      string        `json:"name"`
	Value     string        `json:"value,omitempty"`
	ValueFrom *EnvVarSource `json:"valueFrom,omitempty"`
}

// EnvVarSource is a field of the pod.
type EnvVarSource struct {
	FieldRef FieldRef `json:"fieldRef"`
}

// FieldRef names the field.
type FieldRef struct {
	FieldPath string `json:"fieldPath"`
}

// Requirements are the resources that a container asks for and may use.
type Requirements struct {
	Requests map[string]string `json:"requests,omitempty"`
	Limits   map[string]string `json:"limits,omitempty"`
}

// Probe asks a container how it is.
type Probe struct {
	HTTPGet          HTTPGet `json:"httpGet"`
	TimeoutSeconds   int     `json:"timeoutSeconds,omitempty"`
	PeriodSeconds    int     `json:"periodSeconds,omitempty"`
	FailureThreshold int     `json:"failureThreshold,omitempty"`
}

// HTTPGet is where a probe asks.
type HTTPGet struct {
	Path   string `json:"path"`
	Port   int    `json:"port"`
	Host   string `json:"host"`
	Scheme string `json:"scheme"`
}

// PodSecurity is as whom a pod runs.
type PodSecurity struct {
	RunAsUser    int64 `json:"runAsUser"`
	RunAsGroup   int64 `json:"runAsGroup"`
	RunAsNonRoot bool  `json:"runAsNonRoot"`
}

// ContainerSecurity is what a container may do.
type ContainerSecurity struct {
	Capabilities             Capabilities   `json:"capabilities"`
	AllowPrivilegeEscalation bool           `json:"allowPrivilegeEscalation"`
	SeccompProfile           SeccompProfile `json:"seccompProfile"`
}

// Capabilities are those of the kernel.
type Capabilities struct {
	Add  []string `json:"add,omitempty"`
	Drop []string `json:"drop,omitempty"`
}

// SeccompProfile restricts the calls to the kernel.
type SeccompProfile struct {
	Type string `json:"type"`
}
