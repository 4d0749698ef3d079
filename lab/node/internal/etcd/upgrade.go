package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const (
	// upgradeLease outlives the checks, so that two upgrades never check at once.
	upgradeLeaseSeconds = 60

	// quorumTimeout is how long a member may take to answer for the quorum.
	quorumTimeout = 15 * time.Second

	unlockTimeout = 5 * time.Second
)

// LockUpgrade takes the lock that all control planes share around their checks
// before an upgrade. It fails at once when another one has it.
func LockUpgrade(ctx context.Context, client *clientv3.Client) (unlock func(), err error) {
	session, err := concurrency.NewSession(client, concurrency.WithContext(ctx), concurrency.WithTTL(upgradeLeaseSeconds))
	if err != nil {
		return nil, fmt.Errorf("error establishing etcd concurrency session: %w", err)
	}

	mutex := concurrency.NewMutex(session, constants.EtcdTalosEtcdUpgradeMutex)

	if err := mutex.TryLock(ctx); err != nil {
		session.Close() //nolint:errcheck // it ends with its lease

		return nil, fmt.Errorf("error trying to lock etcd upgrade mutex: %w", err)
	}

	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), unlockTimeout)
		defer cancel()

		// what is left of the lock ends with its lease
		mutex.Unlock(ctx) //nolint:errcheck
		session.Close()   //nolint:errcheck
	}, nil
}

// ValidateForUpgrade refuses an upgrade that would cost the cluster its quorum.
func (m *Member) ValidateForUpgrade(ctx context.Context, client *clientv3.Client) error {
	list, err := client.MemberList(ctx)
	if err != nil {
		return err
	}

	if len(list.Members) == 2 {
		return fmt.Errorf("etcd member count(%d) is insufficient to maintain quorum if upgrade commences", len(list.Members))
	}

	for _, other := range list.Members {
		// a member that has never run has no name
		if other.Name == "" {
			return fmt.Errorf("etcd member %016x is not started, all members must be running to perform an upgrade", other.ID)
		}

		if err := m.validateQuorum(ctx, other.ClientURLs); err != nil {
			return fmt.Errorf("etcd member %016x is not healthy; all members must be healthy to perform an upgrade: %w", other.ID, err)
		}
	}

	return nil
}

// validateQuorum asks one member for any key: its answer has the quorum's word.
func (m *Member) validateQuorum(ctx context.Context, endpoints []string) error {
	client, err := m.client(endpoints)
	if err != nil {
		return fmt.Errorf("failed to create client to member: %w", err)
	}

	defer client.Close() //nolint:errcheck

	ctx, cancel := context.WithTimeout(ctx, quorumTimeout)
	defer cancel()

	if _, err := client.Get(ctx, "health"); err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		return err
	}

	return nil
}
