package controlplane_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"sigs.k8s.io/yaml"

	"cluster-stack/lab/node/internal/controlplane"
)

// settings are those of a control plane, patched.
func settings(t *testing.T, patches ...string) config.Config {
	t.Helper()

	input, err := generate.NewInput("test", "https://10.5.0.9:6443", "1.36.0")
	if err != nil {
		t.Fatal(err)
	}

	provider, err := input.Config(machine.TypeControlPlane)
	if err != nil {
		t.Fatal(err)
	}

	loaded, err := configpatcher.LoadPatches(patches)
	if err != nil {
		t.Fatal(err)
	}

	patched, err := configpatcher.Apply(configpatcher.WithConfig(provider), loaded)
	if err != nil {
		t.Fatal(err)
	}

	result, err := patched.Config()
	if err != nil {
		t.Fatal(err)
	}

	return result
}

func pods(t *testing.T, settings config.Config) map[string]controlplane.Pod {
	t.Helper()

	made, err := controlplane.NewConfiguration(settings).Pods(controlplane.Versions{
		Secrets: "1", Files: "2222", Configuration: map[string]string{"kube-apiserver": "3"},
	})
	if err != nil {
		t.Fatal(err)
	}

	byName := map[string]controlplane.Pod{}
	for _, pod := range made {
		byName[pod.Metadata.Name] = pod
	}

	return byName
}

// The whole command line, as Talos 1.13 renders it for a configuration without changes.
func TestCommandsAreThoseOfTalos(t *testing.T) {
	made := pods(t, settings(t))
	secrets := constants.KubernetesAPIServerSecretsDir

	for name, wanted := range map[string][]string{
		"kube-apiserver": {
			"/usr/local/bin/kube-apiserver",
			"--admission-control-config-file=/system/config/kubernetes/kube-apiserver/admission-control-config.yaml",
			"--advertise-address=$(POD_IP)", "--allow-privileged=true", "--anonymous-auth=false",
			"--api-audiences=https://10.5.0.9:6443", "--audit-log-maxage=30", "--audit-log-maxbackup=10", "--audit-log-maxsize=100",
			"--audit-log-path=/var/log/audit/kube/kube-apiserver.log",
			"--audit-policy-file=/system/config/kubernetes/kube-apiserver/auditpolicy.yaml",
			"--authorization-config=/system/config/kubernetes/kube-apiserver/authorization-config.yaml",
			"--bind-address=0.0.0.0", "--client-ca-file=" + secrets + "/ca.crt", "--enable-admission-plugins=NodeRestriction",
			"--enable-bootstrap-token-auth=true", "--encryption-provider-config=" + secrets + "/encryptionconfig.yaml",
			"--etcd-cafile=" + secrets + "/etcd-client-ca.crt", "--etcd-certfile=" + secrets + "/etcd-client.crt",
			"--etcd-keyfile=" + secrets + "/etcd-client.key", "--etcd-servers=https://127.0.0.1:2379",
			"--kubelet-client-certificate=" + secrets + "/apiserver-kubelet-client.crt",
			"--kubelet-client-key=" + secrets + "/apiserver-kubelet-client.key",
			"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname", "--profiling=false",
			"--proxy-client-cert-file=" + secrets + "/front-proxy-client.crt", "--proxy-client-key-file=" + secrets + "/front-proxy-client.key",
			"--requestheader-allowed-names=front-proxy-client", "--requestheader-client-ca-file=" + secrets + "/aggregator-ca.crt",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
			"--requestheader-username-headers=X-Remote-User", "--secure-port=6443", "--service-account-issuer=https://10.5.0.9:6443",
			"--service-account-key-file=" + secrets + "/service-account.pub",
			"--service-account-signing-key-file=" + secrets + "/service-account.key", "--service-cluster-ip-range=10.96.0.0/12",
			"--tls-cert-file=" + secrets + "/apiserver.crt",
			"--tls-cipher-suites=TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256," +
				"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384," +
				"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256," +
				"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384," +
				"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
			"--tls-min-version=VersionTLS12", "--tls-private-key-file=" + secrets + "/apiserver.key",
		},
		"kube-scheduler": {
			"/usr/local/bin/kube-scheduler",
			"--authentication-kubeconfig=/system/secrets/kubernetes/kube-scheduler/kubeconfig",
			"--authentication-tolerate-lookup-failure=false",
			"--authorization-kubeconfig=/system/secrets/kubernetes/kube-scheduler/kubeconfig", "--bind-address=127.0.0.1",
			"--config=/system/config/kubernetes/kube-scheduler/scheduler-config.yaml", "--leader-elect=true", "--profiling=false",
			"--tls-min-version=VersionTLS13",
		},
		"kube-controller-manager": {
			"/usr/local/bin/kube-controller-manager", "--use-service-account-credentials", "--allocate-node-cidrs=true",
			"--authentication-kubeconfig=/system/secrets/kubernetes/kube-controller-manager/kubeconfig",
			"--authorization-kubeconfig=/system/secrets/kubernetes/kube-controller-manager/kubeconfig", "--bind-address=127.0.0.1",
			"--cluster-cidr=10.244.0.0/16",
			"--cluster-signing-cert-file=/system/secrets/kubernetes/kube-controller-manager/ca.crt",
			"--cluster-signing-key-file=/system/secrets/kubernetes/kube-controller-manager/ca.key",
			"--configure-cloud-routes=false", "--controllers=*,tokencleaner",
			"--kubeconfig=/system/secrets/kubernetes/kube-controller-manager/kubeconfig", "--leader-elect=true", "--profiling=false",
			"--root-ca-file=/system/secrets/kubernetes/kube-controller-manager/ca.crt",
			"--service-account-private-key-file=/system/secrets/kubernetes/kube-controller-manager/service-account.key",
			"--service-cluster-ip-range=10.96.0.0/12", "--tls-min-version=VersionTLS13",
		},
	} {
		if got := made[name].Spec.Containers[0].Command; !slices.Equal(got, wanted) {
			t.Errorf("%s:\n%s\nwanted:\n%s", name, strings.Join(got, "\n"), strings.Join(wanted, "\n"))
		}
	}
}

