// kube is four programs of Kubernetes in one file: kube-apiserver,
// kube-controller-manager, kube-scheduler and kubectl. Its name or, if that is
// "kube", its first argument says which of them it is:
//
//	kube kube-apiserver --etcd-servers=...
//	kubectl get nodes                        (a link of that name)
//
// Each is the maker's own command, unchanged. They share most of their code, so
// that one file takes a third of the disk and of the time to build, and the
// processes of a control plane share its pages in memory.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // time zones of CronJobs

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // ways to log in that a kubeconfig may name
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the requests that they send
	_ "k8s.io/component-base/metrics/prometheus/version"  // the metric with the version
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

const usage = `usage: kube PROGRAM [ARGUMENTS]

PROGRAM is kube-apiserver, kube-controller-manager, kube-scheduler or kubectl.
Under one of these names, the file is that program.
`

const exitUsage = 2

var servers = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	program := filepath.Base(os.Args[0])

	if program == "kube" && len(os.Args) > 1 {
		program, os.Args = os.Args[1], os.Args[1:]
	}

	if program == "kubectl" {
		runKubectl()

		return
	}

	command, known := servers[program]
	if !known {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(exitUsage)
	}

	os.Exit(cli.Run(command()))
}

func runKubectl() {
	// Building the command already logs, so the verbosity is needed before the flags are parsed.
	logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) //nolint:errcheck

	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
