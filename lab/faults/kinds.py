"""The registry: every kind of fault that the lab can play, each a record of the same form.

The command line, its help, the page docs/faults.md and the checks follow from these records. Owns no effect: what a
kind does is done where the thing is that breaks, and asked there by the kind's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from lab.proxmox.formats import words

Value = str | int | float

GUEST_LOCKS = ("backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete", "suspended")


class FaultError(Exception):
    """A fault that does not exist, or is asked for in a way that makes no sense: one sentence for the user."""


class Shape(Enum):
    """How a fault is there; the text is for the page and the command's help."""

    STATE = "holds until it is cleared"
    EVENT = "happens once, and there is nothing to clear"
    REQUEST = "strikes requests to Proxmox: all that match, until it is cleared"
    TASK = "strikes tasks of Proxmox: all that match, until it is cleared"


class Target(Enum):
    """What a kind strikes; the value is how the command's help and the refusals call it."""

    VM = "VM"
    HOST = "host"
    STORAGE = "storage"
    VOLUME = "volume"
    VM_ID = "free VM id"
    TOKEN = "API token"  # noqa: S105 - the name of a thing, not a secret
    PRIVILEGE = "privilege"
    TASK_TYPE = "task type"
    IMAGE = "Talos version or schematic"
    STEP = "step"


