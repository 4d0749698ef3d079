package machine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	machineapi "github.com/siderolabs/talos/pkg/machinery/api/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/resources/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cluster-stack/lab/node/internal/api"
	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/network"
	"cluster-stack/lab/node/internal/node"
	"cluster-stack/lab/node/internal/pki"
	"cluster-stack/lab/node/internal/services"
	"cluster-stack/lab/node/internal/trustd"
)

// startServices starts what a configured machine runs and returns when all of
// it is up: on a control plane that is after etcd has been bootstrapped.
// containerd, cri, udevd and the kubelet are names only.
func (l *life) startServices(ctx context.Context) error {
	l.publish("", &machineapi.SequenceEvent{Sequence: "boot", Action: machineapi.SequenceEvent_START})
	l.publish("", &machineapi.PhaseEvent{Phase: "startEverything", Action: machineapi.PhaseEvent_START})

	required := []string{"machined", "containerd", "udevd", "cri", "apid", "kubelet"}

	l.node.Services.Set("kubelet", services.Waiting, "Waiting for service \"cri\" to be \"up\"")
	l.node.Services.Set("apid", services.Waiting, "Waiting for api certificates")

	go l.runAPI(ctx)

	if l.node.IsControlPlane() {
		required = append(required, "trustd", "etcd")

		l.node.Services.Set("trustd", services.Waiting, "Waiting for service \"containerd\" to be \"up\"")
		l.node.Services.Set("etcd", services.Waiting, "Waiting for service \"cri\" to be \"up\"")

		go l.runTrustd(ctx)
		go l.runEtcd(ctx)
	}

	for _, step := range [][]string{{"containerd", "udevd"}, {"cri"}, {"kubelet"}} {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.hw.Delays.Service()):
		}

		for _, id := range step {
			l.node.Services.Set(id, services.Running, "Process %s started", id)

			if id == "kubelet" {
				l.node.Services.Health(id, true, "simulated: this lab runs no Kubernetes, the kubelet registers no node")
				// The list of services shows the last event only, so the last one says it.
				l.node.Services.Set(id, services.Running, "Simulated: this lab runs no Kubernetes")

				continue
			}

			l.node.Services.Health(id, true, "")
		}
	}

	for !l.node.Services.Up(required) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(waitStep):
		}
	}

	l.publish("", &machineapi.PhaseEvent{Phase: "startEverything", Action: machineapi.PhaseEvent_STOP})
	l.publish("", &machineapi.SequenceEvent{Sequence: "boot", Action: machineapi.SequenceEvent_STOP})
	l.node.SetStage(runtime.MachineStageRunning)

	return nil
}

// runAPI serves the API with the cluster's certificates, as soon as there are any.
func (l *life) runAPI(ctx context.Context) {
	for l.node.Identity.Load() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(waitStep):
		}
	}

	served := l.serveAPI(ctx, api.New(ctx, l.node), false)

	l.node.Services.Set("apid", services.Running, "Started task apid")
	l.node.Services.Health("apid", true, "")

	if err := <-served; ctx.Err() == nil {
		l.node.Services.Set("apid", services.Failed, "%v", err)
	}
}

// runTrustd serves the signing of workers' certificates.
func (l *life) runTrustd(ctx context.Context) {
	for l.node.TrustdCertificate.Load() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(waitStep):
		}
	}

	listener := network.NewListener(constants.TrustdPort)
	l.reconciler.trustd.Store(listener)
	l.node.Kick()

	server := &trustd.Server{
		Machine:  func() config.MachineConfig { return l.node.Config().Machine() },
		Identity: func() *tls.Certificate { return l.node.TrustdCertificate.Load() },
		Logf: func(format string, args ...any) {
			l.node.Logs.Service("trustd").Append(fmt.Sprintf(format, args...))
		},
	}

	l.node.Services.Set("trustd", services.Running, "Started task trustd")
	l.node.Services.Health("trustd", true, "")

	if err := server.Serve(ctx, listener); ctx.Err() == nil {
		l.node.Services.Set("trustd", services.Failed, "%v", err)
	}
}

