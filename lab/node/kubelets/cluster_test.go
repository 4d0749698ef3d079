package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"cluster-stack/lab/node/internal/kubeletapi"
)

const (
	// The network namespace of the tests is their own, so addresses and ports are free.
	hostAddress      = "10.5.0.1"
	server           = "https://" + hostAddress + ":6443"
	bootstrapToken   = "abcdef.0123456789abcdef" //nolint:gosec
	nodeMonitorGrace = 15 * time.Second          // more than a node's lease is old when it is renewed
	patience         = time.Minute
)

// cluster is a real control plane of one etcd, API server, controller manager and
// scheduler, and the program under test.
type cluster struct {
	folder      string
	socket      string
	authorities string
	admin       *rest.Config
	client      kubernetes.Interface
	apiServer   *exec.Cmd
	player      *exec.Cmd
	ca          *pair
}

type pair struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	certPEM     []byte
	keyPEM      []byte
}

func program(t *testing.T, variable string) string {
	t.Helper()

	path := os.Getenv(variable)
	if path == "" {
		t.Skipf("%s is not set: tests/lab/node/test_kubelets.py runs this", variable)
	}

	return path
}

func newCluster(t *testing.T) *cluster {
	t.Helper()

	etcd, kube := program(t, "ETCD"), program(t, "KUBE")
	c := &cluster{folder: t.TempDir()}
	c.socket = filepath.Join(c.folder, "kubelets.sock")

	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "link", "add", "bridge", "type", "bridge")
	run(t, "ip", "addr", "add", hostAddress+"/24", "dev", "bridge")
	run(t, "ip", "link", "set", "bridge", "up")

	c.ca = newPair(t, nil, pkix.Name{CommonName: "kubernetes"})
	serving := newPair(t, c.ca, pkix.Name{CommonName: "kube-apiserver"})
	admin := newPair(t, c.ca, pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}})
	c.authorities = string(c.ca.certPEM)

	serviceAccounts, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}

	c.write(t, "ca.crt", c.ca.certPEM)
	c.write(t, "ca.key", c.ca.keyPEM)
	c.write(t, "serving.crt", serving.certPEM)
	c.write(t, "serving.key", serving.keyPEM)
	c.write(t, "sa.key", pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(serviceAccounts),
	}))
	c.write(t, "kubeconfig", kubeconfig(c.ca, admin))

	c.admin = &rest.Config{Host: server, QPS: 200, Burst: 400, TLSClientConfig: rest.TLSClientConfig{
		CAData: c.ca.certPEM, CertData: admin.certPEM, KeyData: admin.keyPEM,
	}}
	if c.client, err = kubernetes.NewForConfig(c.admin); err != nil {
		t.Fatal(err)
	}

	c.start(t, etcd, "--data-dir="+c.path("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380")
	c.startAPIServer(t)

	c.start(t, kube, "kube-controller-manager", "--kubeconfig="+c.path("kubeconfig"), "--leader-elect=false",
		"--cluster-signing-cert-file="+c.path("ca.crt"), "--cluster-signing-key-file="+c.path("ca.key"),
		"--root-ca-file="+c.path("ca.crt"), "--service-account-private-key-file="+c.path("sa.key"),
		"--use-service-account-credentials", "--allocate-node-cidrs", "--cluster-cidr=10.244.0.0/14",
		"--node-monitor-grace-period="+nodeMonitorGrace.String(), "--node-monitor-period=1s")
	c.start(t, kube, "kube-scheduler", "--kubeconfig="+c.path("kubeconfig"), "--leader-elect=false")

	c.allowNodesToJoin(t)

	c.startPlayer(t)

	return c
}

func (c *cluster) startAPIServer(t *testing.T) {
	t.Helper()

	c.apiServer = c.start(t, program(t, "KUBE"), "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", "--advertise-address="+hostAddress, "--service-cluster-ip-range=10.96.0.0/12",
		"--client-ca-file="+c.path("ca.crt"),
		"--tls-cert-file="+c.path("serving.crt"), "--tls-private-key-file="+c.path("serving.key"),
		"--service-account-key-file="+c.path("sa.key"), "--service-account-signing-key-file="+c.path("sa.key"),
		"--service-account-issuer="+server, "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", "--enable-bootstrap-token-auth")

	until(t, "the API server answers", func() error {
		return c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(context.Background()).Error()
	})
}

func (c *cluster) startPlayer(t *testing.T) {
	t.Helper()

	c.player = c.start(t, program(t, "TALOS_KUBELETS"), "--socket", c.socket)

	until(t, "the player listens", func() error {
		connection, err := net.Dial("unix", c.socket)
		if err == nil {
			connection.Close() //nolint:errcheck
		}

		return err
	})
}