@dataclass(frozen=True)
class Option:
    """One option of a kind. Texts come in from the command line, values from tests."""

    name: str
    meaning: str
    type: type[str] | type[int] | type[float] = str
    default: Value | None = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    required: bool = False
    names: Target | None = None
    """What the value names, where it names something of the site."""
    distinguishes: bool = False
    """Two faults of the same kind and target hold side by side when they differ in this."""

    @property
    def allowed(self) -> str:
        """What the value may be, for help and refusals."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.names:
            return f"a {self.names.value}"
        if self.type is str:
            return "a text"
        kind = "a whole number" if self.type is int else "a number"
        bounds = [f"at least {self.least:g}"] if self.least is not None else []
        bounds += [f"at most {self.most:g}"] if self.most is not None else []
        return f"{kind}, {' and '.join(bounds)}" if bounds else kind

    def parse(self, kind: str, given: Value) -> Value:
        """The value that a text or value means; FaultError where it may not be that."""
        wrong = FaultError(f"--{self.name} of {kind} is {self.allowed}, not '{given}'")
        try:
            value: Value = self.type(given)
        except ValueError:
            raise wrong from None
        if self.choices and value not in self.choices:
            raise wrong
        if not isinstance(value, str):
            in_bounds = (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
            if not in_bounds:  # nor is what is not a number
                raise wrong
        return value


@dataclass(frozen=True)
class Kind:
    name: str
    title: str
    effect: str
    """What is true while it holds, as somebody sees it who looks at the site."""
    plays: str
    """The situation of a real site that it stands for."""
    shape: Shape
    target: Target | None = None
    target_required: bool = True
    options: tuple[Option, ...] = ()
    differs: str = ""
    """In what the lab is known to be unlike a real site then."""
    needs_running_lab: bool = False
    """Setting or clearing it does something to machines, for which they have to be there."""

    def option(self, name: str) -> Option:
        for option in self.options:
            if option.name == name:
                return option
        known = ", ".join(f"--{option.name}" for option in self.options)
        raise FaultError(f"{self.name} has no option --{name}; it has {known or 'none'}")


WHEN = Option(
    "when",
    "whether the call is carried out all the same (after) or not (before)",
    default="before",
    choices=("before", "after"),
)
TASK_TYPES = words(
    "download hamigrate hastart hastop imgcopy imgdel qmclone qmconfig qmcreate qmdelsnapshot qmdestroy qmigrate "
    "qmmove qmreboot qmreset qmrollback qmshutdown qmsnapshot qmstart qmstop qmtemplate resize"
)
"""The types of the tasks that this Proxmox has."""
STEPS = ("boot", "install", "service", "task")

KINDS: tuple[Kind, ...] = (
    Kind(
        "host-down",
        "A host dies",
        "Its VMs lose power at once. Calls about the host answer 595 (No route to host), the cluster shows it offline "
        "and its VMs as unknown. Where it owns the API's address, nobody answers there. Once cleared, the host boots "
        "and starts its VMs that have onboot=1.",
        "A power supply, a mainboard, a kernel panic.",
        Shape.STATE,
        Target.HOST,
        needs_running_lab=True,
        differs="Nobody fences it: what HA looks after waits for the host. The others keep quorum, few as they are.",
    ),
    Kind(
        "host-reboot",
        "A host reboots without asking its VMs",
        "Its VMs lose power at once, those with onboot=1 are started again, the others stay off.",
        "A watchdog, a short power cut, somebody at the wrong button.",
        Shape.EVENT,
        Target.HOST,
        needs_running_lab=True,
        differs="The host is back at once; use host-down for one that takes its time.",
    ),
    Kind(
        "vm-kill",
        "A VM loses power",
        "The machine's processes are killed; Proxmox shows the VM stopped. What HA looks after is started again.",
        "The host's kernel killing QEMU for its memory, `qm stop` by somebody else.",
        Shape.EVENT,
        Target.VM,
        needs_running_lab=True,
    ),
    Kind(
        "vm-locked",
        "A VM is locked",
        "Its configuration has a lock; whatever respects locks answers `VM is locked (...)`.",
        "A backup that runs, or one that died and left its lock.",
        Shape.STATE,
        Target.VM,
        options=(Option("lock", "which lock", default="backup", choices=GUEST_LOCKS),),
        needs_running_lab=True,
    ),
    Kind(
        "vmid-taken",
        "Somebody else made a VM at an id",
        "A VM `somebody-elses` has the id, on the first host.",
        "A colleague, another tool, another cluster's configuration.",
        Shape.STATE,
        Target.VM_ID,
    ),
    Kind(
        "mac-repeated",
        "Proxmox gives a MAC address twice",
        "Every network card that comes without a MAC address gets the same one, and so the same lease of DHCP.",
        "Chance: Proxmox chooses three bytes at random and does not look who has them.",
        Shape.STATE,
    ),
    Kind(
        "agent-silent",
        "A guest agent is silent",
        "Calls to the agent answer `QEMU guest agent is not running`, and a shutdown that goes through it fails.",
        "An image without the extension, an agent that crashed.",
        Shape.STATE,
        Target.VM,
    ),
    Kind(
        "api-unreachable",
        "Proxmox is unreachable",
        "Nobody listens at the API's address; connections that are open break.",
        "pveproxy restarting, a firewall, a reverse proxy that is gone.",
        Shape.STATE,
    ),
    Kind(
        "api-error",
        "Proxmox answers with an error",
        "Requests are answered with this status.",
        "595: the host that a call is passed on to does not answer; 500: a `die` in the code behind a call.",
        Shape.REQUEST,
        options=(
            Option("status", "the HTTP status", int, default=500, least=400, most=599),
            Option("message", "the reason phrase; by default Proxmox's own for the status"),
            WHEN,
        ),
    ),
    Kind(
        "api-hang",
        "Proxmox does not answer in time",
        "Requests are taken and get no answer for so long; then the connection is closed.",
        "A host under load, a storage that hangs, a packet filter that forgets connections.",
        Shape.REQUEST,
        options=(Option("seconds", "how long", float, default=600.0, least=0), WHEN),
    ),
    Kind(
        "api-drop",
        "Proxmox drops the connection midway",
        "Requests break off: before the call is carried out, after it without a byte of the answer, or in the middle "
        "of the answer.",
        "pveproxy restarted by an upgrade, a load balancer that changes its mind.",
        Shape.REQUEST,
        options=(
            Option(
                "when",
                "where the connection breaks",
                default="midway",
                choices=("before", "after", "midway"),
            ),
        ),
    ),
    Kind(
        "token-expired",
        "An API token has expired",
        "Requests that it signs answer 401 (`token '...' access expired`).",
        "The date that somebody gave the token a year ago.",
        Shape.STATE,
        Target.TOKEN,
        target_required=False,
    ),
    Kind(
        "privilege-revoked",
        "A privilege is missing",
        "No role grants it any more; what needs it answers 403.",
        "A role that was made by hand, an upgrade that splits a privilege.",
        Shape.STATE,
        Target.PRIVILEGE,
    ),
    Kind(
        "task-fails",
        "A task fails",
        "The task that a call started ends with this error: before its work, or with the work done.",
        "A storage that says no, a QEMU that does not start, a lock that another task holds.",
        Shape.TASK,
        Target.TASK_TYPE,
        target_required=False,
        options=(
            Option(
                "message",
                "its exit status",
                default="can't lock file '/var/lock/qemu-server/lock.conf' - got timeout",
            ),
            WHEN,
        ),
    ),
    Kind(
        "task-hangs",
        "A task hangs",
        "The task runs and does nothing until it is stopped, or until the fault is cleared: then it goes on.",
        "A storage that is away, a guest that does not react.",
        Shape.TASK,
        Target.TASK_TYPE,
        target_required=False,
    ),
    Kind(
        "delay",
        "A step takes so long",
        "Every boot, installation, start of a service or task takes so many seconds: more or fewer than usual.",
        "Slow disks, slow images, a slow host.",
        Shape.STATE,
        Target.STEP,
        options=(Option("seconds", "how long", float, least=0, required=True),),
        differs="Nothing is slow by itself here: these are the pauses that the lab makes.",
    ),
    Kind(
        "volume-missing",
        "A volume vanished",
        "It is in no list, and whatever needs it says that it does not exist. Back, unharmed, once cleared.",
        "Somebody tidied up the ISOs; a share that came back empty.",
        Shape.STATE,
        Target.VOLUME,
    ),
    Kind(
        "storage-full",
        "A storage is full",
        "Nothing is available on it, on any host; what takes space there is refused in the words of its software.",
        "Backups, logs, thin provisioning that was too thin.",
        Shape.STATE,
        Target.STORAGE,
        differs="What guests write into disks that they have already is not refused.",
    ),
    Kind(
        "network-cut",
        "The network of a VM is cut",
        "Nothing comes or goes on its NICs, though their cables are in. DHCP does not answer it either.",
        "A wrong VLAN, a switch port, a firewall rule of the host.",
        Shape.STATE,
        Target.VM,
        options=(Option("nic", "only this NIC, eth0 for example", distinguishes=True),),
    ),
    Kind(
        "network-slow",
        "The network of a VM is slow",
        "A NIC carries no more than this, in each direction.",
        "A saturated uplink, a NIC that negotiated 10 Mbit/s.",
        Shape.STATE,
        Target.VM,
        options=(
            Option("nic", "which NIC", default="eth0", distinguishes=True),
            Option("kbit", "kbit/s", int, default=256, least=8),
        ),
    ),
    Kind(
        "host-network-cut",
        "The network of a host's VMs is cut",
        "All VMs on the host are off every network, also those that start or arrive there.",
        "A bridge without its uplink, a switch of one rack.",
        Shape.STATE,
        Target.HOST,
        differs="The host itself keeps talking to the other hosts.",
    ),
    Kind(
        "one-way-cut",
        "A cut in one direction between two VMs",
        "Nothing that the VM sends reaches the other; what the other sends arrives.",
        "Asymmetric routes, a firewall that knows one direction.",
        Shape.STATE,
        Target.VM,
        options=(Option("to", "who does not hear it any more", required=True, names=Target.VM, distinguishes=True),),
        differs="By address: over IPv6, the other cannot find the VM either once it has forgotten its MAC address.",
    ),
    Kind(
        "dhcp-silent",
        "DHCP is silent",
        "Nobody gets a lease, or this VM gets none.",
        "A DHCP server that is down, a pool that is used up, a MAC filter.",
        Shape.STATE,
        Target.VM,
        target_required=False,
        differs="What has a lease keeps it to its end.",
    ),
    Kind(
        "dhcp-renumber",
        "DHCP gives another address",
        "The VM's leases are forgotten, and its NICs are offered other addresses from now on.",
        "A DHCP server that lost its leases, a reservation that somebody changed.",
        Shape.EVENT,
        Target.VM,
        needs_running_lab=True,
        differs="The machine takes the offer within a second, not at its next renewal.",
    ),
    Kind(
        "disk-full",
        "The storage under a VM's disks is full",
        "QEMU pauses the VM (`qmpstatus` io-error): Proxmox calls it running, and nothing in it moves. Once cleared it "
        "goes on where it was.",
        "A thin pool or a Ceph cluster that is out of space.",
        Shape.STATE,
        Target.VM,
        differs="The VM is paused at once, not at its next write, and goes on without anybody resuming it.",
    ),
    Kind(
        "disk-slow",
        "The disk of a machine is slow",
        "Its member of etcd waits so long for each write, and does nothing else meanwhile: it says that requests took "
        "too long, and a leader that waits for more than a second is none any more.",
        "An SSD without a power-loss capacitor, a pool of hard disks, a backup that takes all the disk can do.",
        Shape.STATE,
        Target.VM,
        options=(Option("milliseconds", "how long a write takes", int, default=300, least=1, most=10000),),
        differs="The member stands still between its writes, so that reads wait too; whatever else the machine does is "
        "as quick as ever (for installations and boots: delay).",
    ),
    Kind(
        "etcd-corrupt",
        "An etcd member's data is corrupt",
        "The VM loses power, both meta pages of the member's database are overwritten, and the VM boots again where it "
        "ran: etcd says that the database is invalid and does not start. For good: the member has to be replaced.",
        "A disk that lies about what it has written, a power cut on a cache without battery.",
        Shape.EVENT,
        Target.VM,
        needs_running_lab=True,
    ),
    Kind(
        "etcd-nospace",
        "etcd raises its NOSPACE alarm",
        "The member raises the alarm in the whole cluster: reads are answered, writes fail with `mvcc: database space "
        "exceeded`, until somebody disarms it (`talosctl etcd alarm disarm`).",
        "A database that has grown to its quota: events, leases, no defragmentation.",
        Shape.EVENT,
        Target.VM,
        needs_running_lab=True,
        differs="The database is not full, so disarming is enough; a real one comes back until there is room.",
    ),
    Kind(
        "clock-skew",
        "The clock of a machine is wrong",
        "The machine's Talos API and its log go by a clock that is ahead by so many seconds, or behind where they are "
        "negative. By it the API judges its clients' certificates, and issues its own at the next boot.",
        "No NTP after a boot, a dead battery, a VM that was restored. Far ahead, it is the client's certificate that "
        "has expired.",
        Shape.STATE,
        Target.VM,
        options=(Option("seconds", "ahead of the true time; negative: behind it", float, required=True),),
        differs="etcd and the other programs that a machine starts go by the host's clock.",
    ),
    Kind(
        "certificate-expired",
        "The API certificate of a control plane has expired",
        "The control plane's Talos API shows a certificate that ended an hour ago: clients refuse it. A new one is "
        "issued once the fault is cleared.",
        "A VM that was paused or restored, a renewal that hung.",
        Shape.STATE,
        Target.VM,
        differs="A worker keeps its certificate, which a control plane has signed.",
    ),
    Kind(
        "image-broken",
        "An image boots and dies",
        "Machines that boot an image of this version, or of this schematic, fail, reboot, and fail again; after an "
        "upgrade to it, they go back to the image before. Proxmox says that they run; nobody answers.",
        "A kernel that does not know the hardware, an extension that breaks the boot.",
        Shape.STATE,
        Target.IMAGE,
        differs="It is Talos' own boot that fails, not the kernel, and the machine reboots after 2 seconds (real: 10).",
    ),
)

BY_NAME = {kind.name: kind for kind in KINDS}


def find(name: str) -> Kind:
    """The kind of a name; FaultError with the nearest one."""
    if kind := BY_NAME.get(name):
        return kind
    raise FaultError(f"there is no fault '{name}'{did_you_mean(name, BY_NAME)}; `fault list` shows what there is")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The nearest of the known names as a question, or nothing."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""
