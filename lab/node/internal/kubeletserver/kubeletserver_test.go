package kubeletserver_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"

	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/kubeletserver"
)

const patience = 30 * time.Second

func serve(t *testing.T) string {
	t.Helper()

	socket := filepath.Join(t.TempDir(), "kubelets.sock")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)

	go func() { done <- kubeletserver.Serve(ctx, socket, nil, slog.New(slog.DiscardHandler)) }()

	t.Cleanup(func() {
		cancel()

		if err := <-done; err != nil {
			t.Error(err)
		}
	})

	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		connection, err := net.Dial("unix", socket)
		if err == nil {
			connection.Close() //nolint:errcheck

			return socket
		}

		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// settings are those of a machine whose API server does not answer.
func settings(t *testing.T) kubeletapi.Settings {
	t.Helper()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}

	return kubeletapi.Settings{
		NodeName: "worker1", Hostname: "worker1", NodeIPs: []netip.Addr{netip.MustParseAddr("10.5.0.11")},
		Version: "v1.36.1", Architecture: "amd64", BootedAt: time.Now(),
		Cores: 1, MemoryBytes: 1 << 30, DiskBytes: 1 << 30, MaxPods: 110,
		Server:         "https://127.0.0.1:1",
		Authorities:    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		BootstrapToken: "abcdef.secretsecretsecr",
		StateDirectory: t.TempDir(),
	}
}

func TestSettingsThatLackSomethingAreRefused(t *testing.T) {
	incomplete := settings(t)
	incomplete.NodeName, incomplete.Cores = "", 0

	_, err := kubeletapi.Start(context.Background(), serve(t), incomplete)

	var refused *kubeletapi.Error
	if !errors.As(err, &refused) || refused.Message != "the settings of the kubelet lack nodeName, cores" {
		t.Errorf("%v", err)
	}
}

func TestTheFirstRequestStarts(t *testing.T) {
	connection, err := net.Dial("unix", serve(t))
	if err != nil {
		t.Fatal(err)
	}

	defer connection.Close() //nolint:errcheck

	if err := kubeletapi.SendNetwork(connection); err != nil {
		t.Fatal(err)
	}

	if err := json.NewEncoder(connection).Encode(kubeletapi.Request{ID: 1, StaticPods: &[]kubeletapi.StaticPod{}}); err != nil {
		t.Fatal(err)
	}

	var message kubeletapi.Message
	if err := json.NewDecoder(connection).Decode(&message); err != nil {
		t.Fatal(err)
	}

	if message.Answer == nil || message.Answer.Error == nil || !strings.Contains(message.Answer.Error.Message, "must start") {
		t.Errorf("%+v", message.Answer)
	}
}

func TestAnAPIServerThatDoesNotAnswerIsTold(t *testing.T) {
	client, err := kubeletapi.Start(context.Background(), serve(t), settings(t))
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	for {
		event, err := client.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}

		if event.Log != nil && strings.Contains(*event.Log, "secretsecret") {
			t.Error("a secret in the log")
		}

		if event.Log != nil && strings.Contains(*event.Log, "connection refused") {
			break
		}
	}

	// A request waits for the certificate, for as long as the machine does.
	impatient, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()

	if err := client.Apply(impatient, kubeletapi.NodeSpec{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}

	// Static pods do not wait for it.
	if err := client.SetStaticPods(ctx, []kubeletapi.StaticPod{{
		Manifest: json.RawMessage(`{"metadata": {"name": "etcd"}, "spec": {"containers": [{"name": "etcd"}]}}`), Source: "http",
	}}); err != nil {
		t.Fatal(err)
	}

	for {
		event, err := client.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}

		if event.StaticPods != nil {
			if pod := event.StaticPods.Pods[0]; pod.Name != "etcd-worker1" || !bytes.Contains(pod.Status, []byte(`"Pending"`)) {
				t.Errorf("%s %s", pod.Name, pod.Status)
			}

			break
		}
	}

	client.Close()

	if _, err := client.Next(ctx); err == nil {
		for err == nil { // what had come before the end
			_, err = client.Next(ctx)
		}

		if !errors.Is(err, kubeletapi.ErrClosed) {
			t.Errorf("%v", err)
		}
	}

	if err := client.Apply(ctx, kubeletapi.NodeSpec{}); !errors.Is(err, kubeletapi.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestAccessToTalosGoesOnUntilItIsCancelled(t *testing.T) {
	client, err := kubeletapi.Start(context.Background(), serve(t), settings(t))
	if err != nil {
		t.Fatal(err)
	}

	defer client.Close()

	var refused *kubeletapi.Error
	if err := client.KeepTalosService(t.Context(), kubeletapi.TalosService{}); !errors.As(err, &refused) {
		t.Errorf("without an administrator: %v", err)
	}

	made, err := secrets.NewTalosCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}

	administrator := kubeletapi.Credentials{
		Server: "https://127.0.0.1:1", Authorities: string(made.CrtPEM), Certificate: string(made.CrtPEM), Key: string(made.KeyPEM),
	}

	for what, keep := range map[string]func(context.Context) error{
		"the Service": func(ctx context.Context) error {
			return client.KeepTalosService(ctx, kubeletapi.TalosService{Administrator: administrator})
		},
		"service accounts": func(ctx context.Context) error {
			return client.KeepServiceAccounts(ctx, kubeletapi.ServiceAccounts{Administrator: administrator})
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()

		if err := keep(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