func TestWhatTheConfigurationChanges(t *testing.T) {
	made := pods(t, settings(t, `
cluster:
  apiServer:
    extraArgs:
      enable-admission-plugins: PodNodeSelector
      feature-gates: ContextualLogging=true
      authorization-mode: Webhook
      profiling: "true"
    env: {NAME: a$b}
    resources: {limits: {memory: 1Gi}}
    extraVolumes:
      - {hostPath: /var/lib/oidc, mountPath: /etc/oidc, readonly: true}
  controllerManager:
    extraArgs: {controllers: -nodeipam}
machine:
  controlPlane:
    scheduler: {disabled: true}
`))

	if _, there := made["kube-scheduler"]; there {
		t.Error("the scheduler is there though it is disabled")
	}

	container := made["kube-apiserver"].Spec.Containers[0]

	for _, wanted := range []string{
		"--enable-admission-plugins=NodeRestriction,PodNodeSelector", "--feature-gates=ContextualLogging=true",
		"--authorization-mode=Node,RBAC,Webhook", "--profiling=true",
	} {
		if !slices.Contains(container.Command, wanted) {
			t.Errorf("%s is not among %s", wanted, container.Command)
		}
	}

	if slices.ContainsFunc(container.Command, func(one string) bool { return strings.HasPrefix(one, "--authorization-config=") }) {
		t.Error("there is an authorization config beside the mode")
	}

	if !slices.Contains(made["kube-controller-manager"].Spec.Containers[0].Command, "--controllers=*,tokencleaner,-nodeipam") {
		t.Error("the controllers are not added")
	}

	for _, wanted := range []controlplane.EnvVar{{Name: "NAME", Value: "a$$b"}, {Name: "GOMEMLIMIT", Value: "1020054732"}} {
		if !slices.Contains(container.Env, wanted) {
			t.Errorf("%v is not in %v", wanted, container.Env)
		}
	}

	if last := container.VolumeMounts[len(container.VolumeMounts)-1]; last.MountPath != "/etc/oidc" || !last.ReadOnly {
		t.Errorf("the last volume is %v", last)
	}
}

func TestWhatTalosDecidesIsNotChanged(t *testing.T) {
	_, err := controlplane.NewConfiguration(settings(t, `{"cluster": {"apiServer": {"extraArgs": {"etcd-servers": "http://else"}}}}`)).
		Pods(controlplane.Versions{})
	if err == nil || err.Error() != `kube-apiserver: extra arg "etcd-servers" is not allowed` {
		t.Error(err)
	}
}

func TestFilesFollowTheConfiguration(t *testing.T) {
	files, err := controlplane.NewConfiguration(settings(t, `
cluster:
  apiServer:
    authorizationConfig:
      - {type: Webhook, name: asks, webhook: {timeout: 3s}}
  scheduler:
    config: {parallelism: 3, clientConnection: {qps: 7}}
`)).Files()
	if err != nil {
		t.Fatal(err)
	}

	for path, wanted := range map[string]string{
		"kube-apiserver/authorization-config.yaml": `{"apiVersion":"apiserver.config.k8s.io/v1beta1","authorizers":[` +
			`{"name":"node","type":"Node"},{"name":"rbac","type":"RBAC"},{"name":"asks","type":"Webhook","webhook":{"timeout":"3s"}}],` +
			`"kind":"AuthorizationConfiguration"}`,
		"kube-scheduler/scheduler-config.yaml": `{"apiVersion":"kubescheduler.config.k8s.io/v1","clientConnection":` +
			`{"kubeconfig":"/system/secrets/kubernetes/kube-scheduler/kubeconfig","qps":7},"kind":"KubeSchedulerConfiguration","parallelism":3}`,
		"kube-apiserver/auditpolicy.yaml": `{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}`,
	} {
		got, err := yaml.YAMLToJSON(files[filepath.Join("/system/config/kubernetes", path)])
		if err != nil || string(got) != wanted {
			t.Errorf("%s: %s %v\nwanted %s", path, got, err, wanted)
		}
	}

	if admission := string(files["/system/config/kubernetes/kube-apiserver/admission-control-config.yaml"]); !strings.Contains(admission, "name: PodSecurity") {
		t.Errorf("admission control: %s", admission)
	}
}

func TestOlderVersionsAreEmulated(t *testing.T) {
	for image, wanted := range map[string]string{
		"registry.k8s.io/kube-apiserver:v1.36.0":                                   "",
		"registry.k8s.io/kube-apiserver:v1.34.0@sha256:" + strings.Repeat("0", 64): "--emulated-version=kube=1.34",
	} {
		got, err := controlplane.Emulation(image)
		if err != nil || strings.Join(got, " ") != wanted {
			t.Errorf("%s: %s %v", image, got, err)
		}
	}

	for _, image := range []string{"registry.k8s.io/kube-apiserver:v1.32.0", "registry.k8s.io/kube-apiserver:v1.37.0"} {
		if got, err := controlplane.Emulation(image); err == nil {
			t.Errorf("%s is run with %s", image, got)
		}
	}
}
