package process_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cluster-stack/lab/node/internal/process"
)

const patience = 30 * time.Second

func start(t *testing.T, script string) (*process.Process, chan string) {
	t.Helper()

	said := make(chan string, 100)

	started, err := process.Start(process.Program{
		Name: "sh", Arguments: []string{"-c", script}, Env: os.Environ(), Log: func(line string) { said <- line },
	})
	if err != nil {
		t.Fatal(err)
	}

	return started, said
}

func ended(t *testing.T, program *process.Process) string {
	t.Helper()

	select {
	case <-program.Done():
		return fmt.Sprint(program.Err())
	case <-time.After(patience):
		t.Fatal("it has not ended")

		return ""
	}
}

func TestHowAProgramEnds(t *testing.T) {
	for script, expected := range map[string]string{
		"exit 0": "<nil>", "exit 7": "exit code 7", "kill -9 $$": "signal: killed",
	} {
		program, _ := start(t, script)
		if how := ended(t, program); how != expected {
			t.Errorf("%s: %s", script, how)
		}
	}
}

func TestWhatAProgramSays(t *testing.T) {
	program, said := start(t, "printf 'one\\ntwo'; sleep 0.1; echo ' more'; printf end")
	ended(t, program)
	close(said)

	var lines []string
	for line := range said {
		lines = append(lines, line)
	}

	if seen := strings.Join(lines, "|"); seen != "one|two more|end" {
		t.Error(seen)
	}
}

func TestAProgramThatDoesNotListenIsKilled(t *testing.T) {
	program, said := start(t, "trap '' TERM; echo ready; while true; do sleep 0.05; done")
	<-said

	program.Stop(100 * time.Millisecond)

	if how := ended(t, program); how != "signal: killed" {
		t.Error(how)
	}
}

func TestAProgramThatListensEndsItself(t *testing.T) {
	program, said := start(t, "trap 'exit 3' TERM; echo ready; while true; do sleep 0.05; done")
	<-said

	program.Stop(patience)

	if how := ended(t, program); how != "exit code 3" {
		t.Error(how)
	}
}

func TestAProgramThatIsNotThere(t *testing.T) {
	_, err := process.Start(process.Program{Name: "no-such-program"})
	if err == nil || !strings.Contains(err.Error(), "python -m toolchain ensure") {
		t.Error(err)
	}
}

// The machine of this test is another process, which this one kills.
func TestAProgramDiesWithItsMachine(t *testing.T) {
	if os.Getenv("MACHINE") != "" {
		program, err := process.Start(process.Program{Name: "sleep", Arguments: []string{"1000"}})
		if err != nil {
			t.Fatal(err)
		}

		fmt.Printf("pid %d\n", program.PID())
		select {}
	}

	machine := exec.Command(os.Args[0], "-test.run=^TestAProgramDiesWithItsMachine$")
	machine.Env = append(os.Environ(), "MACHINE=1")

	output, err := machine.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}

	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}

	var pid int
	if _, err := fmt.Fscanf(output, "pid %d\n", &pid); err != nil {
		t.Fatal(err)
	}

	// for a while the machine's threads come and go
	time.Sleep(300 * time.Millisecond)

	if !alive(pid) {
		t.Fatal("the program has not even lived as long as its machine")
	}

	machine.Process.Kill() //nolint:errcheck
	machine.Wait()         //nolint:errcheck

	for deadline := time.Now().Add(patience); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck
			t.Fatal("the program outlives its machine")
		}
	}
}

// alive tells whether a process runs; one that only waits for its parent to
// look at it does not.
func alive(pid int) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")

	return err == nil && !strings.Contains(string(status), ") Z ")
}
