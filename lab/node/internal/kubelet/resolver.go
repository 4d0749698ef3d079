package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	defaultGrace = 30
	// neverRenewed is for pods without a token.
	neverRenewed = 100 * 365 * 24 * time.Hour
)

// resolver turns a pod into what the machine has to run.
type resolver struct {
	ctx             context.Context //nolint:containedctx // of one pod
	client          kubernetes.Interface
	settings        kubeletapi.Settings
	pod             *corev1.Pod
	podIPs, hostIPs []string
	tokensEnd       time.Time // the first end of a token
}

func (r *resolver) resolve(images Images) (*kubeletapi.Pod, error) {
	pod := &kubeletapi.Pod{
		UID: string(r.pod.UID), Namespace: r.pod.Namespace, Name: r.pod.Name, HostNetwork: r.pod.Spec.HostNetwork,
		RestartPolicy: string(r.pod.Spec.RestartPolicy), GraceSeconds: defaultGrace,
	}

	if r.pod.Spec.TerminationGracePeriodSeconds != nil {
		pod.GraceSeconds = *r.pod.Spec.TerminationGracePeriodSeconds
	}

	for _, ip := range r.podIPs {
		address, err := netip.ParseAddr(ip)
		if err != nil {
			return nil, err
		}

		pod.Addresses = append(pod.Addresses, address)
	}

	for index := range r.pod.Spec.Containers {
		container, err := r.container(&r.pod.Spec.Containers[index], images)
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", r.pod.Spec.Containers[index].Name, err)
		}

		pod.Containers = append(pod.Containers, *container)
	}

	var err error

	pod.Volumes, err = r.volumes()

	return pod, err
}

func (r *resolver) container(given *corev1.Container, images Images) (*kubeletapi.Container, error) {
	container := &kubeletapi.Container{Name: given.Name, Image: images.of(given.Image)}
	if container.Image == nil {
		return container, nil
	}

	program := path.Base(container.Image.Program)
	if len(given.Command) > 0 && path.Base(given.Command[0]) != program {
		return nil, fmt.Errorf("its image has %s here, and nothing else", program)
	}

	env, err := r.env(given)
	if err != nil {
		return nil, err
	}

	for _, argument := range slices.Concat(given.Command[min(1, len(given.Command)):], given.Args) {
		container.Arguments = append(container.Arguments, expand(argument, env))
	}

	for _, name := range slices.Sorted(maps.Keys(env)) {
		container.Env = append(container.Env, name+"="+env[name])
	}

	for _, mount := range given.VolumeMounts {
		if mount.SubPath != "" || mount.SubPathExpr != "" {
			return nil, fmt.Errorf("it mounts a part of volume %s, which is not built here", mount.Name)
		}

		container.Mounts = append(container.Mounts, kubeletapi.Mount{
			Volume: mount.Name, Path: mount.MountPath, ReadOnly: mount.ReadOnly,
		})
	}

	container.Startup, err = r.probe(given, given.StartupProbe)
	if err == nil {
		container.Readiness, err = r.probe(given, given.ReadinessProbe)
	}

	if err == nil {
		container.Liveness, err = r.probe(given, given.LivenessProbe)
	}

	return container, err
}

// probe is a probe with an address. Of the kinds of probes there is the one by HTTP.
func (r *resolver) probe(container *corev1.Container, given *corev1.Probe) (json.RawMessage, error) {
	if given == nil {
		return nil, nil
	}

	if given.HTTPGet == nil {
		return nil, fmt.Errorf("it has a probe that is not of kind httpGet, which is not built here")
	}

	probe := given.DeepCopy()
	if probe.HTTPGet.Host == "" {
		probe.HTTPGet.Host = r.podIPs[0]
	}

	if probe.HTTPGet.Port.Type == intstr.String {
		for _, port := range container.Ports {
			if port.Name == probe.HTTPGet.Port.StrVal {
				probe.HTTPGet.Port = intstr.FromInt32(port.ContainerPort)
			}
		}
	}

	if probe.HTTPGet.Port.Type == intstr.String {
		return nil, fmt.Errorf("its probe names port %s, which it does not have", probe.HTTPGet.Port.StrVal)
	}

	return json.Marshal(probe)
}

