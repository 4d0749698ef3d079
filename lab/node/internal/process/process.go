// Package process runs the programs that a machine runs beside itself, such as
// etcd. They die with the machine, however it ends: in its process group, and
// killed by the kernel where the machine's process is gone without them. When
// to start one again is decided elsewhere.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Program is what is to run. It is looked for on PATH.
type Program struct {
	Name      string
	Arguments []string
	Env       []string
	// Log takes what it says, line by line.
	Log func(line string)
	// Network is the network namespace that it runs in, if not the machine's own.
	Network *os.File
	// OwnMounts gives it a mount namespace of its own.
	OwnMounts bool
}

// Process is a program that runs or has run.
type Process struct {
	command *exec.Cmd
	done    chan struct{}
	err     error
}

// drainTime is how long the output of a program that has ended is waited for,
// where a child of its own still holds it.
const drainTime = time.Second

// Start starts a program.
func Start(program Program) (*Process, error) {
	path, err := exec.LookPath(program.Name)
	if err != nil {
		return nil, fmt.Errorf("the machine's program %s is not there, `python -m toolchain ensure` provides it: %w", program.Name, err)
	}

	output := &lines{log: program.Log}
	process := &Process{command: exec.Command(path, program.Arguments...), done: make(chan struct{})} //nolint:gosec // ours
	process.command.Env = program.Env
	process.command.Stdout, process.command.Stderr = output, output
	process.command.WaitDelay = drainTime
	process.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	if program.OwnMounts {
		process.command.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}

	started := make(chan error, 1)

	go func() {
		// The kernel kills the child when the thread ends that started it, so
		// that this one is kept for as long as the child lives.
		runtime.LockOSThread()

		err := program.enterNetwork()
		if err == nil {
			err = process.command.Start()
		}

		// A thread in another network ends with this goroutine, so that nobody else gets it.
		if program.Network == nil {
			defer runtime.UnlockOSThread()
		}

		started <- err

		if err != nil {
			return
		}

		process.err = process.command.Wait()

		output.flush()
		close(process.done)
	}()

	if err := <-started; err != nil {
		return nil, err
	}

	return process, nil
}

func (p Program) enterNetwork() error {
	if p.Network == nil {
		return nil
	}

	return unix.Setns(int(p.Network.Fd()), unix.CLONE_NEWNET)
}

// PID is the process's number.
func (p *Process) PID() int { return p.command.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the program ended: nil for exit code 0. It may be asked once Done
// is closed.
func (p *Process) Err() error {
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.Exited() {
		return fmt.Errorf("exit code %d", exit.ExitCode())
	}

	return p.err
}

// ExitCode is how the program ended, as a shell would say it. It may be asked
// once Done is closed.
func (p *Process) ExitCode() int {
	status, ok := p.command.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal())
	}

	return p.command.ProcessState.ExitCode()
}

// Hold has the program stand still for a while.
func (p *Process) Hold(duration time.Duration) {
	p.command.Process.Signal(syscall.SIGSTOP) //nolint:errcheck // it may have ended

	select {
	case <-p.done:
	case <-time.After(duration):
	}

	p.command.Process.Signal(syscall.SIGCONT) //nolint:errcheck // as above
}

// Stop ends the program, by force where it has not ended after the grace time.
func (p *Process) Stop(grace time.Duration) {
	p.command.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended

	select {
	case <-p.done:
		return
	case <-time.After(grace):
	}

	p.command.Process.Kill() //nolint:errcheck // as above
	<-p.done
}

// lines takes output apart.
type lines struct {
	log     func(line string)
	pending []byte
}

// longest is where a line is broken that does not end.
const longest = 64 << 10

func (l *lines) Write(data []byte) (int, error) {
	l.pending = append(l.pending, data...)

	for {
		end := bytes.IndexByte(l.pending, '\n')
		if end < 0 {
			break
		}

		l.log(string(l.pending[:end]))
		l.pending = l.pending[end+1:]
	}

	if len(l.pending) >= longest {
		l.flush()
	}

	return len(data), nil
}

func (l *lines) flush() {
	if len(l.pending) > 0 {
		l.log(string(l.pending))
		l.pending = nil
	}
}
