// talos-kubelets plays the kubelets of all machines of a lab.
//
//	talos-kubelets --socket PATH [--images FILE]
//
// A process of its own for each kubelet would cost 50 MB, and a lab may have
// hundreds of nodes. Each machine connects to the socket when its kubelet starts
// (package kubeletapi), and what it plays lives as long as that connection
// (package kubelet). The file names the images of containers that are programs, which
// the machine then runs; all others are played. It talks to the machine's API server, from the machine's own
// network, and to nobody else.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"cluster-stack/lab/node/internal/kubelet"
	"cluster-stack/lab/node/internal/kubeletserver"
)

const (
	exitUsage = 2
	gcPercent = 50 // memory is scarcer than the time to collect it
	giveBack  = time.Minute
)

func main() {
	debug.SetGCPercent(gcPercent)

	go freeMemory()

	socket := flag.String("socket", "", "the unix socket to listen on")
	imagesFile := flag.String("images", "", "a JSON file with the images that are programs, by their names")
	flag.Parse()

	if *socket == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: talos-kubelets --socket PATH [--images FILE]")
		os.Exit(exitUsage)
	}

	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	klog.SetSlogLogger(log) // what Kubernetes' libraries say that belongs to no kubelet

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	images, err := readImages(*imagesFile)
	if err != nil {
		log.Error("The images cannot be read", "error", err)
		os.Exit(1)
	}

	if err := kubeletserver.Serve(ctx, *socket, images, log); err != nil {
		log.Error("Kubelets cannot be played", "error", err)
		os.Exit(1)
	}
}

// freeMemory gives what is free back to the host: what the machines' start needed was
// much more than what they need later.
func freeMemory() {
	for range time.Tick(giveBack) {
		debug.FreeOSMemory()
	}
}

func readImages(path string) (kubelet.Images, error) {
	if path == "" {
		return nil, nil
	}

	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}

	var images kubelet.Images

	return images, json.Unmarshal(content, &images)
}
