"""`pulumi up -s <name>` makes the datacentre agree with clusters/<name>/cluster.yaml."""

import gc
import os
import sys
from functools import partial

# What is loaded here stays to the end: looking through it for garbage, again and again, is time that a person waits.
gc.disable()

import pulumi

from cluster_stack import preflight, project
from cluster_stack.components import Cluster, ClusterArgs, Gitops, GitopsArgs
from cluster_stack.components.gitops import read_settings
from cluster_stack.components.previous import FLUX_VERSION, previous
from cluster_stack.config import ConfigError
from cluster_stack.plan.gitops.plan import bootstrap

gc.freeze()
gc.enable()

# Tells Pulumi's Python host that a person has read why (its `pulumi-language-python-exec` has the number): after any
# other exit code the engine adds that "an unhandled error occurred".
ERROR_IS_SHOWN = 32

stack = pulumi.get_stack()
secret_token = pulumi.Config().get_secret(preflight.TOKEN_KEY)
token = pulumi.Config().get(preflight.TOKEN_KEY) or os.environ.get(preflight.TOKEN_VARIABLE)
try:
    planned = project.plan(stack, previous=previous())
    preflight.check_token(stack, token)
    settings = read_settings(planned.file, planned.gitops.components) if planned.gitops else {}
    told = preflight.check(planned.file, planned.nodes, token) if token and not pulumi.runtime.is_dry_run() else []
except (ConfigError, pulumi.RunError) as error:
    pulumi.log.error(str(error))
    sys.exit(ERROR_IS_SHOWN)
for warning in (*planned.warnings, *told):
    pulumi.warn(str(warning))

cluster = Cluster(
    stack,
    ClusterArgs(
        config=planned.file.config,
        nodes=planned.nodes,
        patches=planned.patches,
        proxmox_api_token=secret_token,
        check_vm_is_ours=partial(preflight.check_vm_is_ours, planned.file, token or ""),
        check_vm_is_here=partial(preflight.check_vm_is_here, planned.file, token or ""),
    ),
)
for name, value in cluster.outputs().items():
    pulumi.export(name, value)

if planned.gitops:
    Gitops(
        stack,
        GitopsArgs(
            bootstrap=bootstrap(planned.file, planned.gitops),
            settings=settings,
            kubeconfig=cluster.kubeconfig,
            cluster=cluster.secrets,
            time_limit=planned.file.config.lifecycle.health_timeout,
        ),
    )
    pulumi.export(FLUX_VERSION, planned.gitops.flux_version)
