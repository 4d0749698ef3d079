package report

import (
	"context"
	"reflect"
	"sync"
	"time"

	etcdres "github.com/siderolabs/talos/pkg/machinery/resources/etcd"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cluster-stack/lab/node/internal/etcd"
	"cluster-stack/lab/node/internal/node"
)

const askTimeout = 2 * time.Second

// Member is what the machine's etcd member says of itself and of its cluster.
// It knows that without asking the others, so it answers without a quorum too.
type Member struct {
	Cluster       string   `json:"cluster"`
	ID            string   `json:"id"`
	Leader        string   `json:"leader,omitempty"`
	Learner       bool     `json:"learner"`
	Term          uint64   `json:"term"`
	DatabaseBytes int64    `json:"database_bytes"`
	Errors        []string `json:"errors"` // alarms, and that there is no leader
	Members       []Peer   `json:"members"`
}

// Peer is a member of the cluster, whether it is up or not.
type Peer struct {
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"` // a member has none until it has started once
	Learner bool   `json:"learner"`
}

// memberWatch asks the member again and again.
type memberWatch struct {
	system  *node.Node
	changed chan struct{}

	mu     sync.Mutex
	latest *Member
}

func newMemberWatch(system *node.Node) *memberWatch {
	return &memberWatch{system: system, changed: make(chan struct{}, 1)}
}

// Latest is what the member said last, nil while it does not answer.
func (w *memberWatch) Latest() *Member {
	w.mu.Lock()
	defer w.mu.Unlock()

	return w.latest
}

func (w *memberWatch) keep(ctx context.Context) {
	for {
		w.follow(ctx)

		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		}
	}
}

// follow asks over one connection until it fails.
func (w *memberWatch) follow(ctx context.Context) {
	defer w.set(nil)

	member := w.system.Etcd.Load()
	if member == nil || member.Process() == nil {
		return
	}

	client, err := member.LocalClient()
	if err != nil {
		return
	}

	defer client.Close() //nolint:errcheck

	for {
		current, err := ask(ctx, member, client)
		if err != nil {
			return
		}

		w.set(current)

		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		}
	}
}

func (w *memberWatch) set(current *Member) {
	w.mu.Lock()
	different := !reflect.DeepEqual(w.latest, current)
	w.latest = current
	w.mu.Unlock()

	if !different {
		return
	}

	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func ask(ctx context.Context, member *etcd.Member, client *clientv3.Client) (*Member, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()

	status, err := client.Status(ctx, member.Endpoint())
	if err != nil {
		return nil, err
	}

	current := &Member{
		Cluster: etcdres.FormatMemberID(status.Header.ClusterId), ID: etcdres.FormatMemberID(status.Header.MemberId),
		Learner: status.IsLearner, Term: status.RaftTerm, DatabaseBytes: status.DbSize,
		Errors: append([]string{}, status.Errors...), Members: []Peer{},
	}

	if status.Leader != 0 {
		current.Leader = etcdres.FormatMemberID(status.Leader)
	}

	// a learner answers no such question, and the others know it
	list, err := client.MemberList(ctx, clientv3.WithSerializable())
	if err == nil {
		for _, peer := range list.Members {
			current.Members = append(current.Members, Peer{
				ID: etcdres.FormatMemberID(peer.ID), Name: peer.Name, Learner: peer.IsLearner,
			})
		}
	}

	return current, nil
}