// env is the container's environment.
func (r *resolver) env(container *corev1.Container) (map[string]string, error) {
	env, err := r.serviceEnv()
	if err != nil {
		return nil, err
	}

	env["HOSTNAME"] = r.pod.Name
	env["HOME"] = "/" // what a container runtime says where an image says nothing
	env["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	for _, from := range container.EnvFrom {
		var (
			data map[string][]byte
			err  error
		)

		switch {
		case from.ConfigMapRef != nil:
			data, err = r.configMap(from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
		case from.SecretRef != nil:
			data, err = r.secret(from.SecretRef.Name, from.SecretRef.Optional)
		}

		if err != nil {
			return nil, err
		}

		for name, value := range data {
			env[from.Prefix+name] = string(value)
		}
	}

	for _, variable := range container.Env {
		value := expand(variable.Value, env)

		if from := variable.ValueFrom; from != nil {
			found, present, err := r.valueFrom(container, from)
			if err != nil {
				return nil, fmt.Errorf("variable %s: %w", variable.Name, err)
			}

			if !present {
				continue
			}

			value = found
		}

		env[variable.Name] = value
	}

	return env, nil
}

// serviceEnv says where the API server is: the way of every client inside the cluster.
func (r *resolver) serviceEnv() (map[string]string, error) {
	service, err := r.client.CoreV1().Services(metav1.NamespaceDefault).Get(r.ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}

	return map[string]string{
		"KUBERNETES_SERVICE_HOST":       service.Spec.ClusterIP,
		"KUBERNETES_SERVICE_PORT":       strconv.Itoa(int(service.Spec.Ports[0].Port)),
		"KUBERNETES_SERVICE_PORT_HTTPS": strconv.Itoa(int(service.Spec.Ports[0].Port)),
	}, nil
}

func (r *resolver) valueFrom(container *corev1.Container, from *corev1.EnvVarSource) (string, bool, error) {
	optional := func(data map[string][]byte, key string, mayLack *bool, err error) (string, bool, error) {
		value, present := data[key]
		if err == nil && !present && (mayLack == nil || !*mayLack) {
			err = fmt.Errorf("couldn't find key %s", key)
		}

		return string(value), present, err
	}

	switch {
	case from.FieldRef != nil:
		value, err := r.field(from.FieldRef.FieldPath)

		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err := r.resource(container, from.ResourceFieldRef)

		return value, true, err
	case from.ConfigMapKeyRef != nil:
		data, err := r.configMap(from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Optional)

		return optional(data, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional, err)
	case from.SecretKeyRef != nil:
		data, err := r.secret(from.SecretKeyRef.Name, from.SecretKeyRef.Optional)

		return optional(data, from.SecretKeyRef.Key, from.SecretKeyRef.Optional, err)
	default:
		return "", false, fmt.Errorf("its source is not built here")
	}
}

var subscript = regexp.MustCompile(`^metadata\.(labels|annotations)\['(.+)'\]$`)

// field is a field of the pod, as the downward API has it.
func (r *resolver) field(name string) (string, error) {
	if parts := subscript.FindStringSubmatch(name); parts != nil {
		if parts[1] == "labels" {
			return r.pod.Labels[parts[2]], nil
		}

		return r.pod.Annotations[parts[2]], nil
	}

	switch name {
	case "metadata.name":
		return r.pod.Name, nil
	case "metadata.namespace":
		return r.pod.Namespace, nil
	case "metadata.uid":
		return string(r.pod.UID), nil
	case "spec.nodeName":
		return r.pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return r.pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return r.hostIPs[0], nil
	case "status.hostIPs":
		return strings.Join(r.hostIPs, ","), nil
	case "status.podIP":
		return r.podIPs[0], nil
	case "status.podIPs":
		return strings.Join(r.podIPs, ","), nil
	default:
		return "", fmt.Errorf("field %s is not built here", name)
	}
}

// resource is a limit or request of the container; without a limit it is what the node has.
func (r *resolver) resource(container *corev1.Container, reference *corev1.ResourceFieldSelector) (string, error) {
	kind, name, _ := strings.Cut(reference.Resource, ".")
	amounts, ofNode := container.Resources.Requests, resource.Quantity{}

	if kind == "limits" {
		amounts = container.Resources.Limits

		switch name {
		case "cpu":
			ofNode = *resource.NewQuantity(int64(r.settings.Cores), resource.DecimalSI)
		case "memory":
			ofNode = *resource.NewQuantity(r.settings.MemoryBytes, resource.BinarySI)
		}
	}

	amount, given := amounts[corev1.ResourceName(name)]
	if !given {
		amount = ofNode
	}

	divisor := reference.Divisor.AsApproximateFloat64()
	if divisor == 0 {
		divisor = 1
	}

	return strconv.FormatInt(int64(math.Ceil(amount.AsApproximateFloat64()/divisor)), 10), nil
}

// volumes are the files of the pod's volumes.
func (r *resolver) volumes() (map[string]map[string][]byte, error) {
	volumes := map[string]map[string][]byte{}

	for _, volume := range r.pod.Spec.Volumes {
		files, err := r.volume(volume.VolumeSource)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", volume.Name, err)
		}

		volumes[volume.Name] = files
	}

	return volumes, nil
}

