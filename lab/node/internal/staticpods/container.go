package staticpods

import (
	"context"
	"sync"
	"time"

	"cluster-stack/lab/node/internal/controlplane"
	"cluster-stack/lab/node/internal/kubeletapi"
	"cluster-stack/lab/node/internal/process"
)

// container is one container of a static pod.
type container struct {
	machine *Machine
	pod     *controlplane.Pod
	spec    *controlplane.Container

	mu    sync.Mutex
	state kubeletapi.ContainerState
}

func (c *container) current() kubeletapi.ContainerState {
	c.mu.Lock()
	defer c.mu.Unlock()

	return c.state
}

func (c *container) update(change func(*kubeletapi.ContainerState)) {
	c.mu.Lock()
	before := c.state
	change(&c.state)
	changed := c.state != before
	c.mu.Unlock()

	if changed {
		c.machine.Changed()
	}
}

// run runs the container, again and again, until the context ends or its pod wants no more of it.
func (c *container) run(ctx context.Context) {
	c.update(func(state *kubeletapi.ContainerState) { state.Name = c.spec.Name })

	backoff := time.Duration(0)

	for ctx.Err() == nil {
		began := time.Now()
		code, err := c.runOnce(ctx)

		if ctx.Err() != nil {
			return
		}

		if err != nil {
			c.machine.Say("container %s of static pod %s: %s", c.spec.Name, c.pod.Metadata.Name, err)
			c.update(func(state *kubeletapi.ContainerState) {
				*state = kubeletapi.ContainerState{
					Name: state.Name, Restarts: state.Restarts, Reason: "CreateContainerError", Message: err.Error(),
				}
			})
			pause(ctx, refusedAgain)

			continue
		}

		if time.Since(began) > calmAfter {
			backoff = 0
		}

		c.machine.Say("container %s of static pod %s exited with code %d", c.spec.Name, c.pod.Metadata.Name, code)

		now := time.Now()
		c.update(func(state *kubeletapi.ContainerState) {
			state.FinishedAt, state.ExitCode, state.Ready, state.Reason = &now, code, false, why(code)
		})

		if isOver(c.pod.Spec.RestartPolicy, code) {
			return
		}

		if backoff > 0 {
			c.update(func(state *kubeletapi.ContainerState) {
				*state = kubeletapi.ContainerState{
					Name: state.Name, Restarts: state.Restarts, ExitCode: code,
					Reason: "CrashLoopBackOff", Message: crashLoop(c.pod, c.spec.Name, backoff),
				}
			})
			pause(ctx, backoff)
		}

		backoff = nextBackoff(backoff)

		c.update(func(state *kubeletapi.ContainerState) { state.Restarts++ })
	}
}

func isOver(restartPolicy string, code int) bool {
	return restartPolicy == "Never" || (restartPolicy == "OnFailure" && code == 0)
}

func pause(ctx context.Context, length time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
}

// runOnce runs the container's process to its end.
func (c *container) runOnce(ctx context.Context) (int, error) {
	log := c.machine.Log(c.pod, c.spec)

	program, err := c.machine.Program(c.pod, c.spec)
	if err != nil {
		return 0, err
	}

	if program == nil {
		c.started(true)
		<-ctx.Done()

		return 0, nil
	}

	running, err := process.Start(process.Program{
		Name: program.Name, Arguments: program.Arguments, Env: program.Env, Log: log,
		Network: program.Network, OwnMounts: program.OwnMounts,
	})
	if err != nil {
		return 0, err
	}

	c.started(c.spec.StartupProbe == nil && c.spec.ReadinessProbe == nil)

	failed := make(chan struct{})
	probing, stop := context.WithCancel(ctx)

	defer stop()

	go c.probe(probing, failed)

	select {
	case <-running.Done():
	case <-failed:
		c.machine.Say("container %s of static pod %s failed liveness probe, will be restarted", c.spec.Name, c.pod.Metadata.Name)
		running.Stop(program.grace())
	case <-ctx.Done():
		running.Stop(program.grace())
	}

	return running.ExitCode(), nil
}

func (c *container) started(ready bool) {
	now := time.Now()

	c.update(func(state *kubeletapi.ContainerState) {
		*state = kubeletapi.ContainerState{Name: state.Name, Restarts: state.Restarts, StartedAt: &now, Ready: ready}
	})
}
