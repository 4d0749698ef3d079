package staticpods

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"cluster-stack/lab/node/internal/controlplane"
	"cluster-stack/lab/node/internal/kubeletapi"
)

// What Kubernetes takes where a probe does not say.
const (
	defaultPeriod    = 10 * time.Second
	defaultThreshold = 3

	// a second, as Kubernetes has it, is little for machines that share few cores
	shortestTimeout = 10 * time.Second

	// until a container is ready for the first time it is asked more often: a lab need not be as slow as a site
	firstPeriod = 500 * time.Millisecond
)

// probe asks the container how it is until the context ends. It closes failed
// when the container has to be restarted.
func (c *container) probe(ctx context.Context, failed chan<- struct{}) {
	if !c.probeStartup(ctx) {
		if ctx.Err() == nil {
			close(failed)
		}

		return
	}

	if c.spec.ReadinessProbe == nil {
		c.setReady(ctx, true)
	} else {
		go c.probeReadiness(ctx)
	}

	if c.spec.LivenessProbe == nil {
		return
	}

	for failures := 0; failures < threshold(c.spec.LivenessProbe); {
		pause(ctx, period(c.spec.LivenessProbe))

		if ctx.Err() != nil {
			return
		}

		if ask(ctx, c.spec.LivenessProbe) == nil {
			failures = 0
		} else {
			failures++
		}
	}

	if ctx.Err() == nil {
		close(failed)
	}
}

// setReady says whether the container is ready, unless it has ended in the meantime.
func (c *container) setReady(ctx context.Context, ready bool) {
	c.update(func(state *kubeletapi.ContainerState) {
		if ctx.Err() == nil {
			state.Ready = ready
		}
	})
}

// probeStartup reports whether the container has started in time.
func (c *container) probeStartup(ctx context.Context) bool {
	probe := c.spec.StartupProbe
	if probe == nil {
		return true
	}

	// The machines of a lab share few cores, so that a container's start takes as long as it takes.
	patience := max(time.Duration(threshold(probe))*period(probe), startPatience)

	for began := time.Now(); time.Since(began) < patience; pause(ctx, firstPeriod) {
		if ctx.Err() != nil {
			return false
		}

		if ask(ctx, probe) == nil {
			return true
		}
	}

	return false
}

const startPatience = 5 * time.Minute

func (c *container) probeReadiness(ctx context.Context) {
	failures, wait := 0, firstPeriod

	for ctx.Err() == nil {
		if err := ask(ctx, c.spec.ReadinessProbe); err == nil {
			failures, wait = 0, period(c.spec.ReadinessProbe)

			c.setReady(ctx, true)
		} else if failures++; failures >= threshold(c.spec.ReadinessProbe) && ctx.Err() == nil {
			c.setReady(ctx, false)
		}

		pause(ctx, wait)
	}
}

func period(probe *controlplane.Probe) time.Duration {
	if probe.PeriodSeconds == 0 {
		return defaultPeriod
	}

	return time.Duration(probe.PeriodSeconds) * time.Second
}

func threshold(probe *controlplane.Probe) int {
	if probe.FailureThreshold == 0 {
		return defaultThreshold
	}

	return probe.FailureThreshold
}

// prober does not look at certificates, as no kubelet does.
var prober = &http.Client{Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec // see above
}}

func ask(ctx context.Context, probe *controlplane.Probe) error {
	timeout := max(time.Duration(probe.TimeoutSeconds)*time.Second, shortestTimeout)

	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	scheme := "http"
	if probe.HTTPGet.Scheme == "HTTPS" {
		scheme = "https"
	}

	address := net.JoinHostPort(probe.HTTPGet.Host, strconv.Itoa(probe.HTTPGet.Port))

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+probe.HTTPGet.Path, nil)
	if err != nil {
		return err
	}

	response, err := prober.Do(request)
	if err != nil {
		return err
	}

	defer response.Body.Close() //nolint:errcheck // nothing is read

	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}

	return nil
}
