package machine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	"go.etcd.io/etcd/client/v3/concurrency"

	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/network"
)

const (
	campaignRetry = time.Second
	resignTimeout = 10 * time.Second
)

// virtual is what the control planes have between them, one at a time:
// which of the addresses this machine has now.
type virtual struct {
	mu   sync.Mutex
	held map[netip.Addr]bool
}

// runVirtualAddresses takes part in the election of every virtual address that
// the configuration names.
func (l *life) runVirtualAddresses(ctx context.Context) {
	campaigns := map[netip.Addr]context.CancelFunc{}

	defer func() {
		for _, stop := range campaigns {
			stop()
		}
	}()

	for ; ctx.Err() == nil && !l.kubernetes.stopped.Load(); pause(ctx, poll) {
		links := l.node.Network().Virtual()

		for address, stop := range maps.Clone(campaigns) {
			if _, wanted := links[address]; !wanted {
				stop()
				delete(campaigns, address)
			}
		}

		for address, link := range links {
			if campaigns[address] == nil {
				campaign, stop := context.WithCancel(ctx)
				campaigns[address] = stop

				go l.runCampaign(campaign, link, address)
			}
		}
	}
}

func (l *life) runCampaign(ctx context.Context, link string, address netip.Addr) {
	for ; ctx.Err() == nil; pause(ctx, campaignRetry) {
		if !l.node.Services.Up([]string{etcdService}) {
			continue
		}

		if err := l.campaign(ctx, link, address); err != nil && ctx.Err() == nil {
			l.node.Logs.Printf("campaign failure: %s (link %s, ip %s)", err, link, address)
		}
	}
}

// campaign waits until this machine wins the address, has it, and returns when it
// has it no longer.
func (l *life) campaign(ctx context.Context, link string, address netip.Addr) error {
	member := l.node.Etcd.Load()
	if member == nil || member.Process() == nil {
		return errors.New("etcd is not there")
	}

	client, err := member.LocalClient()
	if err != nil {
		return fmt.Errorf("failed to create local etcd client: %w", err)
	}

	defer client.Close() //nolint:errcheck // the session is what counts

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	go l.endWithEtcd(ctx, member, cancel)

	session, err := concurrency.NewSession(client)
	if err != nil {
		return fmt.Errorf("failed to create concurrency session: %w", err)
	}

	defer session.Close() //nolint:errcheck // a lease that is not revoked runs out

	key := fmt.Sprintf("%s:vip:election:%s", constants.EtcdRootTalosKey, address)
	election := concurrency.NewElection(session, key)
	name := l.node.Hostname()

	if err := l.resignEarlier(ctx, session, election, key, name); err != nil {
		return err
	}

	if err := election.Campaign(ctx, name); err != nil {
		return fmt.Errorf("failed to conduct campaign: %w", err)
	}

	defer func() {
		resigning, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
		defer cancel()

		election.Resign(resigning) //nolint:errcheck // else the session's lease runs out
	}()

	l.hold(link, address, true)
	l.node.Logs.Printf("enabled shared IP (link %s, ip %s)", link, address)

	defer func() {
		l.hold(link, address, false)
		l.node.Logs.Printf("removing shared IP (link %s, ip %s)", link, address)
	}()

	observed := election.Observe(ctx)

	for {
		select {
		case <-session.Done():
			return nil
		case <-ctx.Done():
			return nil
		case leader, open := <-observed:
			if !open || string(leader.Kvs[0].Value) != name {
				return nil
			}
		}
	}
}

// resignEarlier ends the leadership that this machine has from before a reboot.
func (l *life) resignEarlier(
	ctx context.Context, session *concurrency.Session, election *concurrency.Election, key, name string,
) error {
	leader, err := election.Leader(ctx)

	switch {
	case errors.Is(err, concurrency.ErrElectionNoLeader):
		return nil
	case err != nil:
		return fmt.Errorf("failed getting current leader: %w", err)
	case string(leader.Kvs[0].Value) != name:
		return nil
	}

	l.node.Logs.Printf("resigning from previous election")

	earlier := concurrency.ResumeElection(session, key, string(leader.Kvs[0].Key), leader.Kvs[0].CreateRevision)
	if err := earlier.Resign(ctx); err != nil {
		return fmt.Errorf("failed resigning from previous elections: %w", err)
	}

	return nil
}

// endWithEtcd cancels when etcd has ended or the machine goes down.
func (l *life) endWithEtcd(ctx context.Context, member *etcd.Member, cancel context.CancelFunc) {
	defer cancel()

	running := member.Process()
	if running == nil {
		return
	}

	ticker := time.NewTicker(waitStep)
	defer ticker.Stop()

	for !l.kubernetes.stopped.Load() {
		select {
		case <-ctx.Done():
			return
		case <-running.Done():
			return
		case <-ticker.C:
		}
	}
}

// hold has the address put on its link, or taken away.
func (l *life) hold(link string, address netip.Addr, held bool) {
	l.virtual.mu.Lock()
	if held {
		l.virtual.held[address] = true
	} else {
		delete(l.virtual.held, address)
	}
	l.virtual.mu.Unlock()

	l.reconciler.networkChanged.Store(true)
	l.node.Kick()

	if held {
		go l.announce(link, address)
	}
}

// announce tells the network of a virtual address once it is on its link.
func (l *life) announce(link string, address netip.Addr) {
	for end := time.Now().Add(resignTimeout); time.Now().Before(end); time.Sleep(waitStep) {
		if slices.Contains(l.node.AllIPs(), address) {
			if err := network.Announce(link, address); err != nil {
				l.node.Logs.Printf("%s", err)
			}

			return
		}
	}
}

// withVirtual is the network with the virtual addresses that this machine has.
func (l *life) withVirtual(wanted network.Network) network.Network {
	l.virtual.mu.Lock()
	defer l.virtual.mu.Unlock()

	for i, link := range wanted.Links {
		for _, address := range link.Virtual {
			if l.virtual.held[address] {
				wanted.Links[i].Addresses = append(slices.Clone(link.Addresses), netip.PrefixFrom(address, address.BitLen()))
			}
		}
	}

	return wanted
}
