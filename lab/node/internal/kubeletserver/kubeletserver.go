// Package kubeletserver is the player's end of package kubeletapi: it starts a
// kubelet for every machine that connects, and ends it with the connection.
package kubeletserver

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"cluster-stack/lab/node/internal/kubelet"
	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/kubeletnetwork"
	"cluster-stack/lab/node/internal/kubeletstages"
)

const socketMode = 0o600

// Serve plays kubelets for whoever connects to the socket, until the context ends.
func Serve(ctx context.Context, socket string, images kubelet.Images, log *slog.Logger) error {
	stages, err := kubeletstages.Load()
	if err != nil {
		return err
	}

	// What is left of an earlier process nobody answers.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}

	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}

	defer listener.Close() //nolint:errcheck

	if err := os.Chmod(socket, socketMode); err != nil {
		return err
	}

	stop := context.AfterFunc(ctx, func() { listener.Close() }) //nolint:errcheck
	defer stop()

	log.Info("Waiting for machines", "socket", socket)

	for {
		connection, err := listener.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}

		if err != nil {
			return err
		}

		go func() {
			defer connection.Close() //nolint:errcheck

			ctx, cancel := context.WithCancel(ctx)
			defer cancel()

			stop := context.AfterFunc(ctx, func() { connection.Close() }) //nolint:errcheck
			defer stop()

			machine := &machine{connection: connection, stages: stages, images: images, log: log, cancels: map[uint64]context.CancelFunc{}}
			machine.outbox.ready = make(chan struct{}, 1)

			go machine.send(ctx)

			machine.serve(ctx)
		}()
	}
}

// machine is one connection.
type machine struct {
	connection *net.UnixConn
	stages     *kubeletstages.Stages
	images     kubelet.Images
	log        *slog.Logger
	outbox     outbox

	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc
}

// serve lives as long as the connection, and the kubelet lives as long as serve.
func (m *machine) serve(ctx context.Context) {
	network, err := kubeletnetwork.OfPeer(m.connection)
	if err != nil {
		m.log.Error("A machine cannot be served", "error", err)

		return
	}

	ctx, cancel := context.WithCancel(ctx)

	var playing sync.WaitGroup

	defer playing.Wait()
	defer cancel()
	defer network.Close()

	decoder := json.NewDecoder(m.connection)

	var player *kubelet.Kubelet

	for {
		var request kubeletapi.Request
		if err := decoder.Decode(&request); err != nil {
			return
		}

		switch {
		case request.Cancel != nil:
			m.cancel(*request.Cancel)
		case request.Start != nil && player == nil:
			player, err = kubelet.New(*request.Start, network.DialContext, m.stages, m.images, m.outbox.event)
			m.answer(request.ID, err)

			if err != nil {
				player = nil

				continue
			}

			playing.Go(func() {
				m.log.Info("A kubelet starts", "node", request.Start.NodeName, "server", request.Start.Server)
				player.Run(ctx)
				m.log.Info("A kubelet has ended", "node", request.Start.NodeName)
			})
		case player == nil:
			m.answer(request.ID, errors.New("the first request must start the kubelet"))
		default:
			m.handle(ctx, player, request)
		}
	}
}

// handle answers a request in its own time.
func (m *machine) handle(ctx context.Context, player *kubelet.Kubelet, request kubeletapi.Request) {
	ctx, cancel := context.WithCancel(ctx)

	m.mu.Lock()
	m.cancels[request.ID] = cancel
	m.mu.Unlock()

	do := func() {
		defer m.cancel(request.ID)

		var err error

		switch {
		case request.Apply != nil:
			err = player.Apply(ctx, *request.Apply)
		case request.StaticPods != nil:
			err = player.SetStaticPods(*request.StaticPods)
		case request.PodStates != nil:
			err = player.SetPodStates(*request.PodStates)
		case request.Drain != nil:
			err = player.Drain(ctx, *request.Drain)
		case request.Manifests != nil:
			err = player.ApplyManifests(ctx, *request.Manifests)
		case request.TalosService != nil:
			err = player.KeepTalosService(ctx, *request.TalosService)
		case request.ServiceAccounts != nil:
			err = player.KeepServiceAccounts(ctx, *request.ServiceAccounts)
		case request.Shutdown != nil:
			err = player.Shutdown(ctx, *request.Shutdown)
		default:
			err = errors.New("this request is not known here")
		}

		m.answer(request.ID, err)
	}

	if request.StaticPods != nil || request.PodStates != nil {
		do() // at once: the next list must not be overtaken by this one

		return
	}

	go do()
}

func (m *machine) cancel(request uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()

	if cancel, known := m.cancels[request]; known {
		cancel()
		delete(m.cancels, request)
	}
}

func (m *machine) answer(request uint64, err error) {
	answer := &kubeletapi.Answer{ID: request}
	if err != nil {
		answer.Error = &kubeletapi.Error{Reason: string(apierrors.ReasonForError(err)), Message: err.Error()}
	}

	m.outbox.add(kubeletapi.Message{Answer: answer})
}

func (m *machine) send(ctx context.Context) {
	encoder := json.NewEncoder(m.connection)

	for {
		select {
		case <-ctx.Done():
			return
		case <-m.outbox.ready:
		}

		for _, message := range m.outbox.take() {
			if err := encoder.Encode(message); err != nil {
				return
			}
		}
	}
}
