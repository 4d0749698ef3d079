package kubelet

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"cluster-stack/lab/node/internal/kubeletapi"
)

func testResolver() *resolver {
	return &resolver{
		settings: kubeletapi.Settings{Cores: 2, MemoryBytes: 4 << 30},
		pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "shop", Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{NodeName: "worker1", ServiceAccountName: "seller"},
		},
		podIPs: []string{"10.244.1.7"}, hostIPs: []string{"10.5.0.11"},
	}
}

func TestVariablesAreReplacedByThoseBeforeThem(t *testing.T) {
	env := map[string]string{"NAME": "value"}

	for given, wanted := range map[string]string{
		"a $(NAME).": "a value.", "$$(NAME)": "$(NAME)", "$(OTHER)": "$(OTHER)", "$NAME": "$NAME",
	} {
		if got := expand(given, env); got != wanted {
			t.Errorf("%q became %q", given, got)
		}
	}
}

func TestFieldsOfAPodAreThoseOfTheDownwardAPI(t *testing.T) {
	for field, wanted := range map[string]string{
		"metadata.name": "web-1", "metadata.namespace": "shop", "metadata.labels['app']": "web",
		"spec.nodeName": "worker1", "spec.serviceAccountName": "seller", "status.podIP": "10.244.1.7", "status.hostIP": "10.5.0.11",
	} {
		if got, err := testResolver().field(field); err != nil || got != wanted {
			t.Errorf("%s is %q (%v)", field, got, err)
		}
	}

	if _, err := testResolver().field("metadata.color"); err == nil {
		t.Error("a field that there is not has a value")
	}
}

func TestALimitThatIsNotSetIsWhatTheNodeHas(t *testing.T) {
	container := &corev1.Container{Resources: corev1.ResourceRequirements{
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
	}}

	for field, wanted := range map[string]string{"limits.memory": "1073741824", "limits.cpu": "2", "requests.cpu": "0"} {
		if got, err := testResolver().resource(container, &corev1.ResourceFieldSelector{Resource: field}); err != nil || got != wanted {
			t.Errorf("%s is %q (%v)", field, got, err)
		}
	}

	megabytes := &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}
	if got, err := testResolver().resource(container, megabytes); err != nil || got != "1024" {
		t.Errorf("in Mi it is %q (%v)", got, err)
	}
}

func TestAProbeAsksThePodAtANumber(t *testing.T) {
	container := &corev1.Container{Ports: []corev1.ContainerPort{{Name: "healthz", ContainerPort: 9440}}}
	probe := func(port string) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString(port)}}}
	}

	got, err := testResolver().probe(container, probe("healthz"))
	if err != nil || !strings.Contains(string(got), `"port":9440,"host":"10.244.1.7"`) {
		t.Errorf("%s (%v)", got, err)
	}

	if _, err := testResolver().probe(container, probe("other")); err == nil {
		t.Error("a port that there is not can be asked")
	}

	if _, err := testResolver().probe(container, &corev1.Probe{}); err == nil {
		t.Error("a probe of another kind is taken")
	}
}

func TestAnImageIsKnownByItsNameAndTag(t *testing.T) {
	images := Images{"ghcr.io/fluxcd/source-controller:v1.9.5": {Program: "/bin/source-controller"}}

	if images.of("ghcr.io/fluxcd/source-controller:v1.9.5@sha256:00") == nil {
		t.Error("with a digest it is not known")
	}

	if images.of("ghcr.io/fluxcd/source-controller:v1.8.0") != nil {
		t.Error("another version is taken for it")
	}
}
