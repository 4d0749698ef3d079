package machine

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	networkres "github.com/siderolabs/talos/pkg/machinery/resources/network"

	"cluster-stack/lab/node/internal/node"
)

// prober makes the probes of the configuration, and knows how they went.
type prober struct {
	mu       sync.Mutex
	running  map[string]probe
	statuses map[string]networkres.ProbeStatusSpec
}

type probe struct {
	spec networkres.ProbeSpecSpec
	stop context.CancelFunc
}

// reconcileProbes begins the probes that are new, and ends those that are no
// longer wanted.
func (l *life) reconcileProbes(ctx context.Context, settings config.Config) error {
	wanted, err := node.ProbeSpecs(settings)
	if err != nil {
		return err
	}

	prober := &l.reconciler.prober

	prober.mu.Lock()
	defer prober.mu.Unlock()

	ended := false

	for id, running := range prober.running {
		if spec, ok := wanted[id]; !ok || spec != running.spec {
			running.stop()
			delete(prober.running, id)
			delete(prober.statuses, id)

			ended = true
		}
	}

	for id, spec := range wanted {
		if _, ok := prober.running[id]; ok {
			continue
		}

		if prober.running == nil {
			prober.running, prober.statuses = map[string]probe{}, map[string]networkres.ProbeStatusSpec{}
		}

		probing, stop := context.WithCancel(ctx)
		prober.running[id] = probe{spec, stop}

		go l.probe(probing, id, spec)
	}

	if !ended {
		return nil
	}

	return l.node.SetProbes(prober.statuses)
}

// probe asks again and again. As in Talos, failures count from the threshold on,
// and a success at once.
func (l *life) probe(ctx context.Context, id string, spec networkres.ProbeSpecSpec) {
	ticker := time.NewTicker(spec.Interval)
	defer ticker.Stop()

	for failures := 0; ; {
		status := networkres.ProbeStatusSpec{Success: true}

		if err := connects(ctx, spec.TCP); err != nil {
			failures++
			status = networkres.ProbeStatusSpec{LastError: err.Error()}
		} else {
			failures = 0
		}

		if failures == 0 || failures >= spec.FailureThreshold {
			l.probed(ctx, id, status)
		}

		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func connects(ctx context.Context, probe networkres.TCPProbeSpec) error {
	dialer := net.Dialer{Timeout: probe.Timeout}

	connection, err := dialer.DialContext(ctx, "tcp", probe.Endpoint)
	if err != nil {
		return err
	}

	return connection.Close()
}

func (l *life) probed(ctx context.Context, id string, status networkres.ProbeStatusSpec) {
	prober := &l.reconciler.prober

	prober.mu.Lock()
	defer prober.mu.Unlock()

	before, known := prober.statuses[id]
	if ctx.Err() != nil || (known && before == status) {
		return
	}

	prober.statuses[id] = status

	if err := l.node.SetProbes(prober.statuses); err != nil {
		l.node.Logs.ControllerFailed(err.Error())
	}
}
