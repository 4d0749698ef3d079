package logs_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"cluster-stack/lab/node/internal/logs"
)

func TestReadingAndFollowing(t *testing.T) {
	buffer := logs.NewBuffer()
	for _, line := range []string{"a", "b", "c"} {
		buffer.Append(line)
	}

	read := func(tail int) string {
		text := ""

		if err := buffer.Read(context.Background(), tail, false, func(line string) error {
			text += line

			return nil
		}); err != nil {
			t.Fatal(err)
		}

		return text
	}

	for tail, expected := range map[int]string{-1: "abc", 0: "", 2: "bc", 9: "abc"} {
		if text := read(tail); text != expected {
			t.Errorf("tail %d: %s", tail, text)
		}
	}

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	lines := make(chan string, 1)

	go func() {
		buffer.Read(ctx, 0, true, func(line string) error { //nolint:errcheck
			lines <- line

			return nil
		})
	}()

	for {
		buffer.Append("d")

		select {
		case line := <-lines:
			if line != "d" {
				t.Error(line)
			}

			return
		case <-time.After(time.Millisecond):
		}
	}
}

func TestTheKernelLogIsTheConsoleToo(t *testing.T) {
	var console strings.Builder

	logs.New(&console).Printf("booting %s", "v1.13.0")

	if !strings.Contains(console.String(), "[talos] booting v1.13.0\n") {
		t.Error(console.String())
	}
}

func TestAControllersFailureIsInBothLogs(t *testing.T) {
	made := logs.New(io.Discard)
	made.Controllers("DEBUG", "created x")
	made.ControllerFailed("no route")

	lines := strings.Split(made.Service("controller-runtime").Text(), "\n")
	if !strings.HasSuffix(lines[0], "Z DEBUG created x") || !strings.HasSuffix(lines[1], "Z ERROR controller failed: no route") {
		t.Error(lines)
	}

	if kernel := made.Kernel.Text(); !strings.Contains(kernel, "[talos] controller failed: no route\n") || strings.Contains(kernel, "created") {
		t.Error(kernel)
	}
}

func TestALogIsBounded(t *testing.T) {
	buffer := logs.New(io.Discard).Service("etcd")
	for range 2000 {
		buffer.Append("line")
	}

	count := 0

	if err := buffer.Read(context.Background(), -1, false, func(string) error { count++; return nil }); err != nil || count != 500 {
		t.Error(count, err)
	}
}