// allowNodesToJoin makes what Talos' bootstrap manifests have for this.
func (c *cluster) allowNodesToJoin(t *testing.T) {
	t.Helper()

	ctx := context.Background()
	_, err := c.client.CoreV1().Secrets("kube-system").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + bootstrapToken[:6]},
		Type:       corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{
			"token-id": bootstrapToken[:6], "token-secret": bootstrapToken[7:], "usage-bootstrap-authentication": "true",
			"auth-extra-groups": "system:bootstrappers:nodes",
		},
	}, metav1.CreateOptions{})
	must(t, err)

	for name, binding := range map[string]struct{ role, group string }{
		"bootstrap": {"system:node-bootstrapper", "system:bootstrappers:nodes"},
		"approve":   {"system:certificates.k8s.io:certificatesigningrequests:nodeclient", "system:bootstrappers:nodes"},
		"renew":     {"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:nodes"},
	} {
		_, err := c.client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: binding.role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: binding.group}},
		}, metav1.CreateOptions{})
		must(t, err)
	}
}

// settings are those of a small worker.
func (c *cluster) settings(t *testing.T, name string, address string) kubeletapi.Settings {
	t.Helper()

	settings := smallWorker(name, address)
	settings.Server = server
	settings.Authorities = c.authorities
	settings.BootstrapToken = bootstrapToken
	settings.StateDirectory = c.path(name)

	return settings
}

func (c *cluster) path(name string) string { return filepath.Join(c.folder, name) }

func (c *cluster) write(t *testing.T, name string, content []byte) {
	t.Helper()
	must(t, os.WriteFile(c.path(name), content, 0o600))
}

// start runs a program until the test is over. Its log is shown if the test fails.
func (c *cluster) start(t *testing.T, program string, arguments ...string) *exec.Cmd {
	t.Helper()

	name := filepath.Base(program)
	if name == "kube" {
		name = arguments[0]
	}

	log, err := os.OpenFile(c.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)

	command := exec.Command(program, arguments...) //nolint:gosec
	command.Stdout, command.Stderr = log, log
	command.Dir = c.folder
	must(t, command.Start())

	t.Cleanup(func() {
		command.Process.Kill() //nolint:errcheck
		command.Wait()         //nolint:errcheck
		log.Close()            //nolint:errcheck

		if t.Failed() {
			content, _ := os.ReadFile(log.Name())
			t.Logf("--- the last of %s:\n%s", log.Name(), content[max(0, len(content)-4000):])
		}
	})

	return command
}

func newPair(t *testing.T, authority *pair, subject pkix.Name) *pair {
	t.Helper()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)

	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	must(t, err)

	template := &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		// Most of its life is over, so that a kubelet to whom one is given renews it.
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.ParseIP(hostAddress), net.ParseIP("127.0.0.1")},
	}
	parent, signer := template, key

	if authority == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage |= x509.KeyUsageCertSign
		template.ExtKeyUsage, template.IPAddresses = nil, nil
	} else {
		parent, signer = authority.certificate, authority.key
	}

	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	must(t, err)

	certificate, err := x509.ParseCertificate(der)
	must(t, err)

	encoded, err := x509.MarshalECPrivateKey(key)
	must(t, err)

	return &pair{
		certificate: certificate, key: key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}),
	}
}

func kubeconfig(authority, client *pair) []byte {
	return fmt.Appendf(nil, `{"apiVersion": "v1", "kind": "Config", "current-context": "c",
"clusters": [{"name": "c", "cluster": {"server": %q, "certificate-authority-data": %q}}],
"users": [{"name": "u", "user": {"client-certificate-data": %q, "client-key-data": %q}}],
"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}`,
		server, base64Of(authority.certPEM), base64Of(client.certPEM), base64Of(client.keyPEM))
}

func run(t *testing.T, name string, arguments ...string) {
	t.Helper()

	if output, err := exec.Command(name, arguments...).CombinedOutput(); err != nil { //nolint:gosec
		t.Fatalf("%s %v: %v\n%s", name, arguments, err, output)
	}
}

func must(t *testing.T, err error) {
	t.Helper()

	if err != nil {
		t.Fatal(err)
	}
}

// until waits for something to be as it should.
func until(t *testing.T, what string, check func() error) {
	t.Helper()

	deadline := time.Now().Add(patience)

	for {
		err := check()
		if err == nil {
			return
		}

		if time.Now().After(deadline) {
			t.Fatalf("in %s it did not happen that %s: %v", patience, what, err)
		}

		time.Sleep(50 * time.Millisecond)
	}
}