func (r *resolver) volume(source corev1.VolumeSource) (map[string][]byte, error) {
	switch {
	case source.EmptyDir != nil:
		return map[string][]byte{}, nil
	case source.ConfigMap != nil:
		data, err := r.configMap(source.ConfigMap.Name, source.ConfigMap.Optional)

		return selected(data, source.ConfigMap.Items), err
	case source.Secret != nil:
		data, err := r.secret(source.Secret.SecretName, source.Secret.Optional)

		return selected(data, source.Secret.Items), err
	case source.DownwardAPI != nil:
		return r.downward(source.DownwardAPI.Items)
	case source.Projected != nil:
		files := map[string][]byte{}

		for _, one := range source.Projected.Sources {
			part, err := r.projection(one)
			if err != nil {
				return nil, err
			}

			maps.Copy(files, part)
		}

		return files, nil
	default:
		return nil, fmt.Errorf("its kind is not built here")
	}
}

func (r *resolver) projection(source corev1.VolumeProjection) (map[string][]byte, error) {
	switch {
	case source.ServiceAccountToken != nil:
		token, err := r.token(source.ServiceAccountToken)

		return map[string][]byte{source.ServiceAccountToken.Path: token}, err
	case source.ConfigMap != nil:
		data, err := r.configMap(source.ConfigMap.Name, source.ConfigMap.Optional)

		return selected(data, source.ConfigMap.Items), err
	case source.Secret != nil:
		data, err := r.secret(source.Secret.Name, source.Secret.Optional)

		return selected(data, source.Secret.Items), err
	case source.DownwardAPI != nil:
		return r.downward(source.DownwardAPI.Items)
	default:
		return nil, fmt.Errorf("a source of it is not built here")
	}
}

func (r *resolver) downward(items []corev1.DownwardAPIVolumeFile) (map[string][]byte, error) {
	files := map[string][]byte{}

	for _, item := range items {
		if item.FieldRef == nil {
			return nil, fmt.Errorf("file %s is no field of the pod, which is not built here", item.Path)
		}

		value, err := r.field(item.FieldRef.FieldPath)
		if err != nil {
			return nil, err
		}

		files[item.Path] = []byte(value)
	}

	return files, nil
}

// selected are the named keys under their paths; all keys, where none is named.
func selected(data map[string][]byte, items []corev1.KeyToPath) map[string][]byte {
	if len(items) == 0 {
		return data
	}

	files := map[string][]byte{}

	for _, item := range items {
		if value, present := data[item.Key]; present {
			files[item.Path] = value
		}
	}

	return files
}

// token is a token of the pod's service account, which is worth nothing when the pod is gone.
func (r *resolver) token(wanted *corev1.ServiceAccountTokenProjection) ([]byte, error) {
	request := tokenRequest(r.pod, wanted.ExpirationSeconds)
	if wanted.Audience != "" {
		request.Spec.Audiences = []string{wanted.Audience}
	}

	issued, err := r.client.CoreV1().ServiceAccounts(r.pod.Namespace).CreateToken(
		r.ctx, r.pod.Spec.ServiceAccountName, request, metav1.CreateOptions{},
	)
	if err != nil {
		return nil, err
	}

	if end := issued.Status.ExpirationTimestamp.Time; r.tokensEnd.IsZero() || end.Before(r.tokensEnd) {
		r.tokensEnd = end
	}

	return []byte(issued.Status.Token), nil
}

func tokenRequest(pod *corev1.Pod, seconds *int64) *authenticationv1.TokenRequest {
	return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
}

// renewAt is when four fifths of the tokens' time are over, as a kubelet renews them.
func (r *resolver) renewAt() time.Time {
	if r.tokensEnd.IsZero() {
		return time.Now().Add(neverRenewed)
	}

	return time.Now().Add(time.Until(r.tokensEnd) * 4 / 5)
}

func (r *resolver) configMap(name string, optional *bool) (map[string][]byte, error) {
	found, err := r.client.CoreV1().ConfigMaps(r.pod.Namespace).Get(r.ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}

	if err != nil {
		return nil, err
	}

	data := map[string][]byte{}
	maps.Copy(data, found.BinaryData)

	for key, value := range found.Data {
		data[key] = []byte(value)
	}

	return data, nil
}

func (r *resolver) secret(name string, optional *bool) (map[string][]byte, error) {
	found, err := r.client.CoreV1().Secrets(r.pod.Namespace).Get(r.ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}

	if err != nil {
		return nil, err
	}

	return found.Data, nil
}

var variableReference = regexp.MustCompile(`\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)`)

// expand replaces $(NAME) by the variable of that name, where there is one; $$ stands for a dollar sign.
func expand(text string, env map[string]string) string {
	return variableReference.ReplaceAllStringFunc(text, func(found string) string {
		if found == "$$" {
			return "$"
		}

		if value, known := env[found[2:len(found)-1]]; known {
			return value
		}

		return found
	})
}
