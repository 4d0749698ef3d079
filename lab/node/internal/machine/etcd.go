package machine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	etcdres "github.com/siderolabs/talos/pkg/machinery/resources/etcd"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/node"
	"cluster-stack/lab/node/internal/pki"
	"cluster-stack/lab/node/internal/process"
	"cluster-stack/lab/node/internal/services"
)

const (
	etcdService = "etcd"

	etcdRetry  = time.Second
	etcdHealth = 5 * time.Second

	// until it is healthy for the first time a member is asked more often
	etcdStartup = 250 * time.Millisecond

	// restartInterval is that of Talos' service runner
	restartInterval = 5 * time.Second
)

var errHasData = status.Error(codes.AlreadyExists, "etcd data directory is not empty")

// runEtcd runs the etcd member: one that has data resumes; one without joins
// the cluster of the other control planes, unless it is bootstrapped first. A
// member that ends by itself is started again for ever.
func (l *life) runEtcd(ctx context.Context) {
	for !l.node.Services.Is("cri", services.Running) || l.node.Hostname() == "" || len(l.node.IPs()) == 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(waitStep):
		}
	}

	l.node.Services.Set(etcdService, services.Preparing, "Running pre state")

	member, err := l.prepareEtcd()
	if err != nil {
		l.node.Services.Set(etcdService, services.Failed, "Failed to run pre stage: %s", err)

		return
	}

	l.node.Etcd.Store(member)

	go l.slowDisk(ctx, member)

	start := func() error { return l.startEtcd(ctx, member) }

	for ctx.Err() == nil {
		if err := start(); err != nil {
			if ctx.Err() == nil {
				l.node.Services.Set(etcdService, services.Failed, "Failed to start etcd: %s", err)
				l.answerBootstraps(ctx, restartInterval)
			}

			continue
		}

		running := member.Process()
		if running != nil {
			l.node.Services.Set(etcdService, services.Running, "Started task etcd (PID %d) for container etcd", running.PID())
			l.watchEtcd(ctx, member, running)
		}

		// a machine on its way down has stopped it on purpose
		if ctx.Err() != nil || l.node.Busy() {
			return
		}

		if member.Dismissed() {
			// it has left its cluster; only a bootstrap brings it back in this boot
			l.node.Services.Set(etcdService, services.Finished, "Service finished successfully")
			l.awaitBootstrap(ctx, member)

			start = func() error { return nil }

			continue
		}

		member.Ended(running)
		l.node.Services.Set(etcdService, services.Waiting, "%s", whyRestarted(running.Err()))
		l.answerBootstraps(ctx, restartInterval)

		start = member.Restart
	}
}

// whyRestarted is in the words of Talos' service runner.
func whyRestarted(err error) string {
	if err == nil {
		return "Runner Containerd(etcd) exited without error, going to restart it"
	}

	return fmt.Sprintf("Error running Containerd(etcd), going to restart forever: task %q failed: %s", etcdService, err)
}

func (l *life) etcdData() string { return node.EtcdData(l.node.Disk()) }

func (l *life) prepareEtcd() (*etcd.Member, error) {
	spec, err := l.etcdSpec()
	if err != nil {
		return nil, err
	}

	certificates, err := pki.NewEtcd(l.node.Config().Cluster().Etcd().CA(), l.node.EtcdSubject())
	if err != nil {
		return nil, err
	}

	environment := []string{"PATH=" + os.Getenv("PATH")}
	for name, value := range l.node.Config().Machine().Env() {
		environment = append(environment, name+"="+value)
	}

	return etcd.NewMember(etcd.Config{
		Spec: spec, DataDir: l.etcdData(), PKI: certificates, PKIDir: filepath.Join(l.hw.Dir, runDirectory, "etcd"),
		Env: environment, Log: l.node.Logs.Service(etcdService).Append,
	})
}

// etcdSpec is what etcd is to be with the present configuration, name and
// addresses.
func (l *life) etcdSpec() (etcdres.SpecSpec, error) {
	settings := etcd.NewConfig(l.node.Config())

	spec, err := etcd.NewSpec(settings, l.node.Hostname(), l.node.IPs())
	if err != nil {
		return spec, err
	}

	return spec, l.node.PublishEtcd(settings, spec)
}

