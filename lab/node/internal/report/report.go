// Package report keeps a file in the machine's folder in which it says how it
// is: what the lab's page shows. The file is for people who look on; nobody
// decides anything by it, and no secret is ever in it.
package report

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/siderolabs/talos/pkg/machinery/resources/k8s"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"

	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/node"
)

// File is the name of the file.
const File = "status.json"

const (
	// pause is the least time between two versions of the file
	pause = 200 * time.Millisecond
	// interval is how often what has no event of its own is looked at
	interval = 2 * time.Second

	shownEvents = 30
)

// Report is what the file says. What is not known is left out.
type Report struct {
	// PID tells the report of this boot from one that an earlier boot left.
	PID    int       `json:"pid"`
	Booted time.Time `json:"booted"`

	Stage string  `json:"stage"`
	Ready bool    `json:"ready"`
	Unmet []Unmet `json:"unmet"`

	Hostname  string `json:"hostname,omitempty"`
	Cluster   string `json:"cluster,omitempty"`
	Role      string `json:"role,omitempty"`
	Talos     string `json:"talos"`
	Schematic string `json:"schematic"`
	Installed bool   `json:"installed"`

	Addresses  []Address   `json:"addresses"`
	Services   []Service   `json:"services"`
	Etcd       *Member     `json:"etcd,omitempty"`
	Kubernetes *Kubernetes `json:"kubernetes,omitempty"`
	Events     []Event     `json:"events"`
}

// Unmet is a condition that keeps the machine from being ready.
type Unmet struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Address is one that the machine has; a virtual one can be another's tomorrow.
type Address struct {
	Address string `json:"address"`
	Link    string `json:"link"`
	Virtual bool   `json:"virtual"`
}

// Service is one of Talos' services. Healthy is missing where nobody checks.
type Service struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Healthy *bool  `json:"healthy,omitempty"`
	Message string `json:"message,omitempty"`
}

// Kubernetes is the machine's Node, as Talos' own resource has it.
type Kubernetes struct {
	Node          string `json:"node"`
	Ready         bool   `json:"ready"`
	Unschedulable bool   `json:"unschedulable"`
	Version       string `json:"version,omitempty"`
}

// Keep keeps the file up to date until the context ends.
func Keep(ctx context.Context, system *node.Node) {
	member := newMemberWatch(system)
	go member.keep(ctx)

	var written []byte

	for {
		events, changed := latestEvents(system.Events)

		data, err := json.Marshal(collect(ctx, system, member.Latest(), events))
		if err == nil && !bytes.Equal(data, written) {
			if err = replace(data); err == nil {
				written = data
			}
		}

		if err != nil && ctx.Err() == nil {
			system.Logs.Printf("the report %s is not written: %s", File, err)
		}

		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-member.changed:
		case <-time.After(interval):
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// replace puts the new version into place in one step.
func replace(data []byte) error {
	draft := "." + File

	if err := os.WriteFile(draft, data, 0o600); err != nil {
		return err
	}

	return os.Rename(draft, File)
}

func collect(ctx context.Context, system *node.Node, member *Member, events []Event) Report {
	report := Report{
		PID: os.Getpid(), Booted: system.BootTime.UTC(), Stage: runtime.MachineStageBooting.String(), Unmet: []Unmet{},
		Hostname: system.Hostname(), Talos: system.Version.Tag(), Schematic: system.Image.Schematic,
		Installed: system.Disk() != nil, Etcd: member, Events: events,
	}

	current, err := safe.StateGetByID[*runtime.MachineStatus](ctx, system.Resources, runtime.MachineStatusID)
	if err == nil {
		report.Stage, report.Ready = current.TypedSpec().Stage.String(), current.TypedSpec().Status.Ready

		for _, condition := range current.TypedSpec().Status.UnmetConditions {
			report.Unmet = append(report.Unmet, Unmet{Name: condition.Name, Reason: condition.Reason})
		}
	}

	var virtual []string

	if settings := system.Config(); settings != nil && settings.Machine() != nil && settings.Cluster() != nil {
		report.Role, report.Cluster = settings.Machine().Type().String(), settings.Cluster().Name()
		// those that no member of etcd advertises are the virtual ones
		virtual = etcd.NewConfig(settings).AdvertiseExcludeSubnets
		report.Kubernetes = kubernetes(ctx, system, settings.Machine().Kubelet().Image())
	}

	report.Addresses = addresses(system, virtual)
	report.Services = services(system)

	return report
}

func addresses(system *node.Node, virtual []string) []Address {
	list := []Address{}
	state := system.KernelNetwork()
	own := state.NodeAddresses(true)

	for _, address := range state.Addresses {
		if slices.Contains(own, address.Address) {
			list = append(list, Address{
				Address: address.Address.String(), Link: address.LinkName,
				Virtual: slices.Contains(virtual, address.Address.Addr().String()),
			})
		}
	}

	return list
}

func services(system *node.Node) []Service {
	list := []Service{}

	for _, info := range system.Services.List() {
		service := Service{Name: info.Id, State: info.State, Message: info.Health.LastMessage}
		if !info.Health.Unknown {
			service.Healthy = &info.Health.Healthy
		}

		list = append(list, service)
	}

	return list
}

func kubernetes(ctx context.Context, system *node.Node, kubelet string) *Kubernetes {
	found, err := safe.StateListAll[*k8s.NodeStatus](ctx, system.Resources)
	if err != nil || found.Len() == 0 {
		return nil
	}

	spec := found.Get(0).TypedSpec()
	version := kubelet[strings.LastIndex(kubelet, ":")+1:]

	return &Kubernetes{
		Node: spec.Nodename, Ready: spec.NodeReady, Unschedulable: spec.Unschedulable, Version: version,
	}
}
