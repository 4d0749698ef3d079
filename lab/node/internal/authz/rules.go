package authz

import "github.com/siderolabs/talos/pkg/machinery/role"

var (
	admin     = role.MakeSet(role.Admin)
	operators = role.MakeSet(role.Admin, role.Operator)
	readers   = role.MakeSet(role.Admin, role.Operator, role.Reader)
	etcd      = role.MakeSet(role.Admin, role.Operator, role.Reader, role.EtcdBackup)
)

// Rules are the roles that each method of machined asks for; a method that is
// not in the table asks for os:admin.
var Rules = table(map[string]map[string]role.Set{
	"cluster.ClusterService": {"HealthCheck": readers},
	"cosi.resource.State": {
		"Create": admin, "Destroy": admin, "Update": admin,
		// what a caller sees of each resource type is decided by the state's own filter
		"Get": readers, "List": readers, "Watch": readers,
	},
	"inspect.InspectService": {"ControllerRuntimeDependencies": readers},
	"machine.ImageService": {
		"Import": admin, "List": readers, "Pull": operators, "Remove": admin,
		"Verify": role.MakeSet(role.Admin, role.Operator, role.Reader, role.ImageVerifier),
	},
	"machine.MachineService": {
		// the handler lets a reader through in maintenance mode only
		"ApplyConfiguration": role.MakeSet(role.Admin, role.Reader),

		"CPUInfo": readers, "CPUFreqStats": readers, "Containers": readers, "DiskStats": readers, "DiskUsage": readers,
		"Dmesg": readers, "Events": readers, "Hostname": readers, "ImageList": readers, "List": readers,
		"LoadAvg": readers, "Logs": readers, "LogsContainers": readers, "Memory": readers, "Mounts": readers,
		"NetworkDeviceStats": readers, "Netstat": readers, "Processes": readers, "ServiceList": readers,
		"Stats": readers, "SystemStat": readers, "Version": readers,

		"ImagePull": operators, "PacketCapture": operators, "Reboot": operators, "Restart": operators,
		"ServiceRestart": operators, "ServiceStart": operators, "ServiceStop": operators, "Shutdown": operators,
		"EtcdAlarmDisarm": operators, "EtcdDefragment": operators,

		"EtcdAlarmList": etcd, "EtcdMemberList": etcd, "EtcdStatus": etcd,
		"EtcdSnapshot": role.MakeSet(role.Admin, role.Operator, role.EtcdBackup),

		"MetaWrite": role.MakeSet(role.Admin, role.MetaWriter), "MetaDelete": role.MakeSet(role.Admin, role.MetaWriter),
	},
	"storage.StorageService": {
		"Disks": readers,
		// the handler lets a reader through in maintenance mode only
		"BlockDeviceWipe": role.MakeSet(role.Admin, role.Reader),
	},
	"time.TimeService": {"Time": readers, "TimeCheck": readers},
})

func table(services map[string]map[string]role.Set) map[string]role.Set {
	rules := map[string]role.Set{}

	for service, methods := range services {
		for method, roles := range methods {
			rules["/"+service+"/"+method] = roles
		}
	}

	return rules
}