// startEtcd returns when the member runs.
func (l *life) startEtcd(ctx context.Context, member *etcd.Member) error {
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

			l.node.Logs.Service(etcdService).Append("etcd is waiting to join the cluster, if this node is the first node in the cluster, " +
				"please run `talosctl bootstrap` against one of the following IPs: " + fmt.Sprint(l.node.IPs()) + ": " + err.Error())
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
	l.node.Services.Set(etcdService, services.Preparing, "Bootstrap requested")

	if request.Recover {
		return member.Recover(request.SkipHashCheck)
	}

	return member.Bootstrap()
}

// awaitBootstrap waits for a bootstrap that succeeds.
func (l *life) awaitBootstrap(ctx context.Context, member *etcd.Member) {
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

// answerBootstraps refuses the bootstraps that come within a time.
func (l *life) answerBootstraps(ctx context.Context, length time.Duration) {
	end := time.After(length)

	for {
		select {
		case <-ctx.Done():
			return
		case <-end:
			return
		case request := <-l.node.Bootstraps:
			request.Done <- errHasData
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

		// a member that etcd's end has taken away for a while is still to be promoted
		if ctx.Err() != nil || member.Dismissed() || errors.Is(err, rpctypes.ErrMemberNotFound) {
			return
		}

		l.node.Logs.Service(etcdService).Append(fmt.Sprintf("etcd member is not promoted yet: %s", err))

		select {
		case <-ctx.Done():
		case <-time.After(etcdRetry):
		}
	}
}

// watchEtcd reports the member's health until it ends, and keeps its
// certificates and what the others know of it up to date.
func (l *life) watchEtcd(ctx context.Context, member *etcd.Member, running *process.Process) {
	client, err := member.LocalClient()
	if err != nil {
		l.node.Services.Health(etcdService, false, err.Error())

		return
	}

	defer client.Close() //nolint:errcheck

	var advertised []netip.Addr

	published := false
	wait := etcdStartup

	for {
		select {
		case <-ctx.Done():
			return
		case <-running.Done():
			return
		case request := <-l.node.Bootstraps:
			request.Done <- errHasData
		case <-time.After(wait):
			if !published {
				published = l.publishEtcdMember(ctx, member)
			}

			err := member.Health(ctx, client)
			if err == nil {
				advertised, err = l.followAddresses(ctx, member, client, advertised)
			}

			if ctx.Err() != nil {
				return
			}

			wait = etcdHealth
			if err != nil {
				wait = etcdStartup
			}

			l.node.Services.Health(etcdService, err == nil, text(err))
		}
	}
}

func (l *life) publishEtcdMember(ctx context.Context, member *etcd.Member) bool {
	id, err := member.ID(ctx)
	if err != nil {
		return false
	}

	if err := l.node.PublishEtcdMember(id); err != nil {
		l.node.Logs.Printf("%s", err)
	}

	return true
}

// followAddresses renews what the member's certificates are for, and tells the
// cluster where the member is when that is not what it was told. It returns
// what the cluster knows.
func (l *life) followAddresses(
	ctx context.Context, member *etcd.Member, client *clientv3.Client, advertised []netip.Addr,
) ([]netip.Addr, error) {
	if subject := l.node.EtcdSubject(); !slices.Equal(member.PKI().Subject.Addresses, subject.Addresses) {
		certificates, err := pki.NewEtcd(l.node.Config().Cluster().Etcd().CA(), subject)
		if err == nil {
			err = member.SetPKI(certificates)
		}

		if err != nil {
			return advertised, err
		}
	}

	spec, err := l.etcdSpec()
	if err != nil || slices.Equal(advertised, spec.AdvertisedAddresses) {
		return advertised, err
	}

	if err := member.Advertise(ctx, client, spec.AdvertisedAddresses); err != nil {
		return advertised, err
	}

	return spec.AdvertisedAddresses, nil
}

func text(err error) string {
	if err == nil || errors.Is(err, context.Canceled) {
		return ""
	}

	return err.Error()
}
