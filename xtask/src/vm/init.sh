#!/bin/busybox sh
# The guest's first process. The host's root comes over virtiofs, read-only below a tmpfs: the host is never written to.
# Serial ports: 0 the kernel's console, 1 and 2 the command's output and errors, 3 what happened, for the harness.
export PATH=/bin HOME=/root LC_ALL=C
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
hostname vm

word() { sed -n "s/.*observer\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

# Control groups as hosts have them: v2 (the default), v1, or hybrid.
v1() {
  mount -t tmpfs cgroup /sys/fs/cgroup
  for controller in cpu memory pids; do
    mkdir /sys/fs/cgroup/$controller
    mount -t cgroup -o $controller cgroup /sys/fs/cgroup/$controller
  done
  mkdir /sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
}
case "$(word cgroups)" in
  v1) v1 ;;
  hybrid)
    v1
    mkdir /sys/fs/cgroup/unified
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
    ;;
  *) mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
esac

for module in /modules/*.ko; do
  insmod "$module" || echo "insmod $module failed" >/dev/console
done
for port in 1 2 3; do stty -F /dev/ttyS$port raw -echo; done

mkdir -p /host /layer /root
mount -t virtiofs -o ro host /host && mount -t tmpfs -o mode=755 layer /layer || exit
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root || exit
for folder in proc sys dev; do mount --rbind /$folder /root/$folder; done
mount -t tmpfs tmpfs /root/run
cp /command /root/run/vm-command
# For whoever takes it out and puts it back.
mkdir /root/run/modules
cp /modules/*-tls.ko /root/run/modules/tls.ko 2>/dev/null

read -r begun _ </proc/uptime
echo "started $begun" >/dev/ttyS3
if [ "$(word shell)" ]; then
  # Set where the port stays open: it forgets its size when it is closed.
  setsid -c sh -c "stty sane rows $(word rows) cols $(word columns); exec chroot /root /bin/sh /run/vm-command" \
    </dev/ttyS1 >/dev/ttyS1 2>&1
else
  chroot /root /bin/sh /run/vm-command </dev/null >/dev/ttyS1 2>/dev/ttyS2
fi
status=$?
read -r ended _ </proc/uptime
echo "ended $status $ended" >/dev/ttyS3
reboot -f