const (
	etcdRetry  = time.Second
	etcdHealth = 5 * time.Second

	// until it is healthy for the first time a member is asked more often
	etcdStartup = 250 * time.Millisecond
)

var errHasData = status.Error(codes.AlreadyExists, "etcd data directory is not empty")

// runEtcd runs the etcd member: one that has data resumes; one without joins
// the cluster of the other control planes, unless it is bootstrapped first.
func (l *life) runEtcd(ctx context.Context) {
	const id = "etcd"

	for !l.node.Services.Is("cri", services.Running) || l.node.Hostname() == "" || len(l.node.Network().IPs()) == 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(waitStep):
		}
	}

	l.node.Services.Set(id, services.Preparing, "Running pre state")

	member, err := l.prepareEtcd()
	if err != nil {
		l.node.Services.Set(id, services.Failed, "%s", err)

		return
	}

	l.node.Etcd.Store(member)

	for ctx.Err() == nil {
		if err := l.startEtcd(ctx, member); err != nil {
			if ctx.Err() == nil {
				l.node.Services.Set(id, services.Failed, "Failed to start etcd: %s", err)
				l.pause(ctx, etcdHealth)
			}

			continue
		}

		l.node.Services.Set(id, services.Running, "Started task etcd")
		l.watchEtcd(ctx, member)

		// a machine on its way down has stopped it on purpose
		if ctx.Err() != nil || l.node.Busy() {
			return
		}

		if !etcd.HasData(l.etcdData()) {
			// it has left its cluster; only a bootstrap brings it back in this boot
			l.node.Services.Set(id, services.Finished, "Service finished successfully")
			l.answerBootstrap(ctx, member)

			continue
		}

		member.Stop()
		l.node.Services.Set(id, services.Waiting, "Error running etcd, going to restart forever: the server stopped")
		l.pause(ctx, etcdHealth)
	}
}

func (l *life) pause(ctx context.Context, length time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
}

func (l *life) etcdData() string { return filepath.Join(l.node.Disk().Partition("EPHEMERAL"), "etcd") }

func (l *life) prepareEtcd() (*etcd.Member, error) {
	certificates, err := pki.NewEtcd(l.node.Config().Cluster().Etcd().CA(), l.node.Subject())
	if err != nil {
		return nil, err
	}

	address, err := l.etcdAddress()
	if err != nil {
		return nil, err
	}

	return etcd.NewMember(etcd.Config{
		Name: l.node.Hostname(), Address: address, DataDir: l.etcdData(), PKI: certificates,
		PKIDir: filepath.Join(l.hw.Dir, "run", "etcd"), Log: l.node.Logs.Service("etcd").Append,
		Dialer: l.node.Dialer(),
	})
}

// etcdAddress is the address that the member advertises: the first of the
// configured subnets, else the machine's first address.
func (l *life) etcdAddress() (netip.Addr, error) {
	addresses := l.node.Network().IPs()

	subnets := l.node.Config().Cluster().Etcd().AdvertisedSubnets()
	for _, text := range subnets {
		subnet, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}

		for _, address := range addresses {
			if subnet.Contains(address) {
				return address, nil
			}
		}
	}

	if len(subnets) > 0 {
		return netip.Addr{}, fmt.Errorf("no address of this machine is in the etcd subnets %s", subnets)
	}

	return addresses[0], nil
}

