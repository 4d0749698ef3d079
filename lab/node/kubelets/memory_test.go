package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	podsPerNode    = 3
	memoryPerNode  = 3 << 20 // what a node may cost in this process: a lab of 300 workers has 12 MB for each in all
	idle           = 30 * time.Second
	clockTicks     = 100 // a second, in /proc
	batch          = 50  // nodes
	nodesToMeasure = "KUBELETS_TEST_NODES"
)

// TestMemory measures what a node with three pods costs the player, and what it does when nothing happens.
func TestMemory(t *testing.T) {
	wanted, err := strconv.Atoi(os.Getenv(nodesToMeasure))
	if err != nil {
		t.Skipf("%s says how many nodes to measure with", nodesToMeasure)
	}

	c := newCluster(t)
	c.installFlannel(t)

	for _, app := range []string{"one", "two"} {
		_, err := c.client.AppsV1().DaemonSets("default").Create(context.Background(), &appsv1.DaemonSet{
			ObjectMeta: metav1.ObjectMeta{Name: app},
			Spec:       appsv1.DaemonSetSpec{Selector: selector(app), Template: template(app, nil)},
		}, metav1.CreateOptions{})
		must(t, err)
	}

	empty := c.playerMemory(t)
	t.Logf("without nodes: %.1f MB", float64(empty)/(1<<20))

	for count := 1; count <= wanted; count++ {
		c.addNode(t, count)

		if count%batch != 0 && count != wanted {
			continue
		}

		until(t, fmt.Sprintf("%d nodes have their pods", count), func() error {
			pods, err := c.client.CoreV1().Pods(metav1.NamespaceAll).List(context.Background(), metav1.ListOptions{
				FieldSelector: "status.phase=" + string(corev1.PodRunning), ResourceVersion: "0",
			})
			if err == nil && len(pods.Items) != count*podsPerNode {
				err = fmt.Errorf("there are %d pods", len(pods.Items))
			}

			return err
		})
	}

	before := c.playerTime(t)

	time.Sleep(idle)

	used := float64(c.playerTime(t)-before) / clockTicks / idle.Seconds()
	full := c.playerMemory(t)
	each := (full - empty) / wanted
	t.Logf("with %d nodes: %.1f MB, %.2f MB for each, %.1f%% of a processor when idle",
		wanted, float64(full)/(1<<20), float64(each)/(1<<20), 100*used)

	if each > memoryPerNode {
		t.Errorf("a node costs %d bytes", each)
	}
}

func (c *cluster) addNode(t *testing.T, number int) {
	t.Helper()
	startMachine(t, c, c.settings(t, fmt.Sprintf("node%d", number), fmt.Sprintf("10.6.%d.%d", number/200, 1+number%200)))
}

// playerMemory is the player's proportional share of memory.
func (c *cluster) playerMemory(t *testing.T) int {
	t.Helper()

	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", c.player.Process.Pid))
	must(t, err)

	for line := range strings.Lines(string(rollup)) {
		if fields := strings.Fields(line); fields[0] == "Pss:" {
			kilobytes, err := strconv.Atoi(fields[1])
			must(t, err)

			return kilobytes << 10
		}
	}

	must(t, errors.New("the kernel does not tell"))

	return 0
}

// playerTime is the processor time that the player has used, in ticks.
func (c *cluster) playerTime(t *testing.T) int {
	t.Helper()

	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.player.Process.Pid))
	must(t, err)

	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	total := 0

	for _, field := range fields[11:13] { // of the process itself, in user and in kernel mode
		ticks, err := strconv.Atoi(field)
		must(t, err)

		total += ticks
	}

	return total
}
