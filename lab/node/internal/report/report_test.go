package report_test

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"

	"cluster-stack/lab/node/internal/hardware"
	"cluster-stack/lab/node/internal/node"
	"cluster-stack/lab/node/internal/report"
	"cluster-stack/lab/node/internal/services"
)

const configuration = `
machine: {type: controlplane, token: very.secret, kubelet: {image: "ghcr.io/siderolabs/kubelet:v1.34.2"}}
cluster: {clusterName: homelab, secret: very-secret, token: also.secret, controlPlane: {endpoint: "https://10.0.0.1:6443"}}
`

func keep(t *testing.T) (*node.Node, func(wanted string, is func(report.Report) bool) report.Report) {
	t.Helper()
	t.Chdir(t.TempDir())

	image := &hardware.Image{Version: "v1.13.0", Platform: "nocloud", Schematic: "0123"}
	disk := &hardware.Disk{Device: "/dev/sda", Path: filepath.Join(t.TempDir(), "sda"), SizeBytes: 20 << 30}

	system, err := node.New(t.Context(), &hardware.Machine{Disks: []hardware.Disk{*disk}}, image, disk, io.Discard)
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})

	go func() { report.Keep(ctx, system); close(ended) }()

	t.Cleanup(func() { stop(); <-ended })

	return system, func(wanted string, is func(report.Report) bool) report.Report {
		t.Helper()

		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			var current report.Report
			if data, err := os.ReadFile(report.File); err == nil {
				if err := json.Unmarshal(data, &current); err != nil {
					t.Fatalf("%s: %s", err, data)
				}

				if is(current) {
					return current
				}
			}
		}

		data, _ := os.ReadFile(report.File) //nolint:errcheck
		t.Fatalf("it does not say that %s: %s", wanted, data)

		return report.Report{}
	}
}

func TestTheReportFollowsTheMachine(t *testing.T) {
	system, await := keep(t)

	first := await("it boots", func(r report.Report) bool { return r.Stage == "booting" })
	if first.PID != os.Getpid() || first.Talos != "v1.13.0" || first.Schematic != "0123" || first.Role != "" || first.Etcd != nil {
		t.Fatalf("%+v", first)
	}

	settings, err := configloader.NewFromBytes([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}

	if err := system.SetActive(settings); err != nil {
		t.Fatal(err)
	}

	system.SetStage(runtime.MachineStageRunning)
	system.Services.Set("kubelet", services.Running, "Started")
	system.Services.Health("kubelet", false, "it is tired")

	running := await("the kubelet is ill", func(r report.Report) bool {
		return r.Stage == "running" && len(r.Services) == 1 && r.Services[0].Healthy != nil
	})
	if running.Ready || running.Role != "controlplane" || running.Cluster != "homelab" || running.Services[0].Message != "it is tired" {
		t.Fatalf("%+v", running)
	}

	last := running.Events[len(running.Events)-1].Text
	if !strings.HasPrefix(last, "stage running, waits for network: waiting on: address, hostname; services: ") {
		t.Fatalf("%+v", running.Events)
	}
}

func TestAMachineWithoutANodeHasNoKubernetes(t *testing.T) {
	system, await := keep(t)

	settings, err := configloader.NewFromBytes([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}

	if err := system.SetActive(settings); err != nil {
		t.Fatal(err)
	}

	if alone := await("it has a role", func(r report.Report) bool { return r.Role != "" }); alone.Kubernetes != nil {
		t.Fatalf("%+v", alone.Kubernetes)
	}

	status := k8s.NewNodeStatus(k8s.NamespaceName, "cp1")
	status.TypedSpec().Nodename, status.TypedSpec().NodeReady = "cp1", true

	if err := system.Resources.Create(t.Context(), status); err != nil {
		t.Fatal(err)
	}

	found := await("it has a Node", func(r report.Report) bool { return r.Kubernetes != nil })
	if *found.Kubernetes != (report.Kubernetes{Node: "cp1", Ready: true, Version: "v1.34.2"}) {
		t.Fatalf("%+v", found.Kubernetes)
	}
}

func TestNoSecretIsInTheReport(t *testing.T) {
	system, await := keep(t)

	settings, err := configloader.NewFromBytes([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}

	if err := system.SetActive(settings); err != nil {
		t.Fatal(err)
	}

	await("it has a role", func(r report.Report) bool { return r.Role != "" })

	data, err := os.ReadFile(report.File)
	if err != nil || strings.Contains(string(data), "secret") {
		t.Fatalf("%v: %s", err, data)
	}
}
