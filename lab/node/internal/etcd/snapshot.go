package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cluster-stack/lab/node/internal/process"
)

// RecoveryPath is where an uploaded snapshot waits for the bootstrap.
func (m *Member) RecoveryPath() string {
	return filepath.Join(filepath.Dir(m.config.DataDir), recoveryFile)
}

// Recover makes the data directory from an uploaded snapshot and starts a new
// cluster of one member with it.
func (m *Member) Recover(skipHashCheck bool) error {
	path := m.RecoveryPath()

	if err := m.etcdutl("snapshot", "status", path); err != nil {
		return fmt.Errorf("error verifying snapshot: %w", err)
	}

	if err := m.etcdutl("snapshot", "restore", path,
		"--name="+m.name(),
		"--data-dir="+m.config.DataDir,
		"--initial-advertise-peer-urls="+strings.Join(m.peerURLs(), ","),
		"--initial-cluster="+members(m.name(), m.peerURLs()),
		fmt.Sprintf("--skip-hash-check=%t", skipHashCheck),
	); err != nil {
		return fmt.Errorf("error recovering from the snapshot: %w", err)
	}

	if err := os.Remove(path); err != nil {
		return fmt.Errorf("error deleting snapshot: %w", err)
	}

	return m.Resume()
}

// etcdutl runs the tool for what a member has on disk. The library of the same
// name is most of the server; as a program it costs the other machines nothing.
func (m *Member) etcdutl(arguments ...string) error {
	problem := ""

	running, err := process.Start(process.Program{Name: "etcdutl", Arguments: arguments, Env: m.config.Env, Log: func(line string) {
		m.config.Log(line)

		if text, ok := strings.CutPrefix(line, "Error: "); ok {
			problem = text
		}
	}})
	if err != nil {
		return err
	}

	<-running.Done()

	if err := running.Err(); err != nil && problem != "" {
		return errors.New(problem)
	}

	return running.Err()
}