// startEtcd returns when the member runs.
func (l *life) startEtcd(ctx context.Context, member *etcd.Member) error {
	if member.Running() {
		return nil
	}

	if etcd.HasData(l.etcdData()) {
		return member.Resume()
	}

	for {
		attempt, cancel := context.WithCancel(ctx)
		joined := make(chan error, 1)

		var learner uint64

		go func() {
			id, err := member.Join(attempt, l.node.OtherControlPlanes())
			learner = id
			joined <- err
		}()

		select {
		case err := <-joined:
			cancel()

			if err == nil {
				go l.promote(ctx, member, learner)

				return nil
			}

			l.node.Logs.Service("etcd").Append("etcd is waiting to join the cluster, if this node is the first node in the cluster, " +
				"please run `talosctl bootstrap` against one of the following IPs: " + fmt.Sprint(l.node.Network().IPs()) + ": " + err.Error())
		case request := <-l.node.Bootstraps:
			cancel()

			if err := <-joined; err == nil {
				request.Done <- errHasData

				go l.promote(ctx, member, learner)

				return nil
			}

			err := l.bootstrap(member, request)
			request.Done <- err

			if err == nil {
				return nil
			}
		case <-ctx.Done():
			cancel()

			return ctx.Err()
		}

		if l.waitOrBootstrap(ctx, member) {
			return nil
		}
	}
}

// waitOrBootstrap waits until the next attempt to join, and tells whether the
// member has been bootstrapped instead.
func (l *life) waitOrBootstrap(ctx context.Context, member *etcd.Member) bool {
	select {
	case <-ctx.Done():
	case <-time.After(etcdRetry):
	case request := <-l.node.Bootstraps:
		err := l.bootstrap(member, request)
		request.Done <- err

		return err == nil
	}

	return false
}

func (l *life) bootstrap(member *etcd.Member, request node.BootstrapRequest) error {
	l.node.Services.Set("etcd", services.Preparing, "Bootstrap requested")

	if request.Recover {
		return member.Recover(request.SkipHashCheck)
	}

	return member.Bootstrap()
}

// answerBootstrap waits for a bootstrap that succeeds.
func (l *life) answerBootstrap(ctx context.Context, member *etcd.Member) {
	for {
		select {
		case <-ctx.Done():
			return
		case request := <-l.node.Bootstraps:
			err := l.bootstrap(member, request)
			request.Done <- err

			if err == nil {
				return
			}
		}
	}
}

// promote makes the learner a voting member once it has caught up.
func (l *life) promote(ctx context.Context, member *etcd.Member, learner uint64) {
	for {
		err := member.Promote(ctx, learner, l.node.OtherControlPlanes())
		if err == nil {
			l.node.Logs.Printf("successfully promoted etcd member")

			return
		}

		if ctx.Err() != nil || !member.Running() {
			return
		}

		l.node.Logs.Service("etcd").Append(fmt.Sprintf("etcd member is not promoted yet: %s", err))
		l.pause(ctx, etcdRetry)
	}
}

// watchEtcd reports the member's health until it stops.
func (l *life) watchEtcd(ctx context.Context, member *etcd.Member) {
	stopped := member.Stopped()

	client, err := member.LocalClient()
	if err != nil {
		l.node.Services.Health("etcd", false, err.Error())

		return
	}

	defer client.Close() //nolint:errcheck

	if id, err := member.ID(); err == nil {
		if err := l.node.PublishEtcdMember(id); err != nil {
			l.node.Logs.Printf("%s", err)
		}
	}

	readdressed := false
	wait := etcdStartup

	for {
		select {
		case <-ctx.Done():
			return
		case <-stopped:
			return
		case request := <-l.node.Bootstraps:
			request.Done <- errHasData
		case <-time.After(wait):
			err := member.Health(ctx, client)
			if ctx.Err() != nil {
				return
			}

			if err == nil && !readdressed {
				readdressed = member.Readdress(ctx, client) == nil
			}

			wait = etcdHealth
			if err != nil {
				wait = etcdStartup
			}

			l.node.Services.Health("etcd", err == nil, text(err))
		}
	}
}

func text(err error) string {
	if err == nil || errors.Is(err, context.Canceled) {
		return ""
	}

	return err.Error()
}
